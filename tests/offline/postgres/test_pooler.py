"""What other applications meet that share PgBouncer's sessions with ours: nothing of ours outlives its transaction."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import OfflineAccessError, OfflineStoreUnavailableError, SourceError
from online_features.offline.notifications import notification_sql
from online_features.window import Window
from online_features_provider.triggers.changes import FeatureViewChangeTrigger
from sqlalchemy.engine import make_url

from tests.conftest import at
from tests.offline.test_query_safety import BREAKOUTS, ROW, UNHARMED, VICTIM, WRITES
from tests.support.processes import until
from tests.support.servers.databases import Database, new_database
from tests.support.servers.pooler import pooler

pytestmark = pytest.mark.pooler

MakeView = Callable[..., FeatureView]

# All that a session may keep: settings, what it listens to, what it has prepared, its locks and its tables.
KEPT = """
    SELECT name, setting FROM pg_settings
    UNION ALL SELECT 'listens', channel FROM pg_listening_channels() AS channel
    UNION ALL SELECT 'prepared', name FROM pg_prepared_statements
    UNION ALL SELECT 'locks', classid || '/' || objid FROM pg_locks WHERE locktype = 'advisory'
    UNION ALL SELECT 'table', relname FROM pg_class WHERE relpersistence = 't'
    ORDER BY 1, 2
"""
ROWS = "SELECT i::text AS id, timestamptz '2026-01-01 00:30Z' AS ts, i AS x FROM generate_series(1, 20000) AS i"
ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
SLOW = f"SELECT *, pg_sleep(30)::text AS y FROM ({ROW}) AS row"

# Printing and limits that no other application expects of a role, and that ours must not take away from it.
ODD_ROLE = """
    ALTER ROLE CURRENT_USER IN DATABASE {database} SET DateStyle = 'SQL, DMY';
    ALTER ROLE CURRENT_USER IN DATABASE {database} SET TimeZone = 'Asia/Kolkata';
    ALTER ROLE CURRENT_USER IN DATABASE {database} SET bytea_output = 'escape';
    ALTER ROLE CURRENT_USER IN DATABASE {database} SET statement_timeout = '5min'
"""


class Other:
    """Another application, whose sessions are the pooler's; by a driver that sets nothing by itself.

    :param stays: whether it has a connection that it keeps, beside those that it opens and closes.
    """

    def __init__(self, uri: str, *, stays: bool) -> None:
        self.written = 0
        self._uri = uri
        self._stays = [psycopg.connect(uri, autocommit=True)] if stays else []

    def kept(self) -> list[list[Any]]:
        return self._each(KEPT)

    def backend(self) -> list[list[Any]]:
        return self._each("SELECT pg_backend_pid()")

    def write(self) -> None:
        self._each("INSERT INTO others VALUES (1) RETURNING x")

    def close(self) -> None:
        for connection in self._stays:
            connection.close()

    def _each(self, statement: LiteralString) -> list[list[Any]]:
        with psycopg.connect(self._uri, autocommit=True) as comes:
            return [connection.execute(statement).fetchall() for connection in (comes, *self._stays)]


@pytest.fixture(scope="module")
def database(postgres_uri: str) -> Iterator[Database]:
    """A database of a role whose settings are odd, with a table of another application's."""
    with new_database(postgres_uri, "LATIN1") as database:
        database(VICTIM)
        database("CREATE TABLE rows (id text UNIQUE, ts timestamptz, x int)")
        database(f"INSERT INTO rows {ROWS}")
        database("CREATE TABLE others (x int)")
        database(ODD_ROLE.format(database=make_url(database.uri).database))
        yield database


@pytest.fixture(scope="module", params=["transaction", "session"])
def pooled(request: pytest.FixtureRequest, servers_folder: Path, database: Database) -> Iterator[str]:
    """The URI of the database through a pooler that has one session."""
    with pooler(servers_folder, database.uri, request.param) as uri:
        yield uri


@pytest.fixture
def other(request: pytest.FixtureRequest, pooled: str) -> Iterator[Other]:
    # Who stays has the only session to himself where sessions are pooled.
    with closing(Other(pooled, stays="transaction" in request.node.name)) as other:
        yield other


@pytest.fixture
def view(make_view: MakeView) -> FeatureView:
    return make_view()


Act = Callable[["Ours"], object]


