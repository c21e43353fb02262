from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import InvalidRowsError

from tests.conftest import at
from tests.support.online import row_key
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]

EVERY = {
    "flag": True,
    "small": -3,
    "big": 2**62,
    "single": 0.1,
    "ratio": 1e-7,
    "exact": Decimal("1.50"),
    "words": "é:\n",
    "day": date(2026, 1, 1),
    "local": datetime(2026, 1, 1, 5),
    "instant": at(3),
    "clock": time(12, 0, 0, 500000),
    "zoned": time(12, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "took": timedelta(days=-1, seconds=1, microseconds=5),
    "raw": b"\x00\xff",
    "tree": {"a": [1, None, "é"]},
    "many": [1, None, 3],
    "moments": [at(1)],
    "which": uuid.UUID(int=7),
}


def test_a_pushed_row_is_byte_for_byte_what_a_materialization_of_it_writes(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    database(
        "CREATE TABLE rows (id text, ts timestamptz, flag bool, small smallint, big bigint, single real, "
        "ratio double precision, exact numeric, words text, day date, local timestamp, instant timestamptz, "
        "clock time, zoned timetz, took interval, raw bytea, which uuid)"
    )
    simple = {name: value for name, value in EVERY.items() if name not in ("tree", "many", "moments")}
    names = ", ".join(["id", "ts", *simple])
    row = {"id": "a", "ts": at(1), **simple}
    database(
        f"INSERT INTO rows ({names}) VALUES ({', '.join(['%s'] * len(row))})",
        *(str(value) if isinstance(value, uuid.UUID) else value for value in row.values()),
    )
    database("INSERT INTO rows (id, ts) VALUES ('nothing', %s)", at(1))
    read, pushed = make_view(name="read"), make_view(name="pushed")
    materialize(read, offline, online)
    database("DELETE FROM rows")
    materialize(pushed, offline, online)
    online.push(pushed, [row, {"id": "nothing", "ts": at(1), **dict.fromkeys(simple)}])
    for name in ("a", "nothing"):
        theirs, ours = (client.hgetall(row_key(client, view, [name])) for view in (read, pushed))
        assert ours == {**theirs, "_pushed": "1"}


def test_types_are_told_from_the_values_before_anything_is_known(make_view: MakeView, online: OnlineStore) -> None:
    view = make_view()
    online.push(view, [{"id": 7, "ts": at(1), **EVERY}, {"id": 8, "ts": at(1), **dict.fromkeys(EVERY)}])
    first, second = online.get_online_features(view, [{"id": 7}, {"id": 8}])
    expected = {**EVERY, "which": str(EVERY["which"]), "moments": ["2026-01-01T01:00:00.000000Z"]}
    assert first.values == expected
    assert set(second.values.values()) == {None}


def test_a_materialization_after_the_first_push_reads_all_of_history(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, %s AS ts, 1::smallint AS x", at(1))
    view = make_view()
    online.push(view, [{"id": "a", "ts": at(2), "x": 5}])
    assert not online.freshness(view).is_materialized
    assert materialize(view, offline, online).rows_stale == 1
    assert online.get_online_features(view, [{"id": "a"}])[0].values == {"x": 5}


def test_the_same_entity_twice_in_a_push_ends_with_the_newer_row(make_view: MakeView, online: OnlineStore) -> None:
    view = make_view()
    result = online.push(view, [{"id": "a", "ts": at(2), "x": 2}, {"id": "a", "ts": at(1), "x": 1}])
    assert (result.rows_read, result.rows_written, result.rows_stale) == (2, 1, 1)
    assert result.max_event_timestamp == at(2)
    assert online.get_online_features(view, [{"id": "a"}])[0].values == {"x": 2}


def test_rows_without_entity_or_instant_are_rejected_and_shown_without_their_features(
    make_view: MakeView, online: OnlineStore, caplog: pytest.LogCaptureFixture
) -> None:
    view = make_view()
    rows = [
        {"id": None, "ts": at(1), "x": "secret"},
        {"id": "b", "ts": None, "x": "secret"},
        {"ts": at(1), "x": "secret"},
    ]
    with caplog.at_level(logging.WARNING):
        result = online.push(view, [*rows, {"id": "a", "ts": at(1), "x": "y"}])
    assert (result.rows_read, result.rows_written, result.rows_rejected) == (4, 1, 3)
    assert "id='b', ts=None" in caplog.text
    assert "secret" not in caplog.text


def test_rows_may_come_from_a_generator(make_view: MakeView, online: OnlineStore) -> None:
    rows: Any = ({"id": name, "ts": at(1), "x": 1} for name in "abc")
    assert online.push(make_view(), rows).rows_written == 3


@pytest.mark.parametrize("value", ["a\0b", 7])
def test_join_keys_that_postgres_could_not_hold_are_refused(
    make_view: MakeView, online: OnlineStore, value: Any
) -> None:
    view = make_view()
    online.push(view, [{"id": "a", "ts": at(1), "x": 1}])
    with pytest.raises(InvalidRowsError, match="column 'id'"):
        online.push(view, [{"id": value, "ts": at(1), "x": 1}])


def test_a_column_that_begins_with_nulls_finds_its_type_later(make_view: MakeView, online: OnlineStore) -> None:
    view = make_view()
    for x in (None, None, 2):
        online.push(view, [{"id": "a", "ts": at(1), "x": x}])
        assert online.get_online_features(view, [{"id": "a"}])[0].values == {"x": x}
    with pytest.raises(InvalidRowsError, match="'x': 'two' is not of type bigint"):
        online.push(view, [{"id": "a", "ts": at(1), "x": "two"}])


def test_an_empty_push_does_nothing(make_view: MakeView, online: OnlineStore, client: redis.Redis) -> None:
    view = make_view()
    assert online.push(view, []).rows_read == 0
    assert list(client.scan_iter(f"*{view.project}*")) == []


@pytest.mark.parametrize(
    "rows, message",
    [
        ([{"id": "a", "x": 1}], "lack column 'ts'"),
        ([{"ts": at(1), "x": 1}], "lack column 'id'"),
        ([{"id": "a", "ts": at(1)}], "lack column 'x'; a row replaces the whole row"),
        ([{"id": "a", "ts": at(1), "x": 1, "z": 1}], "have column 'z', which the view does not have"),
        ([{"id": "a", "ts": datetime(2026, 1, 1), "x": 1}], "'ts': 2026-01-01T00:00:00 has no time zone"),
        ([{"id": "a", "ts": "2026-01-01", "x": 1}], "column 'ts': '2026-01-01' is not of type timestamp"),
        ([{"id": 1, "ts": at(1), "x": 1}], "column 'id': 1 is not of type text"),
        ([{"id": "a", "ts": at(1), "x": 1.5}], "column 'x': 1.5 is not of type integer"),
        ([{"id": "a", "ts": at(1), "x": "1"}], "column 'x': '1' is not of type integer"),
        ([{"id": "a", "ts": at(1), "x": True}], "column 'x': True is not of type integer"),
        ([{"id": "a", "ts": at(1), "x": 2**31}], "column 'x': 2147483648 is not of type integer"),
        (
            [{"id": "ok", "ts": at(1), "x": 1}, {"id": "a", "ts": at(1), "x": []}],
            r"column 'x': \[\] is not of type integer",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_column_and_nothing_is_written(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, rows: Any, message: str
) -> None:
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    view = make_view()
    materialize(view, offline, online)
    with pytest.raises(InvalidRowsError, match=message):
        online.push(view, rows)
    assert online.get_online_features(view, [{"id": "ok"}])[0].status == "not_found"


def test_uuids_are_one_entity_however_they_are_written(make_view: MakeView, online: OnlineStore) -> None:
    view = make_view()
    which = uuid.uuid4()
    online.push(view, [{"id": which, "ts": at(1), "x": 1}])
    for written in (which, str(which), str(which).upper(), which.urn):
        assert online.get_online_features(view, [{"id": written}])[0].status == "present"


def test_rows_at_the_end_of_time_can_be_read(make_view: MakeView, online: OnlineStore) -> None:
    view = make_view(ttl=timedelta(days=7))
    online.push(view, [{"id": "a", "ts": datetime(9999, 12, 31, tzinfo=UTC), "x": 1}])
    assert online.get_online_features(view, [{"id": "a"}])[0].status == "present"


def test_naive_times_are_read_in_the_sources_zone_where_its_column_has_none(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows (id text, ts timestamp, x int)")
    view = make_view(source={"timezone": "Europe/Berlin"})
    materialize(view, offline, online)
    online.push(view, [{"id": "a", "ts": datetime(2026, 1, 1, 1), "x": 1}])
    assert online.get_online_features(view, [{"id": "a"}])[0].event_timestamp == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_first_push_of_nothing_but_rejected_rows_says_nothing_of_the_entities(
    database: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    view = make_view(features=["x"])
    assert online.push(view, [{"id": None, "ts": at(1), "x": 1}]).rows_rejected == 1
    materialize(view, offline, online, start=at(0), end=at(2))
    assert online.runs(view)[0]["kind"] == "window"
