"""What we write in layout ``feast``, held against what Feast itself writes, reads and guards."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
import redis
from online_features import FeastOptions, FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import FeatureViewError, InvalidRowsError, SourceError, UnsupportedTypeError
from online_features.layouts.feast.feast_types import FeastType

from tests.conftest import at
from tests.feast.conftest import FEASTS, OURS, MakeFeast, content, feast_view
from tests.feast.environment import Feast, FeastError
from tests.support.servers.databases import Database

pytestmark = pytest.mark.slow

MakeView = Callable[..., FeatureView]

ALL_TIME = {"start": datetime(2000, 1, 1, tzinfo=UTC), "end": datetime(2027, 1, 1, tzinfo=UTC)}

# Feature, Postgres type, Feast type, and what stands in row after row.
COLUMNS = [
    ("flag", "boolean", "Bool", ["true", "false", "NULL"]),
    ("small", "smallint", "Int32", ["0", "-1", "127", "128", "-32768", "NULL"]),
    ("medium", "integer", "Int32", ["2147483647", "-2147483648", "16383", "16384", "NULL"]),
    ("widened", "integer", "Int64", ["1", "-1", "0", "NULL"]),
    ("big", "bigint", "Int64", ["9223372036854775807", "-9223372036854775808", "0", "1", "-1", "300"]),
    ("gappy", "bigint", "Int64", ["4398046511104", "NULL", "-5"]),
    ("single", "real", "Float32", ["1.5", "0.1", "'nan'", "'inf'", "0", "NULL", "'-0'"]),
    ("ratio", "double precision", "Float64", ["0.1", "1e300", "'nan'", "'-inf'", "0", "NULL", "'-0'"]),
    ("narrowed", "double precision", "Float32", ["0.1", "1.5", "NULL"]),
    ("counted", "double precision", "Int64", ["2", "2.7", "-2.7", "0"]),
    ("exact", "numeric", "Float64", ["1.5", "0.25", "-123456.75", "NULL"]),
    ("priced", "numeric(10,2)", "Float32", ["1.5", "0.25", "NULL"]),
    ("tallied", "numeric", "Int64", ["1", "20000000000", "-3"]),
    ("words", "text", "String", ["'a'", "''", "'é\n🛩'", "NULL", "repeat('x', 127)", "repeat('y', 20000)"]),
    ("varied", "varchar(9)", "String", ["'a'", "NULL"]),
    ("padded", "char(4)", "String", ["'a'", "NULL"]),
    ("identity", "text", "Uuid", ["'00000000-0000-0000-0000-0000000000ff'", "NULL"]),
    ("timely", "text", "TimeUuid", ["'00000000-0000-0000-0000-0000000000ff'", "NULL"]),
    ("amount", "text", "Decimal", ["'1.50'", "NULL"]),
    ("tree", "text", "Json", ["""'{"a": [1, null]}'""", "NULL"]),
    ("raw", "bytea", "Bytes", [r"'\x00ff'", "''", "NULL"]),
    ("page", "bytea", "PdfBytes", [r"'\x00ff'", "NULL"]),
    ("image", "bytea", "ImageBytes", [r"'\x00ff'", "NULL"]),
    ("day", "date", "UnixTimestamp", ["'2026-01-01'", "'1950-06-01'", "NULL"]),
    ("local", "timestamp", "UnixTimestamp", ["'2026-01-01 10:00:00.7'", "'1969-12-31 23:59:59.5'", "NULL"]),
    ("moment", "timestamptz", "UnixTimestamp", ["'2026-01-01 10:00:00.7+02'", "'0100-01-01 00:00+00'", "NULL"]),
    ("flags", "boolean[]", "Array(Bool)", ["'{t,f}'", "'{}'", "'{t,NULL}'", "NULL"]),
    ("smalls", "smallint[]", "Array(Int32)", ["'{1,-1,300}'", "'{}'", "NULL"]),
    ("mediums", "integer[]", "Array(Int32)", ["'{1,-1,300}'", "'{}'", "NULL"]),
    ("widers", "integer[]", "Array(Int64)", ["'{1,-1,300}'", "'{}'", "NULL"]),
    ("bigs", "bigint[]", "Array(Int64)", ["'{1,-1,9007199254740993}'", "'{}'", "NULL"]),
    ("singles", "real[]", "Array(Float32)", ["'{1.5,0.1}'", "'{}'", "NULL"]),
    ("ratios", "double precision[]", "Array(Float64)", ["'{1.5,0.1,nan}'", "'{}'", "'{1,NULL}'", "NULL"]),
    ("narrows", "double precision[]", "Array(Float32)", ["'{1.5,0.1}'", "'{}'", "NULL"]),
    ("wides", "real[]", "Array(Float64)", ["'{1.5,0.1}'", "'{}'", "NULL"]),
    ("exacts", "numeric[]", "Array(Float64)", ["'{1.5,0.25}'", "'{}'", "NULL"]),
    ("texts", "text[]", "Array(String)", ["""'{a,"",é}'""", "'{}'", "'{a,NULL}'", "NULL"]),
    ("paddeds", "char(3)[]", "Array(String)", ["'{a}'", "'{}'", "NULL"]),
    ("amounts", "text[]", "Array(Decimal)", ["'{1.50}'", "'{}'", "NULL"]),
    ("trees", "text[]", "Array(Json)", ["""'{"1","[2]"}'""", "NULL"]),
    ("raws", "bytea[]", "Array(Bytes)", [r"array['\x00ff'::bytea, '']", "'{}'", "NULL"]),
    ("days", "date[]", "Array(UnixTimestamp)", ["'{2026-01-01,1950-01-01}'", "'{}'", "NULL"]),
    ("locals", "timestamp[]", "Array(UnixTimestamp)", ["'{2026-01-01 10:00:00.7,1950-01-01 00:00:00.5}'", "'{}'"]),
    ("moments", "timestamptz[]", "Array(UnixTimestamp)", ["'{2026-01-01 10:00+02,1969-12-31 23:59:59.5+00}'", "NULL"]),
    ("nothing", "text", "String", ["NULL"]),
]  # fmt: skip

TYPES = {name: kind for name, _, kind, _ in COLUMNS}


@pytest.fixture
def every_type(database: Database) -> int:
    """A table ``rows`` with a column of every type; returns how many rows it has."""
    columns = ", ".join(f"{name} {kind}" for name, kind, _, _ in COLUMNS)
    database(f"CREATE TABLE rows (id bigint, ts timestamptz, {columns})")
    # Feast takes a column's type from what it finds: without lists it would find none.
    for i in range(60):
        values = ", ".join(literals[i % len(literals)] for *_, literals in COLUMNS)
        database(
            f"INSERT INTO rows VALUES ({i}, timestamptz '2026-01-01 00:00:00+00' + {i} * interval '0.1 s', {values})"
        )
    return 60


def test_every_type_is_byte_for_byte_what_feast_writes(
    every_type: int, feast: Feast, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    stores: dict[int, redis.Redis],
) -> None:  # fmt: skip
    view = make_view(features=list(TYPES), feast=FeastOptions(types=TYPES))
    feast.views = [feast_view(view, {"id": "INT64"}, TYPES)]
    feast("materialize", **ALL_TIME)
    assert materialize(view, offline, online).rows_written == every_type
    theirs, mine = content(stores[FEASTS]), content(stores[OURS])
    assert len(theirs) == every_type
    assert mine.keys() == theirs.keys()
    for key, fields in theirs.items():
        assert mine[key] == fields


def test_no_type_of_feasts_is_left_out() -> None:
    # Lists of UUIDs are not materialized by Feast itself; that it reads ours is a test below.
    assert {*TYPES.values(), "Array(Uuid)", "Array(TimeUuid)"} == {kind.value for kind in FeastType}


@pytest.mark.parametrize("batch_rows", [7, 1000])
def test_feast_reads_what_we_write_as_it_reads_its_own(
    every_type: int, make_feast: MakeFeast, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    batch_rows: int,
) -> None:  # fmt: skip
    view = make_view(features=list(TYPES), feast=FeastOptions(types=TYPES))
    own, on_ours = make_feast(FEASTS), make_feast(OURS)
    own.views = on_ours.views = [feast_view(view, {"id": "INT64"}, TYPES)]
    own("materialize", **ALL_TIME)
    materialize(view, offline, online, batch_rows=batch_rows)
    question = {
        "features": [f"{view.name}:{name}" for name in TYPES],
        "entity_rows": [{"id": i} for i in range(every_type + 1)],
    }
    answer = on_ours("read", **question)
    assert repr(answer) == repr(own("read", **question))
    assert answer["values"]["big"][0] == 2**63 - 1


def test_our_reader_gives_values_typed_as_in_postgres(
    every_type: int, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(features=list(TYPES), feast=FeastOptions(types=TYPES))
    materialize(view, offline, online)
    first, third, missing = online.get_online_features(view, [{"id": 0}, {"id": 2}, {"id": 1000}])
    assert missing.status == "not_found"
    assert first.event_timestamp == at(0)
    assert third.values["flag"] is None
    some = {
        "flag": True, "small": 0, "big": 2**63 - 1, "single": 1.5, "ratio": 0.1, "exact": 1.5, "words": "a",
        "padded": "a   ", "raw": b"\x00\xff", "day": date(2026, 1, 1), "local": datetime(2026, 1, 1, 10),
        "moment": datetime(2026, 1, 1, 8, tzinfo=UTC), "flags": [True, False], "mediums": [1, -1, 300],
        "ratios": pytest.approx([1.5, 0.1, float("nan")], nan_ok=True), "texts": ["a", "", "é"],
        "raws": [b"\x00\xff", b""], "days": [date(2026, 1, 1), date(1950, 1, 1)], "nothing": None,
    }  # fmt: skip
    assert {name: first.values[name] for name in some} == some
    assert third.values["local"] is None


KEYS = [
    ("text", "STRING", "String", ["'a'", "''", "'é:{}*?[x]'", "'test'"]),
    ("varchar(9)", "STRING", "String", ["'a'"]),
    ("char(4)", "STRING", "String", ["'a'"]),
    ("smallint", "INT32", "Int32", ["1", "-1"]),
    ("integer", "INT32", "Int32", ["1", "-1", "125", "123"]),
    ("integer", "INT64", "Int64", ["1", "-1"]),
    ("bigint", "INT64", "Int64", ["1", "9007199254740993"]),
    ("bigint", "STRING", "String", ["12", "-1"]),
    ("bytea", "BYTES", "Bytes", [r"'\x00ff'", r"'\x5c2a'"]),
    ("timestamptz", "UNIX_TIMESTAMP", "UnixTimestamp", ["'2026-01-01 10:00:00.7+02'", "'1969-12-31 23:59:59.5+00'"]),
    ("timestamp", "UNIX_TIMESTAMP", "UnixTimestamp", ["'2026-01-01 10:00:00.7'"]),
    ("date", "UNIX_TIMESTAMP", "UnixTimestamp", ["'2026-01-01'"]),
]  # fmt: skip


@pytest.mark.parametrize("postgres_type, feast_type, name, values", KEYS)
def test_join_keys_of_every_type_are_feasts(
    database: Database, feast: Feast, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    stores: dict[int, redis.Redis], postgres_type: str, feast_type: str, name: str, values: list[str],
) -> None:  # fmt: skip
    database(f"CREATE TABLE rows (id {postgres_type}, ts timestamptz, x int)")
    for i, value in enumerate(values):
        database(f"INSERT INTO rows VALUES ({value}, '2026-01-01 00:00:00.5+00', {i})")
    view = make_view(feast=FeastOptions(types={"id": name}))
    feast.views = [feast_view(view, {"id": feast_type}, {"x": "Int32"})]
    feast("materialize", **ALL_TIME)
    assert materialize(view, offline, online).rows_written == len(values)
    assert content(stores[OURS]) == content(stores[FEASTS])
    ((value,),) = database("SELECT id FROM rows WHERE x = 0")
    value = bytes(value) if postgres_type == "bytea" else value
    assert online.get_online_features(view, [{"id": value}])[0].values == {"x": 0}
    if name != "UnixTimestamp":
        database("DELETE FROM rows WHERE x > 0")
        assert materialize(view, offline, online, full=True, prune=True).entities_pruned == len(values) - 1
        assert online.delete(view, [{"id": value}]) == 1
        assert materialize(view, offline, online, full=True).rows_stale == 1


def test_views_of_one_entity_share_its_key_and_leave_each_other_alone(
    database: Database, feast: Feast, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    stores: dict[int, redis.Redis],
) -> None:  # fmt: skip
    database("CREATE TABLE rows (shop text, id bigint, ts timestamptz, x int, y text)")
    database("INSERT INTO rows SELECT 's' || i %% 3, i, %s, i, 'y' FROM generate_series(1, 9) i", at(1))
    # Feast sorts the join keys by name, whatever their order.
    views = [
        make_view(name="xs", entities=["shop", "id"], features=["x"]),
        make_view(name="ys", entities=["id", "shop"], features=["y"]),
    ]
    kinds = {"id": "INT64", "shop": "STRING"}
    feast.views = [feast_view(views[0], kinds, {"x": "Int32"}), feast_view(views[1], kinds, {"y": "String"})]
    feast("materialize", **ALL_TIME)
    for view in views:
        assert materialize(view, offline, online).rows_written == 9
    theirs = content(stores[FEASTS])
    assert content(stores[OURS]) == theirs
    assert {len(fields) for fields in theirs.values()} == {4}

    entity = {"id": 1, "shop": "s1"}
    assert online.delete(views[0], [entity]) == 1
    assert online.get_online_features(views[0], [entity])[0].status == "not_found"
    assert online.get_online_features(views[1], [entity])[0].values == {"y": "y"}
    database("DELETE FROM rows WHERE id > 5")
    assert materialize(views[0], offline, online, full=True, prune=True).entities_pruned == 4
    assert {row.status for row in online.get_online_features(views[1], [{"id": 9, "shop": "s0"}])} == {"present"}
    by_id = make_view(name="xs", entities=["id"], features=["x"])
    materialize(by_id, offline, online)
    assert online.get_online_features(by_id, [{"id": 2}])[0].values == {"x": 2}
    kept = [fields for key, fields in content(stores[OURS]).items() if b"shop" in key]
    assert [set(fields) for fields in kept if b"_ts:xs" in fields] == []
    assert sum(b"_ts:ys" in fields for fields in kept) == 9


def test_a_project_whose_name_ends_like_another_leaves_that_alone(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, project: str
) -> None:
    database("CREATE TABLE rows AS SELECT i AS id, %s::timestamptz AS ts, i AS x FROM generate_series(1, 3) i", at(1))
    ours, longer = make_view(), make_view(project=f"x{project}")
    for view in (ours, longer):
        materialize(view, offline, online)
    database("DELETE FROM rows")
    assert materialize(ours, offline, online, full=True, prune=True).entities_pruned == 3
    assert {row.status for row in online.get_online_features(longer, [{"id": i} for i in (1, 2, 3)])} == {"present"}


def test_feast_and_we_respect_each_others_newer_rows(
    database: Database, make_feast: MakeFeast, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows (id text, ts timestamptz, x bigint)")
    database("INSERT INTO rows VALUES ('a', %s, 1), ('b', %s, 1), ('c', %s, 1)", at(2), at(2), at(2))
    view = make_view()
    feast = make_feast(OURS)
    feast.views = [feast_view(view, {"id": "STRING"}, {"x": "Int64"})]

    def push(name: str, ts: datetime, x: int) -> None:
        feast("push", view=view.name, rows=[{"id": name, "ts": ts.isoformat(), "x": x}])

    def xs() -> list[int]:
        return [row.values["x"] for row in online.get_online_features(view, [{"id": name} for name in "abc"])]

    push("a", at(3), 10)
    push("b", at(1), 10)
    result = materialize(view, offline, online)
    assert (result.rows_written, result.rows_stale) == (2, 1)
    assert xs() == [10, 1, 1]
    push("b", at(1), 20)
    push("c", at(2) + timedelta(microseconds=1), 20)
    assert xs() == [10, 1, 20]
    assert materialize(view, offline, online, full=True).rows_stale == 2
    assert xs() == [10, 1, 20]
    database("INSERT INTO rows VALUES ('a', %s, 30), ('c', %s, 30)", at(4), at(2) + timedelta(microseconds=1))
    materialize(view, offline, online, full=True)
    assert xs() == [30, 1, 30]
    feast("materialize", **ALL_TIME)
    assert xs() == [30, 1, 30]


@pytest.mark.parametrize(
    "moment",
    ["0001-01-01 00:00:00", "1600-02-29 23:59:59.999999", "1969-12-31 23:59:59.999999", "1970-01-01 00:00:00",
     "1970-01-01 00:00:00.000001", "2000-02-29 12:00:00", "2038-01-19 03:14:08", "2100-03-01 00:00:00",
     "9999-12-31 23:59:59.999999"],
)  # fmt: skip
def test_the_guard_reads_feasts_timestamps_of_any_time(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, moment: str
) -> None:
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    database("INSERT INTO rows VALUES ('a', timestamp %s AT TIME ZONE 'UTC', 1)", moment)
    view = make_view()
    for _ in range(2):
        assert materialize(view, offline, online, full=True).rows_written == 1
    (row,) = online.get_online_features(view, [{"id": "a"}])
    assert row.event_timestamp == datetime.fromisoformat(moment).replace(tzinfo=UTC)
    if moment > "0001-01-02":
        database("UPDATE rows SET ts = ts - interval '1 us'")
        assert materialize(view, offline, online, full=True).rows_stale == 1
    if moment < "9999":
        database("UPDATE rows SET ts = ts + interval '2 us'")
        assert materialize(view, offline, online, full=True).rows_written == 1


def test_a_key_ttl_is_feasts(
    database: Database, make_feast: MakeFeast, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    stores: dict[int, redis.Redis],
) -> None:  # fmt: skip
    database("CREATE TABLE rows AS SELECT 'a' AS id, %s::timestamptz AS ts, 1 AS x", at(1))
    feast = make_feast(key_ttl_seconds=3600)
    view = make_view(ttl=timedelta(hours=1), feast=FeastOptions(key_ttl=timedelta(hours=1)))
    feast.views = [feast_view(view, {"id": "STRING"}, {"x": "Int32"})]
    began = time.monotonic()
    feast("materialize", **ALL_TIME)
    assert materialize(view, offline, online).rows_written == 1
    for client in stores.values():
        (key,) = content(client)
        assert 3600 >= client.ttl(key) > 3599 - (time.monotonic() - began)
    longer = make_view(ttl=timedelta(hours=1), feast=FeastOptions(key_ttl=timedelta(hours=2)))
    materialize(longer, offline, online)
    assert 7200 >= stores[OURS].ttl(key) > 7199 - (time.monotonic() - began)


def test_rows_past_the_ttl_are_written_as_feast_does_and_told_by_our_reader(
    database: Database, make_feast: MakeFeast, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() - interval '2 hours' AS ts, 1 AS x")
    view = make_view(ttl=timedelta(hours=1))
    assert materialize(view, offline, online).rows_written == 1
    feast = make_feast(OURS)
    feast.views = [feast_view(view, {"id": "STRING"}, {"x": "Int32"}, ttl=3600)]
    present = 1  # Feast's reader leaves it to the caller to look at the event timestamp
    answer = feast("read", features=[f"{view.name}:x"], entity_rows=[{"id": "a"}])
    assert answer["statuses"]["x"] == [present]
    assert online.get_online_features(view, [{"id": "a"}])[0].status == "expired"


def test_uuids_are_written_as_feast_reads_them(
    database: Database, make_feast: MakeFeast, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    # Feast cannot materialize these itself: it takes the sixteen bytes of a UUID for text.
    which = UUID(int=2**127 + 255)
    database(
        "CREATE TABLE rows AS SELECT %s::uuid AS id, now() AS ts, %s::uuid AS one, array[%s::uuid] AS many",
        str(which), str(which), str(which),
    )  # fmt: skip
    view = make_view(feast=FeastOptions(types={"many": "Array(TimeUuid)"}))
    materialize(view, offline, online)
    feast = make_feast(OURS)
    feast.views = [feast_view(view, {"id": "STRING"}, {"one": "Uuid", "many": "Array(TimeUuid)"})]
    question = {"features": [f"{view.name}:one", f"{view.name}:many"], "entity_rows": [{"id": str(which)}]}
    answer = feast("read", **question)["values"]
    assert answer == {"id": [str(which)], "one": [str(which)], "many": [[str(which)]]}
    assert online.get_online_features(view, [{"id": which}])[0].values == {"one": str(which), "many": [str(which)]}


@pytest.mark.parametrize(
    "column, types, message",
    [
        ("interval '1 day'", {}, "feature 'x' has type 'interval', which Feast does not hold at all -> convert it in"),
        ("'{}'::jsonb", {}, "has type 'jsonb', which Feast does not hold by default -> .*'x'.* with Json"),
        ("1", {"x": "String"}, "'integer', which Feast does not hold as String -> .* with Int32 or Int64 or Float32"),
        ("ARRAY[ARRAY[1]]", {}, "column 'x' holds arrays of several dimensions, which Feast does not"),
        ("ARRAY[1, NULL]", {}, "column 'x' holds arrays of integers with a NULL inside, which Feast does not"),
        ("'infinity'::timestamptz", {}, "column 'x' holds times that are infinite"),
        ("ARRAY['infinity'::date]", {}, "column 'x' holds times that are infinite"),
        ("'0044-03-15 BC'::date", {}, "column 'x' holds times that are infinite, before our era"),
        ("2147483648", {"x": "Int32"}, "integer out of range"),
    ],
)
def test_what_feast_cannot_hold_is_refused_by_name(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, ours: redis.Redis,
    column: str, types: dict[str, str], message: str,
) -> None:  # fmt: skip
    database(f"CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, {column} AS x")
    with pytest.raises((UnsupportedTypeError, SourceError, InvalidRowsError), match=message):
        materialize(make_view(feast=FeastOptions(types=types)), offline, online)
    assert content(ours) == {}


@pytest.mark.parametrize("key", ["true", "1.5", "1.5::float8", "'1.2.3.4'::inet"])
def test_join_keys_that_feast_cannot_hold_are_refused_by_name(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, key: str
) -> None:
    database(f"CREATE TABLE rows AS SELECT {key} AS id, now() AS ts, 1 AS x")
    with pytest.raises(UnsupportedTypeError, match="join key 'id' has type"):
        materialize(make_view(), offline, online)


def test_pruning_by_times_is_refused(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT now() AS id, now() AS ts, 1 AS x")
    with pytest.raises(UnsupportedTypeError, match="join key 'id' is a time, of which Feast's keys hold whole seconds"):
        materialize(make_view(), offline, online, full=True, prune=True)


def test_features_that_leave_the_view_go_with_the_next_write(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, ours: redis.Redis
) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x, 2 AS y, 3 AS z")
    for features in (["x", "y"], ["y", "z"], ["z"]):
        materialize(make_view(features=features), offline, online)
        (fields,) = content(ours).values()
        assert len(fields) == 1 + len(features)


@pytest.mark.parametrize("before, after", [("hash", "feast"), ("json", "feast"), ("feast", "hash")])
def test_another_layout_replaces_what_was_online_and_what_was_erased_stays_erased(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, ours: redis.Redis,
    before: str, after: str,
) -> None:  # fmt: skip
    database(
        "CREATE TABLE rows AS SELECT i AS id, now() - interval '1 hour' AS ts, 1 AS x FROM generate_series(1, 3) i"
    )
    materialize(make_view(layout=before), offline, online)
    online.delete(make_view(layout=before), [{"id": 2}])
    view = make_view(layout=after)
    result = materialize(view, offline, online)
    assert (result.rows_written, result.rows_stale) == (2, 1)
    statuses = [row.status for row in online.get_online_features(view, [{"id": i} for i in (1, 2, 3)])]
    assert statuses == ["present", "not_found", "present"]
    rows = [fields for fields in content(ours).values() if b"_ts" in fields or b"_ts:view" in fields]
    assert len(rows) == 2


def test_a_view_with_deleted_rows_leaves_a_tombstone_in_feasts_hash(
    database: Database, make_feast: MakeFeast, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows (id text, ts timestamptz, gone bool, x int)")
    database("INSERT INTO rows VALUES ('a', %s, false, 1)", at(1))
    view = make_view(source={"deleted_field": "gone"}, features=["x"])
    materialize(view, offline, online)
    database("INSERT INTO rows VALUES ('a', %s, true, 1)", at(2))
    assert materialize(view, offline, online, full=True).rows_deleted == 1
    feast = make_feast(OURS)
    feast.views = [feast_view(view, {"id": "STRING"}, {"x": "Int32"})]
    answer = feast("read", features=[f"{view.name}:x"], entity_rows=[{"id": "a"}, {"id": "never there"}])
    assert answer["values"]["x"] == [None, None]
    assert len(set(answer["statuses"]["x"])) == 1
    database("UPDATE rows SET gone = false WHERE ts = %s", at(1))
    assert materialize(view, offline, online, start=at(0), end=at(1, 30)).rows_stale == 1
    database("INSERT INTO rows VALUES ('a', %s, false, 5)", at(3))
    materialize(view, offline, online, full=True)
    assert online.get_online_features(view, [{"id": "a"}])[0].values == {"x": 5}


def test_a_client_that_decodes_replies_is_refused(make_view: MakeView, redis_url: str) -> None:
    store = OnlineStore(redis.Redis.from_url(redis_url, decode_responses=True))
    with pytest.raises(FeatureViewError, match="keys and values of layout 'feast' are bytes.*decode_responses=False"):
        store.get_online_features(make_view(), [{"id": "a"}])


def test_a_damaged_value_is_named(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, ours: redis.Redis
) -> None:
    from online_features.layouts.feast import feast_format

    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    view = make_view()
    materialize(view, offline, online)
    (key,) = content(ours)
    for damaged in (b"\x18", b"\xf8\x07\x01", b"nonsense", b"\x18\x01\x18\x01", b"\x0a\x05a"):
        ours.hset(key, feast_format.feature_field(view.name, "x"), damaged)
        (row,) = online.get_online_features(view, [{"id": "a"}])
        assert re.search(r"the row of \{'id': 'a'\} is damaged.*: feature 'x' holds", row.reason)
    for damaged in (b"\xff", b"\x08", b"junk"):
        ours.hset(key, feast_format.timestamp_field(view.name), damaged)
        assert online.get_online_features(view, [{"id": "a"}])[0].status == "unreadable"
        assert materialize(view, offline, online, full=True, prune=True).rows_written == 1
        assert online.get_online_features(view, [{"id": "a"}])[0].values == {"x": 1}
    ours.hset(key, feast_format.timestamp_field(view.name), b"\x08")
    assert online.delete(view, [{"id": "a"}]) == 1


def test_feast_itself_cannot_take_a_null_inside_a_list_of_integers(
    database: Database, feast: Feast, make_view: MakeView
) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, %s::timestamptz AS ts, ARRAY[1, NULL] AS x", at(1))
    feast.views = [feast_view(make_view(), {"id": "STRING"}, {"x": "Array(Int32)"})]
    with pytest.raises(FeastError, match="TypeError"):
        feast("materialize", **ALL_TIME)
