"""Part ``processes``: one process beside several, a transform that needs several, and runs in parts."""

from __future__ import annotations

import os
from collections.abc import Iterator

from benchmarks.contenders import POSTGRES_ALONE, Contender, in_worker, measure
from benchmarks.results import Record
from benchmarks.servers import Servers
from benchmarks.settings import Settings
from benchmarks.source import Source

PLAIN, HEAVY, IN_PARTS = "ours, msgpack", "ours, msgpack, with a transform in Python", "ours, msgpack, in parts"
LARGE, LARGE_HISTORY = (2_000_000, 20_000_000), 3
PARTS, AT_ONCE = 16, 2


def counts() -> list[int]:
    """Return one, two, and further powers of two up to the number of cores."""
    cores = max(os.cpu_count() or 1, 2)
    return [2**power for power in range(cores.bit_length()) if 2**power <= cores]


def records(servers: Servers, settings: Settings) -> Iterator[Record]:
    """Copy with one process and with several, in turn; then large tables in parts, and by the query alone."""
    source = Source(entities=settings.entities, history=settings.history)
    source.load(servers.postgres_uri)
    several = {
        (name, count): Contender(name, in_worker("materialize", layout="msgpack", parallel=count, is_heavy=is_heavy))
        for name, is_heavy in ((PLAIN, False), (HEAVY, True))
        for count in counts()
    }
    measure(servers, source, several[PLAIN, 1])  # so that the first one finds the servers as warm as the others do
    for round_number in range(settings.rounds):
        for (_, count), contender in several.items():
            yield {"round": round_number, "processes": count, **measure(servers, source, contender)}
    in_parts = Contender(IN_PARTS, in_worker("materialize_in_parts", parts=PARTS, at_once=AT_ONCE))
    alone = Contender(POSTGRES_ALONE, in_worker("postgres_alone"))
    sizes = [size for size in LARGE if size <= settings.max_entities] or [settings.entities]
    for size in sizes:
        large = Source(entities=size, history=LARGE_HISTORY)
        large.load(servers.postgres_uri)
        for contender in (alone, in_parts, alone, in_parts):  # the first of each finds the table less warm
            yield {"round": 0, "processes": AT_ONCE, **measure(servers, large, contender)}
