"""Parts of a source have each of its rows once, every entity is in one part, and parts are about even."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from online_features import FeatureView, OfflineStore
from online_features.offline.division._cuts import cuts
from online_features.offline.division.division import EVEN, Division
from online_features.offline.division.part import HashClass, KeyRange, PartitionGroup
from online_features.offline.query_plan import QueryPlan
from online_features.offline.source_access import SourceAccess
from online_features.offline.sql.source_rows import rows_of, sql_text, table_of
from online_features.offline.sql.statements import shown
from online_features.schema import RowSchema
from online_features.window import Window

from tests.support.servers import programs
from tests.support.servers.databases import Database

# Of 2,000 entities, entity i has about 1/i of the rows of the first; their names are in no order of their sizes.
ZIPF = """
    SELECT md5(i::text) AS id, timestamptz '2026-01-01Z' + n * interval '1 second' AS ts, n AS x
    FROM generate_series(1, 2000) AS i, generate_series(1, (1500 / i ^ 1.1)::int + 1) AS n
"""


def analyze(database: Database) -> None:
    """Collect statistics, after all changes were counted."""
    database("SELECT pg_stat_force_next_flush(); INSERT INTO rows SELECT * FROM rows LIMIT 0")
    database("ANALYZE rows")


def divided(offline: OfflineStore, view: FeatureView, parts: int) -> tuple[Division, RowSchema, QueryPlan]:
    """Divide the source of a view, and check that all parts give together what the source gives as a whole."""
    source = offline._source(view)
    schema = source.describe()
    plan = source.query_plan(schema, Window())
    division: Division = pickle.loads(pickle.dumps(source.divide(schema, plan, parts)))  # on its way to a process
    whole, rejected = read(source, plan)
    by_part = [read(source, *source.plans_of_part(schema, Window(), part, division.scan)) for part in division.parts]
    assert Counter(row for rows, _ in by_part for row in rows) == Counter(whole)
    assert sum(count for _, count in by_part) == rejected
    return division, schema, plan


def read(source: SourceAccess, *plans: QueryPlan) -> tuple[list[tuple[Any, ...]], int]:
    """Return the newest rows, and how many rows are rejected."""
    with source.snapshot(*plans) as snapshot:
        batches = list(snapshot.batches(50_000))
        return [tuple(row.values()) for batch in batches for row in batch.to_pylist()], snapshot.rejected


def rows_by_part(database: Database, view: FeatureView, schema: RowSchema, division: Division) -> list[list[Any]]:
    """Return join keys and event timestamp of the rows of each part, as texts."""
    found = []
    for part in division.parts:
        if isinstance(part, PartitionGroup):
            selected = [shown(schema, table_of(table)) for table in part.tables]
        else:
            selected = [shown(schema, rows_of(view.source)).where(part.rows(schema))]
        found.append([row for one in selected for row in database(sql_text(one))])
    return found


def check_whole(database: Database, view: FeatureView, schema: RowSchema, division: Division) -> list[int]:
    """Check that each row is in one part, and each entity, and return how many rows each part has."""
    parts = rows_by_part(database, view, schema, division)
    every = database(sql_text(shown(schema, rows_of(view.source))))
    assert Counter(row for part in parts for row in part) == Counter(every)
    entities = [{tuple(keys) for *keys, _ in part if None not in keys} for part in parts]
    assert sum(map(len, entities)) == len(set().union(*entities))
    return list(map(len, parts))


@pytest.mark.parametrize("index", ["CREATE INDEX ON rows (id)", "", "CREATE INDEX ON rows (id, ts)"])
@pytest.mark.parametrize("parts", [2, 8])
def test_ranges_are_even_on_skewed_keys(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView], index: str, parts: int
) -> None:
    database(f"CREATE TABLE rows AS {ZIPF}; INSERT INTO rows VALUES (NULL, now(), 1), ('a', NULL, 1)")
    database(index or "SELECT 1")
    analyze(database)
    view = make_view()
    division, schema, _ = divided(offline, view, parts)
    sizes = check_whole(database, view, schema, division)
    assert (len(sizes), division.unevenness) == (parts, "")
    assert max(sizes) <= EVEN * min(sizes), sizes
    assert ("histogram in the statistics" if index else "a sample of") in division.in_words
    assert "collation pg_catalog" in division.in_words


def test_an_entity_that_is_more_than_its_share_is_named(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView]
) -> None:
    database(
        "CREATE TABLE rows AS SELECT CASE WHEN n % 10 < 6 THEN 500 ELSE n END AS id, "
        "now() - n * interval '1 second' AS ts FROM generate_series(1, 1000) AS n"
    )
    view = make_view(features=["id"])
    division, schema, _ = divided(offline, view, 4)
    sizes = check_whole(database, view, schema, division)
    assert sorted(sizes)[-1] in range(600, 620)
    assert max(sorted(sizes)[:-1]) <= EVEN * min(sizes)  # the others have a part each
    assert "an entity of 'id' has about 60% of the rows" in division.unevenness


def test_old_statistics_are_not_used(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView]
) -> None:
    database("CREATE TABLE rows AS SELECT n AS id, now() AS ts FROM generate_series(1, 1000) AS n")
    database("CREATE INDEX ON rows (id)")
    analyze(database)
    database("INSERT INTO rows SELECT n AS id, now() AS ts FROM generate_series(1001, 5000) AS n")
    division, schema, _ = divided(offline, make_view(features=["id"]), 2)
    assert "because its statistics are missing or old" in division.in_words
    assert check_whole(database, make_view(features=["id"]), schema, division) == [2500, 2500]


VALUES = {
    "bigint": "n - 50",
    "numeric": "n::numeric(9, 2) / 4",
    "text": "chr(40 + n) || '\\\"%'':x'",
    "char(5)": "n::text",
    "uuid": "md5(n::text)::uuid",
    "bytea": "decode(md5(n::text), 'hex')",
    '"char"': 'chr(33 + n)::"char"',
    "bit(4)": "n::bit(4)",
    "date": "date '2026-01-01' + n",
    "timestamptz": "CASE WHEN n % 50 = 0 THEN 'infinity' ELSE timestamptz '2026-01-01Z' + n * interval '1 us' END",
    "inet": "'10.0.0.0'::inet + n",
    "name": "('k' || n)::name",
    "color": "CASE WHEN n % 3 = 0 THEN 'red' WHEN n % 3 = 1 THEN 'green' ELSE 'blue' END::color",
}


@pytest.mark.parametrize("has_index", [True, False])
def test_ranges_and_hashes_of_every_type_of_key(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView], has_index: bool
) -> None:
    database("CREATE TYPE color AS ENUM ('red', 'green', 'blue')")
    for kind, value in VALUES.items():
        database(
            f"DROP TABLE IF EXISTS rows; CREATE TABLE rows (id {kind}, other int, ts timestamptz);"
            f"INSERT INTO rows SELECT {value}, n, now() FROM generate_series(1, 80) AS n, generate_series(1, 2);"
            "INSERT INTO rows VALUES (NULL, 1, now()), (NULL, NULL, now());"
            f"{'CREATE INDEX ON rows (id);' if has_index else ''}"
        )
        analyze(database)
        view = make_view(features=["other"])
        division, schema, _ = divided(offline, view, 3)
        assert all(isinstance(part, KeyRange) for part in division.parts)
        assert ("histogram" in division.in_words) == has_index
        assert min(check_whole(database, view, schema, division)) > 0
        if has_index:
            continue
        by_hash = make_view(source={"query": "SELECT * FROM rows"}, features=["other"])
        division, schema, _ = divided(offline, by_hash, 3)
        assert all(isinstance(part, HashClass) for part in division.parts)
        check_whole(database, by_hash, schema, division)


@pytest.mark.parametrize("collation", ['"C"', '"und-x-icu"', "ci"])
def test_ranges_of_texts_are_in_the_order_of_their_collation(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView], collation: str
) -> None:
    has_icu = database("SELECT count(*) FROM pg_collation WHERE collname = 'und-x-icu'") == [(1,)]
    if not has_icu and collation != '"C"' and not programs.POSTGRES:
        pytest.skip("this build of Postgres has no ICU; Debian's has, by make test-debian")
    if collation == "ci":
        database("CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    database(f"CREATE TABLE rows (id text COLLATE {collation}, ts timestamptz)")
    names = [f"{a}{b}" for a in "aAbBäÄzZ_-" for b in "01xX"]
    for name in names:
        database("INSERT INTO rows VALUES (%s, now())", name)
    view = make_view(features=["id"])
    for index in ("", "CREATE INDEX ON rows (id)"):
        database(index or "SELECT 1")
        analyze(database)
        division, schema, _ = divided(offline, view, 4)
        sizes = check_whole(database, view, schema, division)
        assert max(sizes) <= EVEN * min(sizes)
        check_together(database, view, schema, division, collation)
    by_hash = make_view(features=["id"], source={"query": "SELECT * FROM rows"})
    check_together(database, by_hash, schema, divided(offline, by_hash, 4)[0], collation)


def check_together(
    database: Database, view: FeatureView, schema: RowSchema, division: Division, collation: str
) -> None:
    """Check that texts which are equal by their collation are in one part."""
    parts = rows_by_part(database, view, schema, division)
    values = ", ".join(f"('{name}', {place})" for place, part in enumerate(parts) for name, _ in part)
    places = f"SELECT count(DISTINCT place) FROM (VALUES {values}) AS v (id, place) GROUP BY id COLLATE {collation}"
    assert {count for (count,) in database(places)} == {1}


def test_partitions_by_join_keys_are_kept_whole(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView]
) -> None:
    database("CREATE TABLE rows (id int, ts timestamptz) PARTITION BY HASH (id)")
    for i in range(4):
        database(f'CREATE TABLE "Part {i}" PARTITION OF rows FOR VALUES WITH (MODULUS 4, REMAINDER {i})')
    database("INSERT INTO rows SELECT n, now() FROM generate_series(1, 4000) AS n")
    database("INSERT INTO rows VALUES (NULL, now())")
    view = make_view(features=["id"])
    division, schema, _ = divided(offline, view, 2)
    assert all(isinstance(part, PartitionGroup) for part in division.parts)
    sizes = check_whole(database, view, schema, division)
    assert max(sizes) <= EVEN * min(sizes)
    assert "groups of its 4 partitions" in division.in_words
    # A policy of the table does not hold for its partitions.
    database("ALTER TABLE rows ENABLE ROW LEVEL SECURITY")
    division, schema, _ = divided(offline, view, 2)
    assert all(isinstance(part, KeyRange) for part in division.parts)
    check_whole(database, view, schema, division)


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE TABLE rows (id int, ts timestamptz) PARTITION BY RANGE (ts);"
        "CREATE TABLE one PARTITION OF rows FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        "CREATE TABLE two PARTITION OF rows DEFAULT",
        "CREATE TABLE rows (id int, ts timestamptz); CREATE TABLE one () INHERITS (rows);"
        "CREATE TABLE two (x int) INHERITS (rows)",
    ],
)
def test_other_partitions_and_children_are_divided_by_ranges(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView], definition: str
) -> None:
    database(definition)
    for table, day in (("one", 5), ("two", 40)):
        database(f"INSERT INTO {table} SELECT n, timestamptz '2026-01-01Z' + interval '{day} days' "
                 "FROM generate_series(1, 500) AS n")  # fmt: skip
    view = make_view(features=["id"])
    division, schema, _ = divided(offline, view, 2)
    assert all(isinstance(part, KeyRange) for part in division.parts)
    assert check_whole(database, view, schema, division) == [500, 500]


def test_composite_keys_are_hashed_where_no_key_alone_has_values_enough(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView]
) -> None:
    database(
        "CREATE TABLE rows AS SELECT n % 2 AS a, n % 3 AS b, n AS c, now() AS ts FROM generate_series(1, 600) AS n;"
        "INSERT INTO rows VALUES (NULL, 1, 1, now()), (1, NULL, 1, now())"
    )
    division, schema, _ = divided(offline, make_view(entities=["a", "b"], features=["a"]), 4)
    assert all(isinstance(part, HashClass) for part in division.parts)
    check_whole(database, make_view(entities=["a", "b"], features=["a"]), schema, division)
    view = make_view(entities=["a", "c"], features=["a"])
    division, schema, _ = divided(offline, view, 4)
    assert division.parts[0] == KeyRange(column="c", lower=None, upper=division.parts[0].upper)
    check_whole(database, view, schema, division)


def test_a_range_is_read_by_skip_scan_where_the_whole_would_be(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView]
) -> None:
    database("CREATE TABLE rows (a int, b int, ts timestamptz, x int)")
    database(
        "INSERT INTO rows SELECT a, b, timestamptz '2026-01-01Z' + n * interval '1 hour', n "
        "FROM generate_series(1, 40) AS a, generate_series(1, 3) AS b, generate_series(1, 100) AS n"
    )
    database("INSERT INTO rows SELECT a, NULL, now(), 1 FROM generate_series(1, 5) AS a")
    database("INSERT INTO rows VALUES (NULL, 1, now(), 1), (NULL, NULL, now(), 1), (7, 1, NULL, 1)")
    database("INSERT INTO rows VALUES (30, 1, 'infinity', 1), (31, 9, '-infinity', 1)")
    database("CREATE INDEX ON rows (b DESC, a DESC, ts)")
    analyze(database)
    view = make_view(entities=["a", "b"], features=["x"])
    division, schema, plan = divided(offline, view, 3)
    assert "by skip scan" in plan.in_words
    assert division.scan is not None
    assert {part.column for part in division.parts if isinstance(part, KeyRange)} == {"b"}
    check_whole(database, view, schema, division)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_there_are_no_more_parts_than_entities(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView], rows: int
) -> None:
    database(f"CREATE TABLE rows AS SELECT n AS id, now() AS ts FROM generate_series(1, {rows}) AS n")
    database("INSERT INTO rows VALUES (NULL, now())")
    view = make_view(features=["id"])
    division, schema, _ = divided(offline, view, 8)
    assert len(division.parts) == max(1, rows)
    check_whole(database, view, schema, division)


def test_cuts_are_as_even_as_they_can_be() -> None:
    assert cuts([1.0] * 12, 3) == [4, 8]
    assert cuts([1, 1, 60, 1, 1], 4) == [1, 2, 3]
    assert cuts([60, 1, 1, 1, 1], 3) == [1, 3]
    assert cuts([5], 3) == []
    assert len(cuts([1.0] * 100_000, 64)) == 63
