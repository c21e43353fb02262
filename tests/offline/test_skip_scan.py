"""The newest rows by steps through an index: the same rows as by a look at all of them, and only where it pays."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from random import Random
from typing import Any

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.offline import query_plan as reading
from online_features.offline.sql.source_rows import sql_text
from online_features.types.registry import CODECS
from online_features.window import Window

from tests.conftest import at
from tests.support.servers.databases import Database

pytestmark = pytest.mark.oldest

MakeView = Callable[..., FeatureView]

# A few values of each type of join keys, of which some are equal though they are written differently.
KEYS = {
    "boolean": ["t", "f"],
    "smallint": ["-1", "0", "7"],
    "integer": ["-1", "0", "7"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "numeric": ["1.0", "1.00", "-2.5", "NaN", "Infinity"],
    "numeric(6, 2)": ["1", "1.5"],
    "text": ["", "a", "A", "b", "é", "a b"],
    'text COLLATE "C"': ["", "a", "A", "b", "é"],
    "character varying(3)": ["a", "a ", "B"],
    "character(3)": ["a", "a ", "B"],
    "name": ["a", "B"],
    '"char"': ["a", "B"],
    "uuid": ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "00000000-0000-0000-0000-000000000000"],
    "bytea": ["\\x", "\\x00", "\\xff"],
    "date": ["2026-01-01", "infinity", "0044-03-15 BC"],
    "timestamp without time zone": ["2026-01-01", "-infinity"],
    "timestamp with time zone": ["2026-01-01 02:00+02", "2026-01-01 00:00+00", "infinity"],
    "inet": ["10.0.0.1", "10.0.0.1/32", "::1"],
    "cidr": ["10.0.0.0/8", "::/0"],
    "macaddr": ["08:00:2b:01:02:03", "08-00-2B-01-02-04"],
    "macaddr8": ["08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03:04:06"],
    "bit(3)": ["101", "000"],
    "bit varying": ["", "1", "10"],
    "mood": ["so so", "good"],
    "code": ["a", "b"],
}
TYPES = "CREATE TYPE mood AS ENUM ('so so', 'good'); CREATE DOMAIN code AS varchar(5)"

TIMESTAMPS = [
    *("2026-01-01", "2026-01-01", "2026-01-02", "2026-01-03", "0001-01-01", "9999-12-31 23:59:59.999999"),
    *("-infinity", "infinity", "0044-03-15 BC", "10000-01-01", "10000-01-01", None),
]
TIMESTAMP_TYPES = ["timestamp with time zone", "timestamp without time zone", "date", "timestamp with time zone"]

# Ends of indexes on join keys a and b and event timestamp ts, and whether columns can be NULL.
INDEXES = [
    ("a, b, ts", True),
    ("b, a, ts DESC", True),
    ("a, b, ts DESC NULLS LAST", True),
    ("a, b, ts NULLS FIRST, x", True),
    ("a DESC, b DESC, ts", True),
    ("a NULLS FIRST, b, ts DESC, (x + 1)", True),
    ("a, b, ts", False),
    ("b DESC NULLS LAST, a DESC, ts DESC", False),
]


@pytest.fixture
def indexed(database: Database) -> Database:
    """A database that answers from indexes wherever it can, however few rows there are."""
    ((name,),) = database("SELECT current_database()")
    for alternative in ("seqscan", "bitmapscan", "sort"):
        database(f"ALTER DATABASE {name} SET enable_{alternative} = off")
    return database


def read(
    offline: OfflineStore, view: FeatureView, monkeypatch: pytest.MonkeyPatch, way: str
) -> tuple[list[tuple[Any, ...]], int]:
    """The newest rows and how many were rejected, read in that way."""
    monkeypatch.setattr(reading, "DEEP_HISTORY", 0 if way == "skip scan" else float("inf"))
    schema = offline.describe(view)
    chosen = offline._source(view).query_plan(schema, Window())
    assert way in chosen.in_words
    with offline._source(view).snapshot(chosen) as snapshot:
        rows = [tuple(row.values()) for batch in snapshot.batches(7) for row in batch.to_pylist()]
        rejected, sample = snapshot.rejected, snapshot.rejected_sample
    assert len(sample) == min(rejected, 5)
    assert all(len(row) == len(schema.columns) for row in rows)
    return sorted(rows, key=repr), rejected


def inserted(random: Random, first: str, second: str, nullable: bool) -> Iterator[list[Any]]:
    def one_of(values: list[Any]) -> Any:
        return None if nullable and random.random() < 0.1 else random.choice(values)

    for x in range(150):  # which decides between rows that agree in all else
        ts = random.choice(TIMESTAMPS if nullable else TIMESTAMPS[:-1])
        yield [
            one_of(KEYS[first]), one_of(KEYS[second]), ts, random.choice([None, "2026-01-05", "2026-01-06"]),
            random.choice([None, True, False]), random.choice([None, "p", "q"]), x,
        ]  # fmt: skip


@pytest.mark.parametrize("partitioned", [False, True])
@pytest.mark.parametrize("number, first", list(enumerate(KEYS)))
def test_the_rows_are_those_of_distinct_on(
    indexed: Database,
    make_view: MakeView,
    offline: OfflineStore,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    first: str,
    partitioned: bool,
) -> None:
    second = list(KEYS)[(number * 7 + 3) % len(KEYS)]
    index, nullable = INDEXES[number % len(INDEXES)]
    ts = TIMESTAMP_TYPES[number % len(TIMESTAMP_TYPES)]
    required = "" if nullable else "NOT NULL"
    indexed(TYPES)
    indexed(
        f"CREATE TABLE rows (a {first} {required}, b {second} {required}, ts {ts} {required}, "
        f"created timestamp, gone boolean, t text, x int) {'PARTITION BY RANGE (x)' if partitioned else ''}"
    )
    if partitioned:
        indexed("CREATE TABLE first PARTITION OF rows FOR VALUES FROM (0) TO (70); "
                "CREATE TABLE others PARTITION OF rows DEFAULT")  # fmt: skip
    rows = list(inserted(Random(number), first, second, nullable))
    indexed(
        f"INSERT INTO rows VALUES {', '.join(['(%s, %s, %s, %s, %s, %s, %s)'] * len(rows))}", *chain.from_iterable(rows)
    )
    beside = "; CREATE INDEX ON rows (ts)" if number % 2 else ""
    indexed(f"CREATE INDEX ON rows ({index}){beside}; ANALYZE rows")
    declared = {"created_timestamp_column": "created", "deleted_field": "gone"}
    view = make_view(entities=["a", "b"], source=declared)
    by_index, rejected = read(offline, view, monkeypatch, "skip scan")
    assert (by_index, rejected) == read(offline, view, monkeypatch, "DISTINCT ON")
    assert len(by_index) > 1
    assert rejected > 10


def test_every_type_of_join_keys_is_in_these_tests() -> None:
    assert {kind.partition("(")[0] for kind in KEYS} >= {codec.name for codec in CODECS.values() if codec.can_be_key}


DEEP = (
    # Whoever cleans up in the background would take statistics, too, where a test has none.
    "CREATE TABLE rows (id text, ts timestamptz, x int) WITH (autovacuum_enabled = off);"
    "INSERT INTO rows SELECT 'e' || e, timestamptz '2026-01-01' + h * interval '1 hour', h"
    " FROM generate_series(0, 99) AS h, generate_series(1, 200) AS e;"
)
INDEX = "CREATE INDEX rows_idx ON rows (id, ts);"
ANALYZED = "ANALYZE rows"


def words(offline: OfflineStore, view: FeatureView, window: Window = Window()) -> str:
    return offline._source(view).query_plan(offline.describe(view), window).in_words


def test_a_run_over_deep_history_walks_an_index_and_counts_every_row(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, caplog: Any
) -> None:
    database(DEEP + INDEX)
    database(
        "INSERT INTO rows VALUES (NULL, now(), 0), ('e1', NULL, 0), ('e1', 'infinity', 0), ('new', '-infinity', 0)"
    )
    database(ANALYZED)
    view = make_view()
    with caplog.at_level(logging.INFO):
        result = materialize(view, offline, online, full=True)
    assert (
        "It reads all of history, newest rows by skip scan over index rows_idx, about 100 rows per entity"
        in caplog.text
    )
    assert "rejects a row without an entity or an event timestamp: id='e1', ts='infinity'" in caplog.text
    assert (result.rows_read, result.rows_written, result.rows_rejected) == (204, 200, 4)
    (row,) = online.get_online_features(view, [{"id": "e1"}])
    assert (row.event_timestamp, row.values) == (at(3, day=5), {"x": 99})
    assert online.get_online_features(view, [{"id": "new"}])[0].status == "not_found"


def test_an_index_on_the_event_timestamp_alone_does_no_harm(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, caplog: Any
) -> None:
    database(DEEP + INDEX + "CREATE INDEX rows_ts ON rows (ts);" + ANALYZED)
    database("INSERT INTO rows VALUES ('e1', NULL, 0), ('e1', 'infinity', 0), ('new', '-infinity', 0)")
    view = make_view()
    chosen = offline._source(view).query_plan(offline.describe(view), Window())
    for statement in (chosen.newest, chosen.rejected):
        plan = "\n".join(line for (line,) in database(f"EXPLAIN {sql_text(statement)}".replace("%", "%%")))
        assert "rows_idx" in plan
        assert "rows_ts" not in plan  # it would look through the rejected rows of all entities for each of them
    with caplog.at_level(logging.INFO):
        result = materialize(view, offline, online, full=True)
    assert "skip scan over index rows_idx" in caplog.text
    assert (result.rows_read, result.rows_written, result.rows_rejected) == (203, 200, 3)


@pytest.mark.parametrize("partitions, way", [
    (3, "newest rows by skip scan over index rows_idx, about 100 rows per entity"),
    (6, "newest rows by DISTINCT ON, about 100 rows per entity; to walk index rows_idx through 6 partitions would take "
        "longer"),
])  # fmt: skip
def test_a_partitioned_table_is_walked_if_its_partitions_are_few(
    database: Database, make_view: MakeView, offline: OfflineStore, partitions: int, way: str
) -> None:
    database(DEEP + "ALTER TABLE rows RENAME TO old; CREATE TABLE rows (LIKE old) PARTITION BY RANGE (x)")
    bounds = [100 * i // partitions for i in range(partitions + 1)]
    for first, end in pairwise(bounds):
        database(f"CREATE TABLE x{first} PARTITION OF rows FOR VALUES FROM ({first}) TO ({end})")
    database("INSERT INTO rows SELECT * FROM old;" + INDEX + ANALYZED)
    assert words(offline, make_view()) == way


def test_a_column_whose_null_values_postgres_has_not_ruled_out_yet_is_looked_at(
    database: Database, make_view: MakeView, offline: OfflineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((version,),) = database("SELECT current_setting('server_version_num')::int")
    if version < 180000:
        pytest.skip("before Postgres 18, NOT NULL is validated when it is declared")
    database(DEEP + INDEX + "INSERT INTO rows VALUES ('e1', NULL, 0), ('e2', NULL, 0)")
    database("ALTER TABLE rows ADD CONSTRAINT c NOT NULL ts NOT VALID;" + ANALYZED)
    assert read(offline, make_view(), monkeypatch, "skip scan")[1] == 2
    database("ALTER TABLE rows ADD y int; CREATE INDEX ON rows (id, x, ts);"
             "INSERT INTO rows VALUES ('e1', now(), NULL, 1)")  # fmt: skip
    database("ALTER TABLE rows ADD CONSTRAINT d NOT NULL x NOT VALID;" + ANALYZED)
    assert read(offline, make_view(entities=["id", "x"]), monkeypatch, "skip scan")[1] == 3


def test_shallow_history_and_windows_are_looked_through(
    database: Database, make_view: MakeView, offline: OfflineStore
) -> None:
    database(DEEP + INDEX + ANALYZED)
    assert words(offline, make_view(), Window(start=at(1))) == ""
    database("DELETE FROM rows WHERE x >= 5;" + ANALYZED)
    assert words(offline, make_view()) == "newest rows by DISTINCT ON, about 5 rows per entity"


@pytest.mark.parametrize(
    "index",
    [
        "SELECT 1;",
        "CREATE INDEX ON rows (id); CREATE INDEX ON rows (ts, id);",
        "CREATE INDEX ON rows (id, ts) WHERE x > 0;",
        "CREATE INDEX ON rows (lower(id), ts);",
        'CREATE INDEX ON rows (id COLLATE "POSIX", ts);',
        "CREATE INDEX ON rows (id text_pattern_ops, ts);",
        "CREATE INDEX ON rows USING brin (id, ts);",
    ],
)
def test_deep_history_without_a_suitable_index_is_told_which_would_help(
    database: Database, make_view: MakeView, offline: OfflineStore, index: str
) -> None:
    database(DEEP + index + 'ALTER TABLE rows RENAME ts TO "Event %:""ts"""')
    view = make_view(source={"timestamp_field": 'Event %:"ts"', "table": "public.rows"})
    database(ANALYZED)
    said, _, cure = words(offline, view).partition("; to read the newest only: ")
    assert said == "newest rows by DISTINCT ON, about 100 rows per entity"
    assert cure == 'CREATE INDEX ON "public"."rows" ("id", "Event %:""ts""")'
    database(cure)
    assert "skip scan over index" in words(offline, view)


