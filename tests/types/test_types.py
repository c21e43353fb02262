"""Every type that Postgres offers: decided by name, carried without loss, and given back as psycopg2 gives it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import InvalidRowsError, UnsupportedTypeError
from online_features.types.registry import CODECS, REFUSED, PostgresType

from tests.conftest import at
from tests.support.layouts import LAYOUTS_OF_EVERY_TYPE
from tests.support.online import names_online
from tests.support.postgres_values import NOT_EVERYWHERE, SAME, VALUES
from tests.support.servers.databases import Database

pytestmark = pytest.mark.layouts(*LAYOUTS_OF_EVERY_TYPE)

MakeView = Callable[..., FeatureView]


def given_by_psycopg2(database: Database, column: str) -> Any:
    with closing(psycopg2.connect(database.uri)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM rows WHERE id = 'a'")
        return cursor.fetchone()[0]  # type: ignore[index]


def test_every_value_comes_back(
    typed: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    columns = [f"f{i}" for i in range(len(VALUES))]
    declared = ", ".join(f"{column} {kind}" for column, (kind, _, _) in zip(columns, VALUES, strict=True))
    typed(f"CREATE TABLE rows (id text, ts timestamptz, {declared})")
    marks = ", ".join(["%s"] * len(VALUES))
    typed(f"INSERT INTO rows VALUES ('a', %s, {marks})", at(1), *(text for _, text, _ in VALUES))
    typed("INSERT INTO rows (id, ts) VALUES ('null', %s)", at(1))
    view = make_view()
    assert materialize(view, offline, online).rows_written == 2
    row, nothing = online.get_online_features(view, [{"id": "a"}, {"id": "null"}])
    assert set(nothing.values.values()) == {None}
    for column, (kind, text, expected) in zip(columns, VALUES, strict=True):
        wanted = given_by_psycopg2(typed, column) if expected is SAME else expected
        found = row.values[column]
        assert repr(found) == repr(wanted), (kind, text[:50])


def test_xml_comes_back_where_the_server_is_built_with_it(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    try:
        database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, xmlparse(content '<a>é</a>') AS x")
    except psycopg2.errors.FeatureNotSupported as error:
        assert "libxml" in str(error)
        return
    view = make_view()
    materialize(view, offline, online)
    assert online.get_online_features(view, [{"id": "a"}])[0].values == {"x": "<a>é</a>"}


def test_every_type_of_the_catalog_is_decided(database: Database) -> None:
    catalog = database(
        "SELECT format_type(oid, NULL), typtype::text, typcategory = 'A' AND typelem <> 0 FROM pg_type "
        "WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype <> 'p'"
    )
    base = {name for name, typtype, is_array in catalog if not is_array and typtype != "c"}
    assert base - {*CODECS, *REFUSED} == set()
    assert {*CODECS, *REFUSED} - {name for name, *_ in catalog} == set()
    assert CODECS.keys() & REFUSED == set()
    assert len(catalog) > 150


def test_every_type_that_goes_online_has_a_value_in_these_tests() -> None:
    tested = {kind.partition("(")[0] for kind, _, _ in VALUES} | NOT_EVERYWHERE
    assert CODECS.keys() - tested == set()


def test_types_of_users_and_extensions_go_online_as_text_and_those_of_postgres_alone_do_not() -> None:
    assert PostgresType("geometry", "b", is_array=False, is_built_in=False).encoding == "text"
    assert PostgresType("brand_new", "b", is_array=False, is_built_in=True).encoding is None
    assert PostgresType("record", "p", is_array=False, is_built_in=True).encoding is None


KEYS: list[tuple[str, str, Any]] = [
    ("boolean", "t", True),
    ("smallint", "-1", -1),
    ("bigint", "9223372036854775807", 9223372036854775807),
    ("oid", "4294967295", 4294967295),
    ("numeric", "1.500", Decimal("1.5")),
    ("numeric", "100", 100),
    ("numeric", "1e30", Decimal("1E+30")),
    ("numeric", "NaN", Decimal("NaN")),
    ("text", "a:b{c}%d\n🛩" + "x" * 1024, "a:b{c}%d\n🛩" + "x" * 1024),
    ("text", "", ""),
    ("character varying", "é ", "é "),
    ("character(5)", "ab", "ab"),
    ("character(5)", "ab", "ab   "),
    ("name", "n", "n"),
    ('"char"', "c", "c"),
    ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("bytea", "\\x00ff3a", b"\x00\xff\x3a"),
    ("date", "2026-01-01", at(0).date()),
    ("timestamp without time zone", "2026-01-01 00:00:00.5", datetime(2026, 1, 1, 0, 0, 0, 500000)),
    ("timestamp with time zone", "2026-01-01 02:00+02", at(0)),
    ("inet", "10.0.0.1", "10.0.0.1"),
    ("cidr", "10.0.0.0/8", "10.0.0.0/8"),
    ("macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:03"),
    ("macaddr8", "08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03:04:05"),
    ("bit(3)", "101", "101"),
    ("bit varying", "10101", "10101"),
    ("mood", "so so", "so so"),
]


@pytest.mark.parametrize("kind, text, value", KEYS)
def test_join_keys_of_every_type_are_found_by_their_value_and_survive_pruning(
    typed: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, kind: str, text: str, value: Any
) -> None:
    typed(f"CREATE TABLE rows (id {kind}, also int, ts timestamptz, x int)")
    typed("INSERT INTO rows VALUES (%s, 7, %s, 1)", text, at(1))
    view = make_view(entities=["also", "id"])
    result = materialize(view, offline, online, full=True, in_place=True, prune=True)
    assert (result.rows_written, result.entities_pruned) == (1, 0)
    (row,) = online.get_online_features(view, [{"id": value, "also": 7}])
    assert (row.status, row.values) == ("present", {"x": 1})
    typed("DELETE FROM rows")
    assert materialize(view, offline, online, full=True, in_place=True, prune=True).entities_pruned == 1


def test_every_type_of_join_keys_has_a_value_in_these_tests() -> None:
    assert {kind.partition("(")[0] for kind, _, _ in KEYS} >= {
        name for name, codec in CODECS.items() if codec.can_be_key
    } - {"integer"}


@pytest.mark.parametrize("kind", ["double precision", "jsonb", "interval", "integer[]", "numrange", "point", "address"])
def test_types_of_which_equal_values_differ_in_print_are_refused_as_join_keys(
    typed: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, kind: str
) -> None:
    typed(f"CREATE TABLE rows (id {kind}, ts timestamptz, x int)")
    with pytest.raises(UnsupportedTypeError, match=r"join key 'id' has type .* convert it to text or numeric"):
        materialize(make_view(), offline, online)


def test_equal_join_keys_that_print_differently_are_one_entity(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT 1.0::numeric AS id, %s AS ts, 1 AS x", at(1))
    database("INSERT INTO rows VALUES (1.00, %s, 2)", at(2))
    view = make_view()
    assert materialize(view, offline, online).rows_written == 1
    (row,) = online.get_online_features(view, [{"id": Decimal("1.000")}])
    assert row.values == {"x": 2}


@pytest.mark.parametrize(
    "kind, texts",
    [
        ("inet", ["10.0.0.1", "10.0.0.1/32"]),
        ("inet", ["10.0.0.1/8"]),
        ("inet", ["2001:DB8::0:1", "2001:db8:0:0:0:0:0:1/128"]),
        ("inet", ["::ffff:10.0.0.1", "::FFFF:a00:1"]),
        ("inet", ["::10.0.0.1", "::a00:1"]),
        ("inet", ["::5"]),
        ("inet", ["::1"]),
        ("inet", ["::"]),
        ("inet", ["1:0:0:2::", "1::2:0:0:0:0"]),
        ("inet", ["1:0:2:3:4:5:6:7"]),
        ("cidr", ["10.0.0.1", "10.0.0.1/32"]),
        ("cidr", ["2001:DB8::/32", "2001:db8:0::/32"]),
        ("cidr", ["::/0"]),
        ("cidr", ["::ffff:0:0/96", "::ffff:0.0.0.0/96"]),
        ("macaddr", ["08:00:2b:01:02:03", "08-00-2B-01-02-03", "08002b:010203", "0800.2b01.0203", "08002b010203"]),
        ("macaddr8", ["08:00:2b:01:02:03:04:05", "08002B01:02030405"]),
        ("macaddr8", ["08:00:2b:ff:fe:01:02:03", "08-00-2b-01-02-03"]),
    ],
)
def test_equal_join_keys_and_features_are_one_however_they_are_written(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, kind: str, texts: list[str]
) -> None:
    database(f"CREATE TABLE rows (id {kind}, ts timestamptz, x {kind}, many {kind}[])")
    for text in texts:
        database(f"INSERT INTO rows VALUES (%s, %s, %s, array[%s]::text[]::{kind}[])", text, at(1), text, text)
    view = make_view()
    assert materialize(view, offline, online).rows_written == 1
    (run,) = online.get_online_features(view, [{"id": texts[0]}])
    for hour, (text, form) in enumerate(product(texts, (pa.Table.from_pylist, list)), 2):
        online.push(view, form([{"id": text, "ts": at(hour), "x": text, "many": [text]}]))
        (read,) = online.get_online_features(view, [{"id": text}])
        assert (read.event_timestamp, read.values) == (at(hour), run.values)
        assert len(names_online(online, view)) == 1
    assert online.delete(view, [{"id": texts[-1]}]) == 1
    assert online.get_online_features(view, [{"id": texts[0]}])[0].status == "not_found"


@pytest.mark.parametrize(
    "kind, text",
    [
        ("inet", "10.0.0.256"), ("inet", "fe80::1%eth0"), ("cidr", "10.0.0.1/8"), ("macaddr", "08:00:2b:01:02"),
        ("macaddr8", "08:00:2b:01:02:03:04"), ("inet", ""),
    ],
)  # fmt: skip
def test_addresses_that_postgres_does_not_read_are_refused(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, kind: str, text: str
) -> None:
    database(f"CREATE TABLE rows (id text, ts timestamptz, x {kind})")
    view = make_view()
    materialize(view, offline, online)
    with pytest.raises(InvalidRowsError, match=f"column 'x': '{text}' is not of type {kind}"):
        online.push(view, [{"id": "a", "ts": at(1), "x": text}])


@pytest.mark.parametrize(
    "kind, text, expected",
    [
        ("timestamp with time zone", "2026-01-01 02:00+02", at(0)),
        ("timestamp without time zone", "2026-01-01 01:00", at(0)),
        ("date", "2026-01-01", datetime(2025, 12, 31, 23, tzinfo=UTC)),
    ],
)
def test_event_timestamps_of_every_type(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, kind: str, text: str,
    expected: datetime,
) -> None:  # fmt: skip
    database(f"CREATE TABLE rows (id text, ts {kind}, x int)")
    database("INSERT INTO rows VALUES ('a', %s, 1)", text)
    view = make_view(source={"timezone": "Europe/Berlin"})
    materialize(view, offline, online)
    (row,) = online.get_online_features(view, [{"id": "a"}])
    assert row.event_timestamp == expected
