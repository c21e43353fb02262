"""The vectors for writers of readers are what this package writes, of every type, and the reader in Node agrees."""

from __future__ import annotations

import json
import math
import runpy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from online_features import OnlineStore
from online_features.layouts.keyspace import PUSHED, TOMBSTONE
from online_features.types.registry import CODECS, typed_column

from tests.online.read.test_reading_in_node import PROGRAM
from tests.support import node
from tests.support.msgpack_rows import packed_row
from tests.support.node import EXAMPLES
from tests.support.postgres_values import NOT_EVERYWHERE
from tests.support.servers.databases import Database
from tests.support.vectors import FILE, LAYOUTS, PROJECT_NAME, text_of, vectors

NOW = datetime(2026, 1, 1, tzinfo=UTC)

VECTORS: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
KINDS: dict[str, Any] = {"number": float, "bigint": int, "string": str, "boolean": lambda told: told == "true"}


@pytest.fixture(autouse=True)
def nothing_left(client: redis.Redis) -> Iterator[None]:
    yield
    for key in client.scan_iter(f"*{PROJECT_NAME}*", count=10_000):
        client.delete(key)


def test_the_file_is_what_is_written(database: Database, online: OnlineStore) -> None:
    assert text_of(vectors(database, online)) == FILE.read_text(encoding="utf-8"), (
        f"python -m {vectors.__module__} writes it"
    )


def test_every_type_is_in_it() -> None:
    assert CODECS.keys() - {vector["type"] for vector in VECTORS["values"]} <= NOT_EVERYWHERE


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_reader_in_node_reads_the_vectors(client: redis.Redis, redis_url: str, layout: str) -> None:
    row = VECTORS["rows"][layout]
    state = {"schema": json.dumps(VECTORS["schema"]), "schema_fingerprint": "1", "layout": layout}
    client.hset(f"@online_features:generation:{{{PROJECT_NAME}}}:{layout}:0", mapping=state)
    if layout == "hash":
        client.hset(row["key"], mapping=row["stored"])
    else:
        client.set(row["key"], bytes.fromhex(row["stored"]) if layout == "msgpack" else row["stored"])
    with node.running(PROGRAM, redis_url, row["view"]) as ask:
        (found,) = ask([{"id": "a"}])["rows"]
    assert found["eventTimestamp"] == VECTORS["event_timestamp"]
    for vector in VECTORS["values"]:
        told, expected = found["values"][vector["feature"]], vector["value"]
        match vector["encoding"]:
            case "json":
                assert _with_nan(_plain(told)) == json.loads(json.dumps(expected), parse_int=_number), vector
            case "boolean":
                assert told == ["boolean", str(expected).lower()], vector
            case "float":
                assert (told[0], float(told[1])) == ("number", pytest.approx(float(expected), rel=0, nan_ok=True)), (
                    vector
                )
            case _:
                assert told[1] == expected, vector


def test_the_reader_in_plain_python_reads_the_vectors() -> None:
    reader = runpy.run_path(str(EXAMPLES / "msgpack_row.py"))
    stored, features = bytes.fromhex(VECTORS["rows"]["msgpack"]["stored"]), VECTORS["schema"]["features"]
    timestamp, found = reader["row_of"](stored, features)
    assert timestamp == VECTORS["event_timestamp"]
    for vector in VECTORS["values"]:
        value, expected = found[vector["feature"]], vector["value"]
        match vector["encoding"]:
            case "json":
                assert _with_nan(value) == expected, vector
            case "base64":
                assert value.hex() == expected, vector
            case "boolean":
                assert value is expected, vector
            case _:
                assert str(value) == expected, vector


@pytest.mark.parametrize("flags", [TOMBSTONE, TOMBSTONE | PUSHED])
def test_the_reader_in_plain_python_finds_no_row_in_a_tombstone(flags: int) -> None:
    reader = runpy.run_path(str(EXAMPLES / "msgpack_row.py"))
    assert reader["row_of"](packed_row([], [], NOW, flags=flags), []) is None


def test_the_reader_in_plain_python_knows_features_that_a_row_lacks() -> None:
    reader = runpy.run_path(str(EXAMPLES / "msgpack_row.py"))
    features = [typed_column("a", "bigint"), typed_column("b", "real[]")]
    schema = [{"name": feature.name, "encoding": feature.encoding} for feature in features]
    _, values = reader["row_of"](packed_row(features[:1], [-7], NOW, flags=PUSHED), schema)
    assert values == {"a": -7, "b": None}


def _with_nan(value: Any) -> Any:
    """Arrays as JSON has them: numbers that are not finite are texts."""
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _plain(told: Any) -> Any:
    """JSON as the program tells it, without the names of types."""
    if isinstance(told, dict):
        return {name: _plain(value) for name, value in told.items()}
    if isinstance(told, list) and len(told) == 2 and isinstance(told[0], str) and told[0] in KINDS:
        return KINDS[told[0]](told[1])
    return [_plain(value) for value in told] if isinstance(told, list) else told


def _number(digits: str) -> float:
    """An integer as JavaScript holds it: where digits would be lost, with all of them."""
    return int(digits) if abs(int(digits)) >= 2**53 else float(digits)
