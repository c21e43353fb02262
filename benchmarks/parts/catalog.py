"""Part ``catalog``: increments in a database with many other tables, whose catalog a driver might read."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contenders import measure, ours
from benchmarks.results import Record
from benchmarks.servers import Servers
from benchmarks.settings import Settings
from benchmarks.source import Source, session

TABLES = 5_000  # of COLUMNS each, as in a warehouse of some years
COLUMNS = 100
TABLES_PER_STATEMENT = 100  # Postgres locks each one, and a transaction has few locks
CHANGED = (0, 3_000)  # rows
ENTITIES = 100_000


def records(servers: Servers, settings: Settings) -> Iterator[Record]:
    """Measure increments of no rows and of a few thousand, without and with the other tables."""
    source = Source(entities=ENTITIES // 10 if settings.small else ENTITIES, history=1)
    source.load(servers.postgres_uri)
    measure(servers, source, ours("msgpack"))
    for tables in (0, TABLES // 100 if settings.small else TABLES):
        _make(servers.postgres_uri, tables)
        for round_number in range(settings.rounds):
            for changed in CHANGED:
                source.change(servers.postgres_uri, changed / source.entities)
                about = {"tables": tables, "changed": changed, "round": round_number}
                yield {**about, **measure(servers, source, ours("msgpack", full=False), empty=False)}
        _drop(servers.postgres_uri, tables)


def _make(uri: str, tables: int) -> None:
    columns = ", ".join(f"c{i} integer" for i in range(COLUMNS))
    with session(uri) as cursor:
        for first in range(0, tables, TABLES_PER_STATEMENT):
            names = range(first, min(first + TABLES_PER_STATEMENT, tables))
            cursor.execute("; ".join(f"CREATE TABLE other_{i} ({columns})" for i in names))


def _drop(uri: str, tables: int) -> None:
    with session(uri) as cursor:
        for first in range(0, tables, TABLES_PER_STATEMENT):
            names = range(first, min(first + TABLES_PER_STATEMENT, tables))
            cursor.execute(f"DROP TABLE {', '.join(f'other_{i}' for i in names)}")