class Ours:
    """Our stores on the pooler, and what they are used on."""

    def __init__(self, uri: str, redis_url: str, make_view: MakeView, direct: Database) -> None:
        self.uri, self.redis_url, self.direct = uri, redis_url, direct
        self.offline, self.online = OfflineStore(uri), OnlineStore.from_url(redis_url)
        self.make_view, self.view = make_view, make_view()

    def run(self, view: FeatureView | None = None, **options: Any) -> Any:
        return materialize(view or self.view, self.offline, self.online, retry_for=timedelta(0), **options)

    def query(self, query: str) -> FeatureView:
        return self.make_view(source={"query": query})


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch, pooled: str, redis_url: str, make_view: MakeView, database: Database) -> Ours:
    monkeypatch.setenv("AIRFLOW_CONN_OFFLINE_STORE", pooled)
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", redis_url)
    return Ours(pooled, redis_url, make_view, database)


def row(name: str) -> list[dict[str, Any]]:
    return [{"id": name, "ts": at(1), "x": 1}]


def increments(ours: Ours) -> None:
    assert ours.run().rows_read > ours.run().rows_read


def prunes(ours: Ours) -> None:
    ours.run()
    ours.online.push(ours.view, row("gone"))
    assert ours.run(full=True, prune=True).entities_pruned == 1


def appends(ours: Ours) -> None:
    appended = row(uuid4().hex)
    assert ours.offline.append(ours.view, appended).rows_appended == 1
    assert ours.offline.append(ours.view, appended).rows_appended == 0


def pushes(ours: Ours) -> None:
    ours.run()
    assert ours.online.push(ours.view, row("pushed"), offline=ours.offline).rows_written == 1


def looks(ours: Ours) -> None:
    ours.run()
    assert not FeatureViewChangeTrigger(feature_view=ours.view)._has_pending_rows()


def sets_a_timeout(ours: Ours) -> None:
    patient = OfflineStore(ours.uri, statement_timeout=timedelta(minutes=1))
    materialize(ours.view, patient, ours.online)
    patient.append(ours.view, row("patient"))


def sets_what_it_reads_by(ours: Ours) -> None:
    setting = "set_config('work_mem', '1MB', false) || set_config('search_path', 'x', false) AS y"
    assert ours.run(ours.query(f"SELECT *, {setting} FROM ({ROW}) AS row")).rows_written == 1


SUCCEED: dict[str, Act] = {
    "describe": lambda ours: ours.offline.describe(ours.view),
    "describe a query": lambda ours: ours.offline.describe(ours.query(ROW)),
    "full": lambda ours: ours.run(full=True),
    "incremental": increments,
    "window": lambda ours: ours.run(start=at(0), end=at(1)),
    "prune": prunes,
    "append": appends,
    "push": pushes,
    "look": looks,
    "time limit": sets_a_timeout,
    "settings in a query": sets_what_it_reads_by,
}


@pytest.mark.parametrize("act", SUCCEED.values(), ids=SUCCEED)
def test_the_session_is_left_as_it_was_found(ours: Ours, other: Other, act: Act) -> None:
    kept, backend = other.kept(), other.backend()
    act(ours)
    assert other.backend() == backend
    other.write()
    assert other.kept() == kept


def fails_in_postgres(ours: Ours) -> None:
    with pytest.raises(SourceError, match="division by zero"):
        ours.run(ours.query(f"SELECT *, 1 / (x - 20000) AS y FROM ({ROWS}) AS many"))


def fails_here(ours: Ours) -> None:
    def fail(_: Any) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        ours.run(batch_rows=100, on_progress=fail)


def fails_to_append(ours: Ours) -> None:
    with pytest.raises(LookupError), ours.offline._source(ours.view).appending(ours.offline.describe(ours.view)):
        raise LookupError


def runs_out_of_time(ours: Ours) -> None:
    hasty = OfflineStore(ours.uri, statement_timeout=timedelta(milliseconds=100))
    with pytest.raises(OfflineStoreUnavailableError, match="statement timeout -> "):
        materialize(ours.query(SLOW), hasty, ours.online, retry_for=timedelta(0))


def run_alone(view: FeatureView, uri: str, redis_url: str) -> None:
    materialize(view, OfflineStore(uri), OnlineStore.from_url(redis_url))


def ended_by(number: signal.Signals) -> Act:
    def act(ours: Ours) -> None:
        process = multiprocessing.get_context("spawn").Process(
            target=run_alone, args=(ours.query(SLOW), ours.uri, ours.redis_url)
        )
        process.start()
        until(lambda: ours.direct(ASLEEP) == [(1,)])
        os.kill(process.pid or 0, number)
        process.join()
        until(lambda: ours.direct(ASLEEP) == [(0,)])

    return act


FAIL: dict[str, Act] = {
    "error of a row": fails_in_postgres,
    "error of ours": fails_here,
    "error in append": fails_to_append,
    "out of time": runs_out_of_time,
    "SIGINT": ended_by(signal.SIGINT),
    "SIGKILL": ended_by(signal.SIGKILL),
}


