"""Part ``quality``: what the statistics of a build cost, and a verification of every row."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contenders import Contender, in_worker, measure, ours
from benchmarks.results import Record
from benchmarks.servers import Servers
from benchmarks.settings import Settings
from benchmarks.source import Source

UNMEASURED, VERIFICATION = "ours, msgpack, without statistics", "verification of every row"
TIMES_LARGER = 10


def records(servers: Servers, settings: Settings) -> Iterator[Record]:
    """Build without and with statistics and verify the build, in turn; then verify ten times the entities."""
    source = Source(entities=settings.entities, history=settings.history)
    source.load(servers.postgres_uri)
    builds = [Contender(UNMEASURED, in_worker("materialize_unmeasured")), ours("msgpack")]
    verification = Contender(VERIFICATION, in_worker("verify"))
    measure(servers, source, ours("msgpack"))  # so that the first one finds the servers as warm as the others do
    for round_number in range(settings.rounds):
        for build in builds:
            yield {"round": round_number, **measure(servers, source, build)}
        yield {"round": round_number, **measure(servers, source, verification, empty=False)}
    larger = Source(entities=TIMES_LARGER * settings.entities, history=settings.history)
    if larger.entities > settings.max_entities:
        return
    larger.load(servers.postgres_uri)
    measure(servers, larger, ours("msgpack"))
    for round_number in range(settings.rounds):
        yield {"round": round_number, **measure(servers, larger, verification, empty=False)}
