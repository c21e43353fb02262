"""Part ``generations``: what several of them cost in memory and pushes, and what readers notice of changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain
from statistics import quantiles
from typing import Any

from benchmarks.contenders import in_worker, measure, ours
from benchmarks.results import Record
from benchmarks.servers import Servers
from benchmarks.settings import Settings
from benchmarks.source import Source

GENERATIONS = 3  # none that is published, then one, then another one retained
PUSHES, SMALL_PUSHES = 300, 20

VIEWS = ["view_1", "view_2", "view_3"]
READERS = 2
READ_SECONDS = 0.0009  # between the beginnings of two reads of a reader, which are some 1,100 a second
QUIET_SECONDS = 10.0
SWITCHES, SWITCH_SECONDS = 20, 1.0  # apart
AROUND_SECONDS = 0.25  # before and after a switch
QUIET, BUILD, SWITCH, REMOVAL = "before", "during a build", "around a switch", "during removal"

# Whether all processes share the cores, or Redis has one of its own and readers come before Postgres and runs.
SHARED, APART = "shared", "apart"

Span = tuple[float, float]


def records(servers: Servers, settings: Settings) -> Iterator[Record]:
    """Measure memory and pushes with more and more generations, then readers."""
    source = Source(entities=settings.entities, history=1)
    source.load(servers.postgres_uri)
    for round_number in range(settings.rounds):
        yield from _memory_and_pushes(servers, settings, source, round_number)
        yield from _readers(servers, settings, source, round=round_number, cores=SHARED)
        if len(os.sched_getaffinity(0)) > 1:
            with servers.apart():
                yield from _readers(servers, settings, source, _come_first, round=round_number, cores=APART)


def _memory_and_pushes(servers: Servers, settings: Settings, source: Source, round_number: int) -> Iterator[Record]:
    """Build generations one after the other; none is removed within ten minutes."""
    pushes = SMALL_PUSHES if settings.small else PUSHES
    servers.empty_redis()
    empty = servers.usage().redis_bytes
    for generations in range(1, GENERATIONS + 1):
        others = (servers.usage().redis_bytes - empty) / source.entities
        run = measure(servers, source, ours("msgpack"), empty=False)
        run["redis_peak_per_entity"] += others
        yield {"generations": generations, "round": round_number, **run}
        reads = servers.redis.info("stats")["total_reads_processed"]
        latencies = in_worker("push", way="online", rows=1, times=pushes)(servers, source)["answer"]
        reads = servers.redis.info("stats")["total_reads_processed"] - reads
        percents = _percents(latencies)
        yield {
            "generations": generations, "round": round_number, "pushes": pushes,
            "p50": percents[49], "p99": percents[98], "reads_per_push": reads / pushes,
        }  # fmt: skip


def _readers(
    servers: Servers, settings: Settings, source: Source, prepare: Callable[[], None] = lambda: None, **about: Any
) -> Iterator[Record]:
    """Let readers read three views while these are built, switched and removed from.

    :param prepare: called in the thread that starts a reader.
    :param about: what distinguishes the records.
    """
    servers.empty_redis()
    for name in VIEWS:
        in_worker("materialize", layout="msgpack", name=name)(servers, source)
    quiet, times = (3.0, 4) if settings.small else (QUIET_SECONDS, SWITCHES)
    spans: dict[str, list[Span]] = {}
    with _reading(servers, source, prepare) as reads:
        time.sleep(quiet)
        began = time.time()
        time.sleep(quiet)
        spans[QUIET] = [(began, time.time())]
        builds = [in_worker("materialize", layout="msgpack", name=name)(servers, source) for name in VIEWS]
        spans[BUILD] = [(build["began"], build["began"] + build["seconds"]) for build in builds]
        switches = in_worker("switch", views=VIEWS, times=times, pause=SWITCH_SECONDS)(servers, source)["answer"]
        spans[SWITCH] = [(at - AROUND_SECONDS, at + AROUND_SECONDS) for at in switches]
        removal = in_worker("remove", views=VIEWS)(servers, source)
        spans[REMOVAL] = [(removal["began"], removal["began"] + removal["seconds"])]
    for phase, some in spans.items():
        latencies = [spent for at, spent in reads if any(begin <= at <= end for begin, end in some)]
        percents = _percents(latencies)
        yield {
            "phase": phase, **about, "reads": len(latencies), "p50": percents[49], "p99": percents[98],
            "reads_per_second": len(latencies) / sum(end - begin for begin, end in some) / READERS,
        }  # fmt: skip


@contextmanager
def _reading(servers: Servers, source: Source, prepare: Callable[[], None]) -> Iterator[list[Span]]:
    """Start readers; the list is filled with the instant and the seconds of each of their reads when they end."""
    until = servers.folder / "until"
    until.unlink(missing_ok=True)
    watching = in_worker("watch", views=VIEWS, pause=READ_SECONDS, until=str(until))
    reads: list[Span] = []
    with ThreadPoolExecutor(max_workers=READERS, initializer=prepare) as threads:
        readers = [threads.submit(watching, servers, source) for _ in range(READERS)]
        try:
            yield reads
        finally:
            until.touch()
        reads += chain.from_iterable(reader.result()["answer"] for reader in readers)


def _come_first() -> None:
    """Let what this thread starts wait for nothing else that runs; only root may."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def _percents(latencies: list[float]) -> list[float]:
    return quantiles(latencies, n=100, method="inclusive")