@pytest.mark.parametrize("act", FAIL.values(), ids=FAIL)
def test_what_fails_leaves_nothing_to_others(ours: Ours, other: Other, act: Act) -> None:
    kept = other.kept()
    act(ours)
    other.write()
    assert other.kept() == kept


@pytest.mark.parametrize("query", [*BREAKOUTS, *WRITES])
def test_a_query_that_would_write_or_break_out_is_refused(
    database: Database, ours: Ours, other: Other, query: str
) -> None:
    kept = other.kept()
    with pytest.raises(SourceError, match=" -> "):
        ours.run(ours.query(query))
    other.write()
    assert other.kept() == kept
    assert database(UNHARMED) == [(True, True, False)]


async def hears(uri: str, meanwhile: Callable[[], object]) -> frozenset[str]:
    """What a listener hears of what happens meanwhile."""
    async with aclosing(OfflineStore(uri)._changed_tables()) as changes:
        assert await anext(changes) == frozenset()
        await asyncio.to_thread(meanwhile)
        return await anext(changes)


def test_a_pooler_that_loses_notifications_is_refused_and_left_as_it_was(pooled: str, other: Other) -> None:
    kept = other.kept()
    with pytest.raises(OfflineAccessError, match=r"do not arrive .* -> give the trigger a postgres_conn_id="):
        asyncio.run(hears(pooled, lambda: None))
    assert other.kept() == kept


def test_a_pooler_in_session_mode_that_has_two_sessions_is_heard_through(
    servers_folder: Path, database: Database
) -> None:
    database("CREATE TABLE told (x int)")
    database(notification_sql("told"))
    with pooler(servers_folder, database.uri, "session", pool_size=2) as uri:
        heard = asyncio.run(hears(uri, lambda: database("INSERT INTO told VALUES (1)")))
    assert heard == {"public.told"}


def test_startup_parameters_that_the_pooler_does_not_hand_on_are_refused_by_name(pooled: str, ours: Ours) -> None:
    ours.offline = OfflineStore(f"{pooled}?options=-c%20statement_timeout%3D30s")
    listen = partial(asyncio.run, hears(f"{pooled}?options=-c%20jit%3Doff", lambda: None))
    for act in (ours.run, lambda: ours.run(ours.query(ROW)), listen):
        with pytest.raises(OfflineAccessError, match="parameter: options -> take it out of the Postgres connection"):
            act()


def test_a_pooler_in_statement_mode_is_refused(servers_folder: Path, database: Database, make_view: MakeView) -> None:
    by_query = make_view(source={"query": ROW})
    with pooler(servers_folder, database.uri, "statement") as uri:
        with pytest.raises(OfflineAccessError, match=" -> let the connection's pooler pool by session or transaction"):
            OfflineStore(uri).describe(by_query)
        with pytest.raises(OfflineStoreUnavailableError, match="a pooler in statement mode ends"):
            OfflineStore(uri).describe(make_view())


def test_what_only_reads_holds_back_no_horizon_but_what_appends_does(
    servers_folder: Path, database: Database, make_view: MakeView
) -> None:
    view = make_view()
    with pooler(servers_folder, database.uri, "transaction", pool_size=2) as uri:
        offline = OfflineStore(uri)
        schema = offline.describe(view)
        reading = offline._source(view).query_plan(schema, Window())
        with offline._source(view).snapshot(reading) as snapshot:
            assert list(snapshot.batches(100))
            now = datetime.now(UTC)
            assert offline._source(view).horizon().claim > now
        with offline._source(view).appending(schema) as appender:
            assert offline._source(view).horizon().claim == appender.created_at


def test_runs_at_once_share_a_pool(
    servers_folder: Path, database: Database, redis_url: str, make_view: MakeView
) -> None:
    def act(number: int) -> int:
        view = make_view(name=f"view{number}", source={"query": ROWS})
        offline, online = OfflineStore(uri), OnlineStore.from_url(redis_url)
        offline.append(make_view(), row(uuid4().hex))
        return materialize(view, offline, online, retry_for=timedelta(0)).rows_written

    with pooler(servers_folder, database.uri, "transaction", pool_size=3) as uri, ThreadPoolExecutor(6) as threads:
        assert set(threads.map(act, range(18))) == {20_000}


def test_several_processes_read_one_snapshot_through_a_pooler(
    servers_folder: Path, database: Database, redis_url: str, make_view: MakeView
) -> None:
    view, online = make_view(source={"query": ROWS}), OnlineStore.from_url(redis_url)
    with pooler(servers_folder, database.uri, "transaction", pool_size=3) as uri:
        assert materialize(view, OfflineStore(uri), online, full=True, parallel=2).rows_written == 20_000
