"""Part ``pushing``: how long a producer's push takes, call by call, each way that rows can go."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import quantiles

from benchmarks.contenders import in_worker, ours
from benchmarks.results import Record
from benchmarks.servers import Servers
from benchmarks.settings import Settings
from benchmarks.source import Source

ONLINE, TRANSFORMED, ONLINE_AND_OFFLINE, OFFLINE = "online", "online, transformed", "online and offline", "offline"
WAYS = (ONLINE, TRANSFORMED, ONLINE_AND_OFFLINE, OFFLINE)
PUSHES = {1: 300, 100: 100, 1_000: 30}  # rows in a push: how often it is done in a round
SMALL_PUSHES = {100: 5}


def records(servers: Servers, settings: Settings) -> Iterator[Record]:
    """Push new rows of known entities, in the default layout, one call after the other."""
    source = Source(entities=settings.entities, history=1)
    source.load(servers.postgres_uri)
    servers.empty_redis()
    ours("msgpack").work(servers, source)
    pushes = SMALL_PUSHES if settings.small else PUSHES
    for round_number in range(settings.rounds):
        for rows, times in pushes.items():
            for way in WAYS:
                latencies = in_worker("push", way=way, rows=rows, times=times)(servers, source)["answer"]
                percents = quantiles(latencies, n=100, method="inclusive")
                yield {
                    "way": way, "rows": rows, "pushes": times, "round": round_number,
                    "p50": percents[49], "p99": percents[98],
                }  # fmt: skip
