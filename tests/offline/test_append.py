"""Pushes that also go to the offline store, so that the next run agrees with them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pandas as pd
import psycopg2.errors
import pyarrow as pa
import pytest
import redis
import sqlalchemy as sa
from online_features import FeastOptions, FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import InvalidRowsError, OfflineAccessError, OnlineStoreUnavailableError, SourceError
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from tests.conftest import at
from tests.support.layouts import LAYOUTS_OF_EVERY_TYPE
from tests.support.online import held, held_as_pushed
from tests.support.postgres_values import VALUES
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.oldest, pytest.mark.layouts]

MakeView = Callable[..., FeatureView]


@pytest.fixture
def table(database: Database) -> Database:
    database("CREATE TABLE rows (id text, ts timestamptz, x int, note text DEFAULT 'by default')")
    return database


@pytest.fixture
def view(table: Database, make_view: MakeView) -> FeatureView:
    return make_view(features=["x"])


def row(name: str, hour: int, x: Any) -> dict[str, Any]:
    return {"id": name, "ts": at(hour), "x": x}


def test_rows_that_are_appended_go_online_with_the_next_run(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    rows = pd.DataFrame([row("a", 1, 1), row("b", 2, None), row("c", 3, 3)])
    rows.loc[2, "id"] = None
    with caplog.at_level(logging.WARNING):
        result = offline.append(view, rows)
    assert (result.rows_read, result.rows_appended, result.rows_rejected) == (3, 2, 1)
    assert "id=nan" in caplog.text or "id=None" in caplog.text
    assert table("SELECT * FROM rows ORDER BY id") == [
        ("a", at(1), 1, "by default"), ("b", at(2), None, "by default")
    ]  # fmt: skip
    assert online.get_online_features(view, [{"id": "a"}])[0].status == "not_found"
    assert materialize(view, offline, online).rows_written == 2


def test_rows_that_are_appended_and_pushed_are_what_the_next_run_writes(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    generator = (row(name, 1, x) for name, x in (("a", 1), ("b", None)))
    result = online.push(view, generator, offline=offline)
    assert (result.rows_read, result.rows_written, result.rows_appended) == (2, 2, 2)
    pushed = [held_as_pushed(online, view, name) for name in "ab"]
    assert materialize(view, offline, online).rows_written == 2
    assert [held(online, view, name) for name in "ab"] == pushed


@pytest.mark.layouts(*LAYOUTS_OF_EVERY_TYPE)
def test_what_was_pushed_and_appended_is_byte_for_byte_what_a_run_reads_whatever_the_types(
    typed: Database,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    client: redis.Redis,
) -> None:
    values = [value for value in VALUES if not re.search("BC|1[02]000-", value[1]) and len(value[1]) < 1000]
    columns = [f"Value {i}" for i in range(len(values))]
    declared = ", ".join(f'"{column}" {kind}' for column, (kind, _, _) in zip(columns, values, strict=True))
    typed(f"CREATE TABLE rows (id text, ts timestamptz, {declared})")
    texts = [text for _, text, _ in values]
    typed(f"INSERT INTO rows VALUES ('a', %s, {', '.join(['%s'] * len(values))})", at(1), *texts)
    view = make_view()
    materialize(view, offline, online)
    (read,) = online.get_online_features(view, [{"id": "a"}])
    nothing = {"id": "c", "ts": at(1), **dict.fromkeys(columns)}
    online.push(view, [{"id": "b", "ts": at(1), **read.values}, nothing], offline=offline)
    pushed = [held_as_pushed(online, view, name) for name in "bc"]
    assert materialize(view, offline, online, full=True).rows_written == 3
    assert [held(online, view, name) for name in "bc"] == pushed


def test_tables_and_columns_of_hostile_names(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    names = ['a"b', "a b%s", "é:{}%", "\n", "$1", "'; DROP TABLE x", "c0", "populated"]
    columns = ", ".join('"{}" int[]'.format(name.replace('"', '""')) for name in names)
    database(f'CREATE SCHEMA "Odd 1"; CREATE TABLE "Odd 1"."ta""ble.x %" (id text, "t:s" timestamptz, {columns})')
    view = make_view(source={"table": 'Odd 1.ta"ble.x %', "timestamp_field": "t:s"})
    row = {"id": "a", "t:s": at(1), **{name: [i, i + 1] for i, name in enumerate(names)}}
    assert online.push(view, pa.Table.from_pylist([row]), offline=offline).rows_appended == 1
    materialize(view, offline, online)
    (read,) = online.get_online_features(view, [{"id": "a"}])
    assert read.values == {name: [i, i + 1] for i, name in enumerate(names)}


def test_rows_wait_in_a_table_that_hides_none_of_the_users(
    database: Database, make_view: MakeView, offline: OfflineStore
) -> None:
    view = make_view(source={"table": "online_features_staged"})
    database("CREATE TABLE online_features_staged (id text, ts timestamptz, x int)")
    assert offline.append(view, [row("a", 1, 1)]).rows_appended == 1
    assert database("SELECT count(*) FROM online_features_staged") == [(1,)]


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp"])
def test_join_keys_and_timestamps_may_be_features_too(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, kind: str
) -> None:
    database(f"CREATE TABLE rows (id text, ts {kind}, created {kind}, x int)")
    source = {"timezone": "Asia/Tokyo", "created_timestamp_column": "created"}
    view = make_view(source=source, features=["created", "ts", "id", "x"])
    given = {"created": at(2), "ts": at(1)} if kind == "timestamptz" else {
        "created": datetime(2026, 1, 1, 11), "ts": datetime(2026, 1, 1, 10)
    }  # fmt: skip
    result = online.push(view, [{"id": "a", "x": 7, **given}], offline=offline)
    assert (result.rows_written, result.rows_appended) == (1, 1)
    pushed = held_as_pushed(online, view, "a")
    assert materialize(view, offline, online).rows_written == 1
    assert held(online, view, "a") == pushed
    (read,) = online.get_online_features(view, [{"id": "a"}])
    assert (read.event_timestamp, read.values) == (at(1), {**given, "id": "a", "x": 7})


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz", "date"])
def test_timestamps_and_deletions_agree_in_the_zone_of_the_source(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis, kind: str
) -> None:
    database(f"CREATE TABLE rows (id text, ts {kind}, created {kind}, gone bool, x int)")
    view = make_view(
        source={"timezone": "Europe/Berlin", "created_timestamp_column": "created", "deleted_field": "gone"}
    )
    midnight = datetime(2026, 5, 31, 22, tzinfo=UTC)  # in Berlin
    rows = [
        {"id": name, "ts": midnight, "created": midnight, "gone": gone, "x": 1}
        for name, gone in (("a", None), ("b", False), ("c", True))
    ]
    result = online.push(view, rows, offline=offline)
    assert (result.rows_written, result.rows_deleted, result.rows_appended) == (2, 1, 3)
    pushed = [held_as_pushed(online, view, name) for name in "abc"]
    assert materialize(view, offline, online).rows_written == 2
    assert [held(online, view, name) for name in "abc"] == pushed


@pytest.mark.parametrize("column", ["ts", "created"])
def test_an_instant_within_a_day_is_refused_where_the_source_holds_dates(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, column: str
) -> None:
    database("CREATE TABLE rows (id text, ts date, created date, x int)")
    view = make_view(source={"timezone": "Asia/Tokyo", "created_timestamp_column": "created"})
    materialize(view, offline, online)
    midnight = datetime(2026, 1, 1, 15, tzinfo=UTC)
    row = {"id": "a", "ts": midnight, "created": midnight, "x": 1}
    for form in (list, pa.Table.from_pylist):
        for instant in (midnight + timedelta(hours=6), datetime(2026, 1, 1, 6)):
            for options in ({}, {"offline": offline}):
                with pytest.raises(
                    InvalidRowsError, match=f"column '{column}': 2026-01-0.T06:00.* is not a date, .*Tokyo"
                ):
                    online.push(view, form([{**row, column: instant}]), **options)
        online.push(view, form([row]), offline=offline)
    database("UPDATE rows SET x = 2")
    materialize(view, offline, online, full=True)
    assert online.get_online_features(view, [{"id": "a"}])[0].values == {"x": 2}


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_a_created_timestamp_that_rows_lack_is_the_same_in_both_stores(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis, kind: str
) -> None:
    database(f"CREATE TABLE rows (id text, ts timestamptz, created {kind}, x int)")
    view = make_view(source={"created_timestamp_column": "created"})
    materialize(view, offline, online)
    ((before,),) = database(f"SET timezone = 'UTC'; SELECT now()::{kind}")
    online.push(view, [row("a", 1, 1)], offline=offline)
    pushed = held_as_pushed(online, view, "a")
    assert database(f"SET timezone = 'UTC'; SELECT created BETWEEN %s AND now()::{kind} FROM rows", before) == [(True,)]
    assert materialize(view, offline, online).rows_written == 1
    assert held(online, view, "a") == pushed


def test_a_failure_online_leaves_the_rows_in_the_table_and_a_retry_is_harmless(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, redis_url: str
) -> None:
    class Failing(redis.Connection):
        def send_packed_command(self, *arguments: Any, **options: Any) -> None:
            if table("SELECT 1 FROM rows"):
                raise redis.ConnectionError("cut")
            super().send_packed_command(*arguments, **options)

    failing = OnlineStore(redis.Redis(
        connection_pool=redis.ConnectionPool.from_url(redis_url, connection_class=Failing)
    ))  # fmt: skip
    with pytest.raises(OnlineStoreUnavailableError, match="cut"):
        failing.push(view, [row("a", 1, 1)], offline=offline, retry_for=timedelta(0))
    assert table("SELECT id, x FROM rows") == [("a", 1)]
    assert online.push(view, [row("a", 1, 1)], offline=offline).rows_written == 1
    assert materialize(view, offline, online).rows_written == 1
    assert online.get_online_features(view, [{"id": "a"}])[0].values == {"x": 1}


def test_a_retry_into_a_table_with_a_unique_constraint_appends_nothing_twice(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    table("ALTER TABLE rows ADD UNIQUE (id, ts)")
    for appended in (1, 0):
        result = online.push(view, [row("a", 1, 1)], offline=offline)
        assert (result.rows_written, result.rows_appended) == (1, appended)


def test_rows_that_do_not_fit_leave_both_stores_as_they_were(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("online_features.producers.appending.BATCH_ROWS", 2)
    with pytest.raises(InvalidRowsError, match="column 'x': 'no' is not of type integer"):
        online.push(view, [*(row("a", 1, i) for i in range(5)), row("b", 1, "no")], offline=offline)
    assert table("SELECT * FROM rows") == []
    assert online.get_online_features(view, [{"id": "a"}])[0].status == "not_found"


@pytest.mark.parametrize(
    "kind, declared, value",
    [
        ("bigint", "Float32", 2**24 + 1),
        ("bigint", "Float64", 2**53 + 1),
        ("bigint[]", "Array(Float64)", [2**53 + 1]),
        ("bigint[]", "Array(Float32)", [2**24 + 1]),
        ("double precision", "Float64", 2**53 + 1),
        ("real", "Float64", 2**24 + 1),
        ("double precision", "Float32", 0.1),
    ],
)
@pytest.mark.layouts("feast")
def test_a_push_rounds_to_floats_of_feast_as_a_run_does(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    kind: str, declared: str, value: Any,
) -> None:  # fmt: skip
    database(f"CREATE TABLE rows (id text, ts timestamptz, x {kind})")
    view = make_view(feast=FeastOptions(types={"x": declared}))
    assert online.push(view, [row("a", 1, value)], offline=offline).rows_written == 1
    pushed = held_as_pushed(online, view, "a")
    assert materialize(view, offline, online).rows_written == 1
    assert held(online, view, "a") == pushed


@pytest.mark.parametrize(
    "kind, declared, value, message",
    [
        ("bigint", "Int32", 2**40, "column 'x' holds a value that is not of Feast's type Int32"),
        ("int[]", "Array(Int32)", [1, None], "column 'x' holds arrays of integers with a NULL inside"),
    ],
)
@pytest.mark.layouts("feast")
def test_what_feast_cannot_hold_is_not_in_the_table_either(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    kind: str, declared: str, value: Any, message: str,
) -> None:  # fmt: skip
    database(f"CREATE TABLE rows (id text, ts timestamptz, x {kind})")
    view = make_view(feast=FeastOptions(types={"x": declared}))
    for put in (partial(online.push, offline=offline), offline.append):
        with pytest.raises(InvalidRowsError, match=f"feature view 'view': {message}"):
            put(view, [row("a", 1, value)])
    assert materialize(view, offline, online).rows_read == 0


def ask_redis(_: Database) -> None:
    with redis.Redis(port=1, retry=Retry(NoBackoff(), 0)) as client:
        client.ping()


def ask_by_sqlalchemy(database: Database) -> None:
    uri = make_url(database.uri).set(drivername="postgresql+psycopg2")
    with sa.create_engine(uri, poolclass=NullPool).connect() as connection:
        connection.execute(sa.text("SELECT * FROM theirs"))


@pytest.mark.parametrize(
    "ask, error",
    [
        (lambda database: database("SELECT * FROM theirs"), psycopg2.errors.UndefinedTable),
        (ask_by_sqlalchemy, sa.exc.ProgrammingError),
        (ask_redis, redis.ConnectionError),
    ],
)
def test_what_a_generator_of_rows_raises_is_not_blamed_on_our_stores(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, ask: Any, error: type[Exception]
) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield row("a", 1, 1)
        ask(table)

    for put in (online.push, partial(online.push, offline=offline), offline.append):
        with pytest.raises(error) as raised:
            put(view, rows())
        assert "raised by what gives the rows" in raised.value.__notes__[0]
    assert table("SELECT * FROM rows") == []


def test_many_batches_are_appended_in_one_transaction_and_then_pushed(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("online_features.producers.appending.BATCH_ROWS", 10)
    result = online.push(view, (row(f"e{i}", 1, i) for i in range(95)), offline=offline)
    assert (result.rows_read, result.rows_written, result.rows_appended) == (95, 95, 95)
    assert table("SELECT count(*), count(DISTINCT xmin::text) FROM rows") == [(95, 1)]


def test_rejected_rows_alone_are_appended_nowhere(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    for rows, rejected in (([row(None, 1, 1)], 1), ([], 0)):  # type: ignore[arg-type]
        result = online.push(view, rows, offline=offline)
        assert (result.rows_read, result.rows_rejected, result.rows_appended) == (rejected, rejected, 0)
    assert table("SELECT * FROM rows") == []


def test_what_cannot_be_appended_is_refused_with_the_cure(
    table: Database, make_view: MakeView, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    with pytest.raises(SourceError, match="push them online only, or read the view from a table="):
        offline.append(make_view(source={"query": "SELECT * FROM rows"}, features=["x"]), [row("a", 1, 1)])
    materialize(view, offline, online)
    table("ALTER TABLE rows ALTER x TYPE text")
    with pytest.raises(SourceError, match="'x' is text now, but integer in what is online -> materialize"):
        online.push(view, [row("a", 1, "1")], offline=offline)
    table("ALTER TABLE rows ADD CHECK (x <> 'bad')")
    with pytest.raises(SourceError, match="violates check constraint"):
        offline.append(view, [row("a", 1, "bad")])
    assert table("SELECT * FROM rows") == []


def test_a_role_that_may_only_read_is_told_what_to_grant(table: Database, view: FeatureView, postgres_uri: str) -> None:
    table("CREATE ROLE reader_of_rows LOGIN PASSWORD 'p'; GRANT SELECT ON rows TO reader_of_rows")
    try:
        store = OfflineStore(f"{table.uri}{'&' if '?' in table.uri else '?'}options=-crole%3Dreader_of_rows")
        with pytest.raises(OfflineAccessError, match="INSERT to append rows"):
            store.append(view, [row("a", 1, 1)])
    finally:
        table("DROP OWNED BY reader_of_rows; DROP ROLE reader_of_rows")
