"""Part ``reference``: each contender materializes all of one table."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contenders import (
    BY_HAND,
    IN_PLACE,
    LAYOUTS,
    POSTGRES_ALONE,
    REDIS_ALONE,
    Contender,
    feast,
    in_place,
    in_worker,
    measure,
    ours,
)
from benchmarks.results import Record
from benchmarks.servers import Servers
from benchmarks.settings import Settings
from benchmarks.source import Source


def records(servers: Servers, settings: Settings) -> Iterator[Record]:
    """Run each contender in each round, one after the other; then replace all rows in place."""
    source = Source(entities=settings.entities, history=settings.history)
    source.load(servers.postgres_uri)
    commands = servers.folder / "commands"
    measure(servers, source, ours("hash"))
    in_worker("write_commands", path=str(commands))(servers, source)
    redis_cli = str(servers.redis_cli)
    contenders = [
        *map(ours, LAYOUTS),
        feast(),
        Contender(BY_HAND, in_worker("by_hand")),
        Contender(REDIS_ALONE, in_worker("redis_alone", redis_cli=redis_cli, path=str(commands))),
        Contender(POSTGRES_ALONE, in_worker("postgres_alone")),
    ]
    contenders = [contender for contender in contenders if _is_chosen(contender.name, settings)]
    for round_number in range(settings.rounds):
        for contender in contenders:
            yield {"round": round_number, **measure(servers, source, contender)}
    commands.unlink()
    if not _is_chosen(IN_PLACE, settings):
        return
    measure(servers, source, ours("msgpack"))
    for round_number in range(settings.rounds):
        source.change(servers.postgres_uri, 1.0)  # so that each row replaces one
        yield {"round": round_number, **measure(servers, source, in_place(), empty=False)}


def _is_chosen(name: str, settings: Settings) -> bool:
    return not settings.contenders or name in settings.contenders