@pytest.mark.parametrize(
    "source, made",
    [
        ({"query": "SELECT * FROM rows"}, ANALYZED),
        ({"table": "seen"}, "CREATE VIEW seen AS SELECT * FROM rows;" + ANALYZED),
        ({}, ANALYZED + "; CREATE TABLE more () INHERITS (rows)"),
        ({"timezone": "Europe/Berlin"}, "ALTER TABLE rows ALTER ts TYPE timestamp;" + ANALYZED),
        ({}, "DELETE FROM pg_statistic WHERE starelid = 'rows'::regclass"),
    ],
)
def test_sources_that_no_index_serves_are_looked_through(
    database: Database,
    make_view: MakeView,
    offline: OfflineStore,
    monkeypatch: pytest.MonkeyPatch,
    source: dict[str, str],
    made: str,
) -> None:
    database(DEEP + INDEX + made)
    monkeypatch.setattr(reading, "DEEP_HISTORY", 0)
    assert re.fullmatch(
        r"newest rows by DISTINCT ON, about \d+ rows per entity", words(offline, make_view(source=source))
    )


def test_an_index_that_the_planner_does_not_step_through_is_left_alone(
    database: Database, make_view: MakeView, offline: OfflineStore
) -> None:
    database(DEEP + INDEX + ANALYZED)
    ((name,),) = database("SELECT current_database()")
    database(f"ALTER DATABASE {name} SET enable_indexscan = off; ALTER DATABASE {name} SET enable_indexonlyscan = off")
    assert words(offline, make_view()).endswith("; the planner does not walk index rows_idx")
