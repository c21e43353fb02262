"""Runs that break off in the middle: the error says why, and nothing is left behind."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import OfflineAccessError, OfflineStoreUnavailableError, SourceError
from online_features.materialization.reporting.progress import Progress

from tests.conftest import at
from tests.support.processes import until
from tests.support.scene import OUR_SESSIONS
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]

OUR_QUERIES = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' "
    "AND pid <> pg_backend_pid()"
)

MANY = "SELECT i AS id, timestamptz '2026-01-01' AS ts, repeat('x', 1000) AS x FROM generate_series(1, 20000) AS i"


def test_a_query_that_fails_at_a_late_row_is_at_fault(
    make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    query = f"SELECT id, ts, x, 1 / (id - 20000) AS y FROM ({MANY}) AS many"
    with pytest.raises(SourceError, match="division by zero -> "):
        materialize(make_view(source={"query": query}), offline, online)


RAISED_LATE = """
    CREATE FUNCTION check_of(id int) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN
        IF id = 19999 THEN RAISE '{said}' USING ERRCODE = '{sqlstate}'; END IF;
        RETURN id;
    END $$
"""


@pytest.mark.parametrize("sqlstate, said, expected", [
    ("P0001", "canceling statement due to conflict with recovery", SourceError),
    ("40001", "kann Zugriff nicht serialisieren wegen gleichzeitiger Aktualisierung", OfflineStoreUnavailableError),
    ("42501", "keine Berechtigung", OfflineAccessError),
])  # fmt: skip
def test_what_is_at_fault_at_a_late_row_is_told_by_the_sqlstate_in_any_language(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    sqlstate: str, said: str, expected: type[Exception],
) -> None:  # fmt: skip
    database(RAISED_LATE.format(said=said, sqlstate=sqlstate))
    query = f"SELECT check_of(id) AS id, ts, x FROM ({MANY}) AS many"
    with pytest.raises(expected, match=f": {said} -> "):
        materialize(make_view(source={"query": query}), offline, online, retry_for=timedelta(0))


def test_a_session_ended_by_the_server_is_worth_a_retry(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    def terminate(progress: Progress) -> None:
        if progress.rows > 10:
            return
        name = "application_name LIKE 'online_features%'"
        database(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {name}")

    with pytest.raises(OfflineStoreUnavailableError):
        materialize(
            make_view(source={"query": MANY}), offline, online,
            batch_rows=10, on_progress=terminate, retry_for=timedelta(0),
        )  # fmt: skip


@pytest.mark.parametrize(
    "query",
    [
        "SELECT (SELECT 1 FROM generate_series(1, 2)) AS id, now() AS ts",
        "WITH d AS (DELETE FROM rows RETURNING id) SELECT id, now() AS ts FROM d",
    ],
)
def test_queries_that_cannot_work_are_at_fault(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, query: str
) -> None:
    database("CREATE TABLE rows (id int)")
    with pytest.raises(SourceError):
        materialize(make_view(source={"query": query}), offline, online)


def test_a_failure_leaves_no_thread_and_no_session(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    before = set(threading.enumerate())

    def fail(_: Progress) -> None:
        raise LookupError("the caller's")

    with pytest.raises(LookupError, match="the caller's") as caught:
        materialize(make_view(source={"query": MANY}), offline, online, batch_rows=100, on_progress=fail)
    assert caught.tb is not None
    assert set(threading.enumerate()) <= before
    until(lambda: database(OUR_SESSIONS) == [(0,)])


INSIDE = "timestamptz '2026-01-01 00:30Z'"
SLOW = {  # five minutes: nobody waits for their end
    "to give rows": f"SELECT i AS id, {INSIDE} AS ts, pg_sleep(0.5)::text AS x FROM generate_series(1, 600) AS i",
    "to find rejected rows": f"SELECT NULL AS id, {INSIDE} AS ts WHERE pg_sleep(300) IS NOT NULL",
    "to say what is before the window": "SELECT 1 AS id, date '2000-01-01' AS ts WHERE pg_sleep(300) IS NOT NULL",
}
ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"


@pytest.mark.parametrize("query", SLOW.values(), ids=SLOW)
def test_a_time_out_ends_the_query(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, query: str
) -> None:
    rang: list[float] = []

    def ring(*_: Any) -> None:
        rang.append(time.monotonic())
        raise TimeoutError

    def time_out() -> None:
        until(lambda: database(ASLEEP) == [(1,)])
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    previous = signal.signal(signal.SIGALRM, ring)
    alarm = threading.Thread(target=time_out)
    alarm.start()
    try:
        with pytest.raises(TimeoutError):
            materialize(make_view(source={"query": query}), offline, online, start=at(0), end=at(1))
    finally:
        alarm.join()
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - rang[0] < 2
    until(lambda: database(OUR_QUERIES) == [(0,)])


def materialize_alone(view: FeatureView, uri: str, redis_url: str) -> None:
    materialize(view, OfflineStore(uri), OnlineStore.from_url(redis_url))


def test_a_process_that_is_killed_leaves_no_query(
    database: Database, make_view: MakeView, redis_url: str, online: OnlineStore
) -> None:
    view = make_view(source={"query": SLOW["to find rejected rows"]})
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=materialize_alone, args=(view, database.uri, redis_url))
    process.start()
    until(lambda: database(OUR_QUERIES) == [(1,)])
    process.kill()
    until(lambda: database(OUR_QUERIES) == [(0,)])
    process.join()
    assert not online.freshness(view).is_materialized


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql+psycopg2://u:canary@h/db",
        "postgresql://u:canary%zz@h/db",
        "postgresql://u:canary/x@h/db",
        "host=h password='canary",
    ],
)
def test_a_uri_that_libpq_does_not_read_is_refused_without_repeating_it(uri: str) -> None:
    with pytest.raises(OfflineAccessError, match="percent-encoded") as caught:
        OfflineStore(uri)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
