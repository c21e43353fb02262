"""Part ``reading``: how long it takes to read entities, call by call."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import quantiles

from benchmarks.contenders import FEAST, LAYOUTS, Contender, feast, in_feast, in_worker, ours
from benchmarks.results import Record
from benchmarks.servers import Servers
from benchmarks.settings import Settings
from benchmarks.source import KEY, Source
from benchmarks.worker import VIEW

READS = {1: 1_000, 100: 300, 1_000: 100}  # entities in a read: how often it is done in a round
SMALL_READS = {100: 20}
HAND, PING = "redis-py, by hand", "PING"


def records(servers: Servers, settings: Settings) -> Iterator[Record]:
    """Let each contender read the same entities from the same Redis, one after the other."""
    source = Source(entities=settings.entities, history=1)
    source.load(servers.postgres_uri)
    servers.empty_redis()
    for writer in (*map(ours, LAYOUTS), feast()):
        writer.work(servers, source)
    reads = SMALL_READS if settings.small else READS
    for round_number in range(settings.rounds):
        for keys, times in reads.items():
            for contender in _contenders(source, keys, times):
                latencies = contender.work(servers, source)["answer"]
                percents = quantiles(latencies, n=100, method="inclusive")
                yield {
                    "contender": contender.name, "keys": keys, "reads": times, "round": round_number,
                    "p50": percents[49], "p99": percents[98],
                }  # fmt: skip


def _contenders(source: Source, keys: int, times: int) -> Iterator[Contender]:
    for layout in LAYOUTS:
        yield Contender(f"ours, {layout}", in_worker("read_online", layout=layout, keys=keys, times=times))
    features = [f"{VIEW}:{feature.name}" for feature in source.features]
    yield Contender(
        FEAST,
        in_feast("time_reads", features=features, key=KEY, entities=source.entities, keys=keys, times=times),
    )
    yield Contender(HAND, in_worker("read_by_hand", keys=keys, times=times))
    yield Contender(PING, in_worker("ping", times=times))
