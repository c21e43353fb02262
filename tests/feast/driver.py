"""Feast, driven line by line: runs in Feast's own environment, takes a JSON object per line and answers with one.

An object names a function below (``do``), the repository's configuration and views, and the function's arguments.
Bytes travel as hexadecimal text.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

warnings.simplefilter("ignore")

import feast.types
import pandas
from feast import Entity, FeatureStore, FeatureView, Field, PushSource, RepoConfig, ValueType
from feast.data_source import PushMode
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource


def store_of(request: dict[str, Any], folder: str) -> FeatureStore:
    """A repository with the request's views applied."""
    config = RepoConfig(
        project=request["project"], provider="local", registry=f"{folder}/registry.db",
        entity_key_serialization_version=3, offline_store=request["offline_store"],
        online_store=request["online_store"],
    )  # fmt: skip
    store = FeatureStore(config=config)
    store.apply([thing for view in request["views"] for thing in parts_of(view)])
    return store


def parts_of(view: dict[str, Any]) -> list[Any]:
    entities = [
        Entity(name=f"{name}_{kind}", join_keys=[name], value_type=ValueType[kind])
        for name, kind in view["entities"].items()
    ]
    source = PostgreSQLSource(
        name=view["name"], query=view["query"], timestamp_field=view["timestamp_field"],
        created_timestamp_column=view.get("created_timestamp_column", ""),
    )  # fmt: skip
    pushed = PushSource(name=f"{view['name']}_push", batch_source=source)
    fields = [Field(name=name, dtype=type_of(kind)) for name, kind in view["features"].items()]
    ttl = timedelta(seconds=view.get("ttl", 0))
    return [*entities, FeatureView(name=view["name"], entities=entities, schema=fields, source=pushed, ttl=ttl)]


def type_of(name: str) -> Any:
    element = name.removeprefix("Array(").removesuffix(")")
    kind = getattr(feast.types, element)
    return kind if element == name else feast.types.Array(kind)


def materialize(store: FeatureStore, start: str, end: str) -> None:
    store.materialize(datetime.fromisoformat(start), datetime.fromisoformat(end))


def push(store: FeatureStore, view: str, rows: list[dict[str, Any]]) -> None:
    frame = pandas.DataFrame(rows)
    frame["ts"] = pandas.to_datetime(frame["ts"])
    store.push(f"{view}_push", frame, to=PushMode.ONLINE)


def read(store: FeatureStore, features: list[str], entity_rows: list[dict[str, Any]]) -> Any:
    response = store.get_online_features(features, entity_rows)
    proto = response.proto
    statuses = [[int(status) for status in result.statuses] for result in proto.results]
    names = list(proto.metadata.feature_names.val)
    return {"values": response.to_dict(), "statuses": dict(zip(names, statuses, strict=True))}


def time_reads(store: FeatureStore, features: list[str], key: str, entities: int, keys: int, times: int) -> list[float]:
    """How many seconds each read of that many keys took."""
    requests = [
        [{key: value} for value in random.Random(i).choices(range(1, entities + 1), k=keys)] for i in range(times)
    ]
    assert None not in store.get_online_features(features[:1], requests[0]).to_dict()[features[0].partition(":")[2]]
    seconds = []
    for request in requests:
        began = time.perf_counter()
        store.get_online_features(features, request).to_dict()
        seconds.append(time.perf_counter() - began)
    return seconds


def measured(work: Callable[[], Any]) -> dict[str, Any]:
    """What the work answers, and what it cost."""
    cpu_began, began = time.process_time(), time.perf_counter()
    answer = work()
    return {
        "answer": answer,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu_began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


def plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            try:
                store = store_of(request, folder)
                answer = measured(partial(globals()[request["do"]], store, **request["arguments"]))
            except Exception as error:  # noqa: BLE001 - told to the test
                answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=plain), file=answers, flush=True)


if __name__ == "__main__":
    main()
