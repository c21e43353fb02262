"""Windows and timestamps mean instants, whatever zone a column, session or server is in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.types.arrow.instants import as_postgres_reads

from tests.conftest import at
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]
BERLIN = {"timezone": "Europe/Berlin"}

# The night in which clocks go forward, and the one in which they go back, every quarter of an hour of local time.
SPRING = [datetime(2026, 3, 29, 1) + i * timedelta(minutes=15) for i in range(13)]
AUTUMN = [datetime(2026, 10, 25, 1) + i * timedelta(minutes=15) for i in range(13)]


@pytest.fixture
def naive(database: Database) -> Database:
    database("CREATE TABLE rows (id text, ts timestamp, x int)")
    database("ALTER DATABASE " + database.uri.rpartition("/")[2] + " SET TimeZone = 'Asia/Kathmandu'")
    return database


def instant_in_postgres(database: Database, naive: datetime, zone: str) -> datetime:
    ((instant,),) = database("SELECT %s AT TIME ZONE %s", naive, zone)
    return instant


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"])
def test_a_pushed_naive_time_is_the_instant_that_postgres_reads(database: Database, zone: str) -> None:
    all_year = [datetime(2026, 1, 1, 0, 7) + i * timedelta(hours=5, minutes=31) for i in range(1600)]
    for naive, instant in database(
        "SELECT t, t AT TIME ZONE %s FROM unnest(%s) AS t", zone, SPRING + AUTUMN + all_year
    ):
        assert as_postgres_reads(naive, ZoneInfo(zone)) == instant


@pytest.mark.parametrize("night", [SPRING, AUTUMN])
def test_windows_through_a_change_of_clocks_miss_and_repeat_nothing(
    naive: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, night: list[datetime]
) -> None:
    for i, ts in enumerate(night):
        naive("INSERT INTO rows VALUES (%s, %s, %s)", f"e{i}", ts, i)
    view = make_view(source=BERLIN)
    start = night[0].replace(tzinfo=ZoneInfo("UTC")) - timedelta(hours=3)
    written = 0
    for i in range(36):
        begin = start + i * timedelta(minutes=15)
        written += materialize(view, offline, online, start=begin, end=begin + timedelta(minutes=15)).rows_written
    assert written == len(night)
    rows = online.get_online_features(view, [{"id": f"e{i}"} for i in range(len(night))])
    assert [row.event_timestamp for row in rows] == [instant_in_postgres(naive, ts, "Europe/Berlin") for ts in night]


def test_the_newest_is_the_latest_instant_even_where_local_times_skip(
    naive: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    # 02:30 does not exist and means 03:30 summer time, which is later than 03:10 summer time.
    naive("INSERT INTO rows VALUES ('a', '2026-03-29 02:30', 1), ('a', '2026-03-29 03:10', 2)")
    view = make_view(source=BERLIN)
    materialize(view, offline, online)
    (row,) = online.get_online_features(view, [{"id": "a"}])
    assert row.values == {"x": 1}


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz", "date"])
def test_a_window_is_half_open_in_every_type(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, kind: str
) -> None:
    database(f"CREATE TABLE rows (id text, ts {kind}, x int)")
    for day in (1, 2, 3):
        database("INSERT INTO rows VALUES (%s, %s, 1)", f"day{day}", f"2026-01-0{day} 00:00:00+00")
    view = make_view()
    assert materialize(view, offline, online, start=at(0, day=1), end=at(0, day=3)).rows_written == 2
    statuses = [row.status for row in online.get_online_features(view, [{"id": f"day{day}"} for day in (1, 2, 3)])]
    assert statuses == ["present", "present", "not_found"]


def test_an_odd_zone_of_session_or_server_changes_nothing(
    naive: Database, make_view: MakeView, online: OnlineStore
) -> None:
    naive("ALTER TABLE rows ADD seen timestamptz, ADD local timestamp, ADD many timestamptz[], ADD took interval")
    naive("ALTER TABLE rows ADD day date, ADD span tstzrange, ADD raw bytea[], ADD caesar timestamptz")
    naive(
        "INSERT INTO rows VALUES ('a', '2026-01-01 01:00', 1, '2026-01-01 00:00Z', '2026-01-01 05:00', "
        "'{\"2026-01-01 00:00Z\"}', '1 day', '2026-02-01', '[2026-01-01 00:00Z,)', "
        "ARRAY['\\x00ff'::bytea], '0044-03-15 00:00Z BC')"
    )
    settings = "-c TimeZone=America/Caracas -c DateStyle=SQL,DMY -c IntervalStyle=sql_standard -c bytea_output=escape"
    odd = OfflineStore(f"{naive.uri}?options={settings.replace(' ', '%20').replace('=', '%3D')}")
    view = make_view(source=BERLIN)
    materialize(view, odd, online)
    (row,) = online.get_online_features(view, [{"id": "a"}])
    assert row.event_timestamp == at(0)
    assert row.values == {
        "x": 1, "seen": at(0), "local": datetime(2026, 1, 1, 5), "many": [at(0)], "took": timedelta(days=1),
        "day": date(2026, 2, 1), "span": '["2026-01-01 00:00:00+00",)', "raw": [b"\x00\xff"],
        "caesar": "0044-03-15 00:00:00+00 BC",
    }  # fmt: skip
