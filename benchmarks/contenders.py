"""The contenders; each does its work in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.results import Record
from benchmarks.servers import Servers
from benchmarks.source import CREATED, EVENT, KEY, TABLE, Source
from benchmarks.worker import VIEW
from demo.workplace import PROJECT
from tests.feast.environment import Feast, feast_process, feast_stores

LAYOUTS = ("msgpack", "json", "hash", "feast")
DEFAULT, IN_PLACE = "ours, msgpack", "ours, msgpack, in place"
FEAST, BY_HAND, REDIS_ALONE, POSTGRES_ALONE = "Feast", "pandas, by hand", "redis-cli --pipe", "COPY to /dev/null"


@dataclass(frozen=True)
class Contender:
    """Something that does the job.

    :param work: does it, and returns answer, seconds, CPU seconds and peak bytes of its process.
    """

    name: str
    work: Callable[[Servers, Source], Record]


def in_worker(do: str, **arguments: Any) -> Callable[[Servers, Source], Record]:
    """Return work that a function of :mod:`benchmarks.worker` does."""

    def work(servers: Servers, source: Source) -> Record:
        job = {
            "do": do, "arguments": arguments, "entities": source.entities,
            "features": [feature.name for feature in source.features],
            "postgres_uri": servers.postgres_uri, "redis_url": servers.redis_url,
        }  # fmt: skip
        worker = subprocess.run(
            [sys.executable, "-m", "benchmarks.worker"],
            input=json.dumps(job), stdout=subprocess.PIPE, text=True, cwd=PROJECT, check=True,
        )  # fmt: skip
        answer: Record = json.loads(worker.stdout)
        return answer

    return work


def in_feast(do: str, **arguments: Any) -> Callable[[Servers, Source], Record]:
    """Return work that a function of Feast's driver does."""

    def work(servers: Servers, source: Source) -> Record:
        with feast_process(servers.folder / "feast.log") as process:
            feast = Feast(process, project="them", **feast_stores(servers.postgres_uri, servers.redis_url))
            feast.views = [feast_view(source)]
            return feast.measured(do, **arguments)

    return work


def feast_view(source: Source) -> dict[str, Any]:
    """Return the table as a feature view of Feast."""
    return {
        "name": VIEW, "entities": {KEY: "INT64"}, "query": f"SELECT * FROM {TABLE}", "timestamp_field": EVENT,
        "created_timestamp_column": CREATED, "features": {feature.name: feature.feast for feature in source.features},
    }  # fmt: skip


def ours(layout: str, *, full: bool = True) -> Contender:
    """Return our ``materialize`` as a contender."""
    return Contender(f"ours, {layout}", in_worker("materialize", layout=layout, full=full))


def in_place() -> Contender:
    """Return our guarded full run into the rows that are online as a contender."""
    return Contender(IN_PLACE, in_worker("materialize", layout="msgpack", in_place=True))


def feast() -> Contender:
    """Return Feast's ``materialize`` of the same history as a contender."""
    now = datetime.now(UTC)
    window = {"start": now - timedelta(days=365), "end": now + timedelta(days=365)}
    return Contender(FEAST, in_feast("materialize", **window))


def measure(servers: Servers, source: Source, contender: Contender, *, empty: bool = True) -> Record:
    """Run a contender once and return what it cost, and the most memory that Redis used above what it used before.

    :param empty: whether to empty Redis before it.
    """
    if empty:
        servers.empty_redis()
    before = servers.usage()
    with servers.peak_memory() as peak:
        work = contender.work(servers, source)
    used = servers.usage() - before
    if empty and contender.name != POSTGRES_ALONE and servers.redis.dbsize() < source.entities:
        raise RuntimeError(f"{contender.name} left {servers.redis.dbsize()} keys of {source.entities}")
    return {
        "contender": contender.name,
        **source.shape,
        "seconds": work["seconds"],
        "cpu_process": work["cpu_seconds"],
        "cpu_postgres": used.postgres_seconds,
        "cpu_redis": used.redis_seconds,
        "peak_bytes": work["peak_bytes"],
        "bytes_to_redis": used.bytes_to_redis,
        "redis_bytes_per_entity": used.redis_bytes / source.entities,
        "redis_peak_per_entity": (peak() - before.redis_bytes) / source.entities,
    }
