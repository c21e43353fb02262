"""Postgres fails, wherever and however it may: a run ends as it should, or in an error that says why and what cures it.

Whatever happened, the watermark is not ahead of what is online, and the next run ends in the state of the model.
"""

from __future__ import annotations

import logging
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg2
import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import ColumnNotFoundError, OfflineStoreUnavailableError, SourceError, SourceNotFoundError
from online_features.offline.query_plan import QueryPlan
from online_features.offline.snapshot import Snapshot
from online_features.offline.source_access import SourceAccess
from online_features.window import Window
from sqlalchemy.engine import make_url

from demo.workplace import workplace
from tests.support.model import Model, Row
from tests.support.online import rows_online
from tests.support.processes import until
from tests.support.servers.databases import Database
from tests.support.servers.postgres_servers import Server, copied, through
from tests.support.servers.proxy import Fault, Traffic, proxied

pytestmark = pytest.mark.faults

# What becomes of one attempt: others would hide it.
attempt = partial(materialize, retry_for=timedelta(0))

MakeView = Callable[..., FeatureView]

CUTS = 64  # points of the wire, on a run's three or four connections
ROWS = 400

GATE = 20_260_101  # the advisory lock that a query waits for in its middle while a test holds it
AT_GATE = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
TABLE = """
    CREATE TABLE rows
    (id text, ts timestamptz, created timestamptz DEFAULT clock_timestamp(), gone bool, x int, y text)
"""
PASSES = f"""
    CREATE FUNCTION passes(id text) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        IF id = '7' THEN PERFORM pg_advisory_xact_lock_shared({GATE}); END IF;
        RETURN true;
    END $$
"""
THROUGH_GATE = {
    "query": "SELECT * FROM rows WHERE passes(id)",
    "created_timestamp_column": "created",
    "deleted_field": "gone",
}
OF_TABLE = {"created_timestamp_column": "created", "deleted_field": "gone"}


class Source:
    """A table of rows, and the model of what should become of them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.model = Model(now=datetime.now(UTC))
        database(TABLE)
        database(PASSES)

    def insert(self, *rows: tuple[str, int]) -> None:
        """Insert newer rows of these entities, with these values."""
        with closing(psycopg2.connect(self.database.uri)) as connection, connection, connection.cursor() as cursor:
            for name, x in rows:
                ts = self.model.now + timedelta(seconds=x) - timedelta(days=1)
                row = Row(name, ts, None, x % 10 == 9, x, f"é{x}" if x % 3 else None)
                cursor.execute(
                    "INSERT INTO rows VALUES (%s, %s, DEFAULT, %s, %s, %s) RETURNING created",
                    (row.id, row.ts, row.gone, row.x, row.y),
                )
                ((created,),) = cursor.fetchall()
                self.model.insert(replace(row, created=created), is_stamped_now=True)

    def fill(self) -> None:
        self.insert(*((str(i % 50), i) for i in range(60)))

    def expected(self) -> dict[str, dict[str, str]]:
        """The rows online after a run of any kind that reads all that is there."""
        self.model.run("full")
        return {name: held.hash for name, held in self.model.online.items() if held.fields is not None}


@pytest.fixture
def source(database: Database) -> Source:
    source = Source(database)
    source.fill()
    return source


@pytest.fixture
def view(make_view: MakeView) -> FeatureView:
    return make_view(source=THROUGH_GATE, features=["x", "y"])


def online_now(online: OnlineStore, view: FeatureView) -> dict[str, dict[str, str]]:
    return rows_online(online, view, ["x", "y"])


def check_claim(online: OnlineStore, view: FeatureView, before: datetime | None) -> None:
    """A run that failed has claimed nothing."""
    assert online.freshness(view).watermark == before


def check_recovery(source: Source, view: FeatureView, offline: OfflineStore, online: OnlineStore) -> None:
    """The next run ends as if nothing had happened."""
    result = attempt(view, offline, online)
    assert result.watermark is not None
    assert result.watermark <= datetime.now(UTC)
    assert online_now(online, view) == source.expected()


@contextmanager
def gate_closed(uri: str) -> Iterator[Callable[[], None]]:
    """Have the query of the view wait in its middle, until the function that is yielded is called."""
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        connection.commit()
        yield connection.close


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do work in a thread; what it raises is raised at the end."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whatever it is
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()
    if raised:
        raise raised[0]


def when_at_gate(database: Database, act: Callable[[], object]) -> Callable[[], None]:
    """Act when a run's query waits at the gate."""

    def wait_and_act() -> None:
        until(lambda: database(AT_GATE) == [(1,)])
        act()

    return wait_and_act


# Connections that are cut.


def test_a_run_cut_at_any_point_of_the_wire_claims_nothing_and_the_next_one_is_complete(
    database: Database, make_view: MakeView, online: OnlineStore
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    source, view = Source(database), make_view(source=OF_TABLE, features=["x", "y"])
    database(
        "INSERT INTO rows SELECT i, '2026-01-01', '2026-01-01', false, i, repeat('y', 100) "
        "FROM generate_series(1000, %s) AS i",
        1000 + ROWS,
    )
    for name, ts, created, gone, x, y in database("SELECT * FROM rows"):
        source.model.insert(Row(name, ts, created, gone, x, y), is_stamped_now=True)
    whole = make_url(database.uri)
    with proxied(str(whole.host), int(whole.port or 0)) as proxy:
        offline = OfflineStore(through(database.uri, proxy.port))
        for _ in range(2):  # the first one says more: SQLAlchemy gets to know the server
            proxy.connections.clear()
            attempt(view, offline, online, full=True)
        measured = list(proxy.connections)
        failures = 0
        for cut in range(CUTS):
            source.insert((str(cut % 8), cut))
            before = online.freshness(view).watermark
            proxy.arm(*point_of(chance, measured))
            where = f"seed {seed}, cut {cut}"
            try:
                attempt(view, offline, online, full=True)
            except OfflineStoreUnavailableError as error:
                failures += 1
                assert " -> run again" in str(error), where
                assert online.freshness(view).watermark == before, where
            proxy.disarm()
            if cut % 8 == 7:
                check_recovery(source, view, offline, online)
        assert failures > CUTS * 0.9, f"seed {seed}"


def point_of(chance: random.Random, measured: list[Traffic]) -> list[Fault | None]:
    """A fault in the middle of what one of the connections said, for the connection that comes in its place."""
    number = chance.randrange(len(measured))
    traffic, how = measured[number], chance.choice(["close", "reset"])
    if chance.random() < 0.3:
        fault = Fault(after_client=chance.randrange(traffic.from_client - 10), ends=how)
    else:
        swallows = chance.random() < 0.3
        fault = Fault(after_server=chance.randrange(traffic.from_server - 10), swallows=swallows, ends=how)
    return [None] * number + [fault]


def test_a_server_that_refuses_connections_is_worth_a_retry(
    source: Source, database: Database, view: FeatureView, online: OnlineStore
) -> None:
    whole = make_url(database.uri)
    with proxied(str(whole.host), int(whole.port or 0)) as proxy:
        offline = OfflineStore(through(database.uri, proxy.port))
        with proxy.refusing(), pytest.raises(OfflineStoreUnavailableError, match="efused.* -> run again"):
            attempt(view, offline, online)
        check_claim(online, view, None)
        check_recovery(source, view, offline, online)


# Sessions that are ended.

OTHERS = "FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"


@pytest.mark.parametrize("ended, said", [
    (f"SELECT pg_terminate_backend(pid) {OTHERS}", "-> run again"),
    (f"SELECT pg_cancel_backend(pid) {OTHERS}", "canceling statement due to user request -> run again"),
])  # fmt: skip
def test_a_session_that_is_ended_in_mid_read_is_worth_a_retry(
    source: Source, database: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore,
    ended: str, said: str,
) -> None:  # fmt: skip
    with (
        gate_closed(database.uri),
        meanwhile(when_at_gate(database, lambda: database(ended))),
        pytest.raises(OfflineStoreUnavailableError, match=said),
    ):
        attempt(view, offline, online)
    check_claim(online, view, None)
    check_recovery(source, view, offline, online)


@pytest.mark.parametrize("setting, said", [
    ("statement_timeout", "statement timeout -> .*raise statement_timeout"),
    ("lock_timeout", "lock timeout -> .*raise lock_timeout"),
])  # fmt: skip
def test_time_outs_of_the_server_name_what_to_raise(
    source: Source, database: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore,
    setting: str, said: str,
) -> None:  # fmt: skip
    hasty = OfflineStore(f"{database.uri}?options=-c%20{setting}%3D300")
    with gate_closed(database.uri), pytest.raises(OfflineStoreUnavailableError, match=said):
        attempt(view, hasty, online)
    check_claim(online, view, None)
    check_recovery(source, view, offline, online)


def test_a_table_that_is_locked_is_worth_a_retry(
    source: Source, database: Database, view: FeatureView, online: OnlineStore
) -> None:
    hasty = OfflineStore(f"{database.uri}?options=-c%20lock_timeout%3D200")
    with closing(psycopg2.connect(database.uri)) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE rows")
        with pytest.raises(OfflineStoreUnavailableError, match="lock timeout -> run again when the table"):
            attempt(view, hasty, online)
    check_claim(online, view, None)
    check_recovery(source, view, hasty, online)


# A server of the tests' own: restarted, crashed, full.

MOST_SESSIONS = 12
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


@pytest.fixture(scope="module")
def own_server(postgres_uri: str) -> Iterator[Server]:
    # Commits are flushed, else a crash would take rows along that a test has seen.
    settings = {
        "superuser_reserved_connections": "0",
        "max_connections": f"{MOST_SESSIONS}",
        "synchronous_commit": "on",
    }
    with workplace("copied") as folder, copied(folder, postgres_uri, **settings) as server:
        yield server


@pytest.fixture
def own(own_server: Server, database: Database) -> Database:
    """A database on it."""
    Database(own_server.uri)("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return Database(own_server.uri)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_restarts_in_mid_read_is_worth_a_retry(
    own_server: Server, own: Database, view: FeatureView, online: OnlineStore, how: signal.Signals
) -> None:
    source, offline = Source(own), OfflineStore(own_server.uri)
    source.fill()
    with (
        gate_closed(own.uri),
        meanwhile(when_at_gate(own, lambda: own_server.stop(how))),
        pytest.raises(OfflineStoreUnavailableError, match="-> run again"),
    ):
        attempt(view, offline, online)
    own_server.start()
    check_claim(online, view, None)
    check_recovery(source, view, offline, online)


def test_a_server_without_a_free_connection_is_worth_a_retry(
    own_server: Server, own: Database, view: FeatureView, online: OnlineStore
) -> None:
    source, offline = Source(own), OfflineStore(own_server.uri)
    source.fill()
    held = []

    # Sessions that have just been closed keep their places until they have ended.
    def all_are_taken() -> bool:
        with suppress(psycopg2.OperationalError):
            while True:
                held.append(psycopg2.connect(own_server.uri))
        return len(held) == MOST_SESSIONS

    def all_are_free() -> bool:
        with suppress(psycopg2.OperationalError):
            return own(SESSIONS) == [(1,)]
        return False

    until(all_are_taken)
    with pytest.raises(OfflineStoreUnavailableError, match="too many clients already -> run again"):
        attempt(view, offline, online)
    check_claim(online, view, None)
    for connection in held:
        connection.close()
    until(all_are_free)
    check_recovery(source, view, offline, online)


# A hot standby.


@pytest.fixture(scope="module")
def standby(postgres_uri: str) -> Iterator[Server]:
    with (
        workplace("standby") as folder,
        without_autovacuum(postgres_uri),  # it would end queries on the standby at any time
        copied(folder, postgres_uri, is_standby=True, max_standby_streaming_delay="0") as server,
    ):
        yield server


@contextmanager
def without_autovacuum(postgres_uri: str) -> Iterator[None]:
    """Let a server vacuum only what a test asks it to."""
    with closing(psycopg2.connect(postgres_uri)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("ALTER SYSTEM SET autovacuum = off")
        cursor.execute("SELECT pg_reload_conf()")
        yield
        cursor.execute("ALTER SYSTEM RESET autovacuum")
        cursor.execute("SELECT pg_reload_conf()")


def replayed(database: Database, standby: Server, *, how_far: str = "replay") -> Database:
    """The database on the standby, when all that was committed is there."""
    ((written,),) = database("SET LOCAL synchronous_commit = on; SELECT pg_logical_emit_message(true, 'test', '')")
    until(lambda: Database(standby.uri)(f"SELECT pg_last_wal_{how_far}_lsn() > %s", written) == [(True,)])
    return Database(through(database.uri, int(make_url(standby.uri).port or 0)))


def test_a_run_reads_from_a_standby_and_says_that_it_is_blind(
    source: Source, database: Database, standby: Server, view: FeatureView, online: OnlineStore,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    offline = OfflineStore(replayed(database, standby).uri)
    with caplog.at_level(logging.WARNING):
        check_recovery(source, view, offline, online)
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "the server is a standby, so late rows are found by reading back" in said
    source.insert(("3", 70), ("new", 71))
    replayed(database, standby)
    check_recovery(source, view, offline, online)


def test_several_processes_read_one_snapshot_of_a_standby(
    source: Source, database: Database, standby: Server, make_view: MakeView, online: OnlineStore
) -> None:
    view = make_view(features=["x"])
    offline = OfflineStore(replayed(database, standby).uri)
    one = materialize(view, offline, online, full=True).rows_written
    assert materialize(view, offline, online, full=True, parallel=2).rows_written == one > 0
    # The primary does not have what the standby exports.
    reading = offline._source(view)
    plan = reading.query_plan(reading.describe(), Window())
    elsewhere = OfflineStore(database.uri)._source(view)
    with (
        reading.exported_snapshot() as exported,
        pytest.raises(OfflineStoreUnavailableError, match="sessions are spread over several servers"),
        elsewhere.snapshot(plan, imported=exported),
    ):
        pass


def test_a_query_in_conflict_with_recovery_is_worth_a_retry(
    source: Source, database: Database, standby: Server, view: FeatureView, online: OnlineStore
) -> None:
    on_standby = replayed(database, standby)

    def vacuum() -> None:
        database("DELETE FROM rows WHERE x < 5")
        with closing(psycopg2.connect(database.uri)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("VACUUM rows")

    offline = OfflineStore(on_standby.uri)
    with (
        gate_closed(on_standby.uri),
        meanwhile(when_at_gate(on_standby, vacuum)),
        pytest.raises(OfflineStoreUnavailableError, match="conflict with recovery -> run again"),
    ):
        attempt(view, offline, online)
    check_claim(online, view, None)
    source.model.source = [row for row in source.model.source if row.x is None or row.x >= 5]
    replayed(database, standby)
    check_recovery(source, view, offline, online)


def test_a_standby_that_lags_is_not_claimed_to_be_complete(
    source: Source, database: Database, standby: Server, view: FeatureView, online: OnlineStore
) -> None:
    offline = OfflineStore(replayed(database, standby).uri)
    replay = Database(standby.uri)
    replay("SELECT pg_wal_replay_pause()")
    until(lambda: replay("SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
    source.insert(("late", 80))
    replayed(database, standby, how_far="receive")
    ((created,),) = database("SELECT created FROM rows WHERE id = 'late'")
    result = attempt(view, offline, online)
    replay("SELECT pg_wal_replay_resume()")
    assert result.rows_read == 50
    assert result.watermark is not None
    assert result.watermark < created
    replayed(database, standby)
    check_recovery(source, view, offline, online)
    assert online.freshness(view).watermark > created


# Tables that are altered.


class AlteredSource(SourceAccess):
    """A source that is altered when a run begins to read: before or after its snapshot is taken."""

    def __init__(self, store: AlteredStore, view: FeatureView, alter: Callable[[], object], *, is_after: bool) -> None:
        super().__init__(store._transactions, view)
        self._alter = alter
        self._is_after = is_after

    @contextmanager
    def snapshot(self, plan: QueryPlan) -> Iterator[Snapshot]:
        if not self._is_after:
            self._alter()
        with super().snapshot(plan) as snapshot:
            if self._is_after:
                self._alter()
            yield snapshot


class AlteredStore(OfflineStore):
    def __init__(self, database: Database, change: str, *, is_after: bool) -> None:
        super().__init__(database.uri)
        self._alter: Callable[[], object] = lambda: database(change)
        self._is_after = is_after

    def _source(self, view: FeatureView) -> SourceAccess:
        return AlteredSource(self, view, self._alter, is_after=self._is_after)


RELOADED = """
    CREATE TABLE kept AS SELECT * FROM rows;
    TRUNCATE rows;
    INSERT INTO rows SELECT * FROM kept;
    DROP TABLE kept
"""
REPLACED = """
    CREATE TABLE fresh AS SELECT * FROM rows;
    ALTER TABLE rows RENAME TO old;
    ALTER TABLE fresh RENAME TO rows
"""
GONE = {
    "ALTER TABLE rows DROP COLUMN x": (ColumnNotFoundError, '"x" does not exist -> name an existing column'),
    "DROP TABLE rows": (SourceNotFoundError, '"rows" does not exist -> name an existing table'),
}


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("change", GONE)
def test_what_is_gone_when_a_run_begins_to_read_is_named(
    source: Source, database: Database, make_view: MakeView, online: OnlineStore, change: str, is_after: bool
) -> None:
    view = make_view(source=OF_TABLE, features=["x", "y"])
    expected, said = GONE[change]
    with pytest.raises(expected, match=said):
        attempt(view, AlteredStore(database, change, is_after=is_after), online)
    check_claim(online, view, None)


@pytest.mark.parametrize("change", ["ALTER TABLE rows ALTER x TYPE bigint", RELOADED, REPLACED])
def test_a_table_that_hides_its_rows_from_a_snapshot_is_read_again(
    source: Source, database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, change: str
) -> None:
    view = make_view(source=OF_TABLE, features=["x", "y"])
    with pytest.raises(OfflineStoreUnavailableError, match="rows was truncated, rewritten or replaced .* -> run again"):
        attempt(view, AlteredStore(database, change, is_after=True), online)
    check_claim(online, view, None)
    check_recovery(source, view, offline, online)


def test_a_column_that_is_retyped_as_a_run_begins_is_read_again(
    source: Source, database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(source=OF_TABLE, features=["x", "y"])
    change = "ALTER TABLE rows ALTER x TYPE text USING 'v' || x"
    with pytest.raises(OfflineStoreUnavailableError, match="columns of table 'rows' were altered when the run began"):
        attempt(view, AlteredStore(database, change, is_after=False), online)
    check_claim(online, view, None)
    materialize(view, offline, online)
    (row,) = online.get_online_features(view, [{"id": "1"}])
    assert row.values["x"].startswith("v")


def test_changes_that_hide_nothing_end_in_the_rows_of_the_model(
    source: Source, database: Database, make_view: MakeView, online: OnlineStore
) -> None:
    view = make_view(source=OF_TABLE, features=["x", "y"])
    for number, change in enumerate(
        (
            "ALTER TABLE rows ADD z int DEFAULT 5",
            RELOADED,
            "CREATE INDEX ON rows (id, ts)",
            "CREATE DOMAIN small AS int; CREATE DOMAIN smaller AS small; ALTER TABLE rows ALTER x TYPE smaller",
        )
    ):
        source.insert(("1", 90 + number))
        store = AlteredStore(database, change, is_after=change is not RELOADED)
        check_recovery(source, view, store, online)


def test_a_table_waits_with_being_altered_until_a_run_has_read_it(
    source: Source, database: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    refused = []

    def alter() -> None:
        with pytest.raises(psycopg2.errors.LockNotAvailable) as caught:
            database("SET LOCAL lock_timeout = 200; TRUNCATE rows")
        refused.append(caught.value)

    with gate_closed(database.uri) as open_gate, meanwhile(when_at_gate(database, lambda: (alter(), open_gate()))):
        check_recovery(source, view, offline, online)
    assert refused


def test_a_change_that_waits_for_a_run_to_have_read_the_table_does_not_hold_it_up(
    source: Source, database: Database, view: FeatureView, online: OnlineStore
) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE rows%'"
    altering = threading.Thread(target=database, args=["ALTER TABLE rows ADD z int"])
    bounded = OfflineStore(database.uri, statement_timeout=timedelta(seconds=10))  # should it be held up

    def begin_to_alter() -> None:
        altering.start()
        until(lambda: database(waiting) == [(1,)])

    with (
        gate_closed(database.uri) as open_gate,
        meanwhile(when_at_gate(database, lambda: (begin_to_alter(), open_gate()))),
    ):
        check_recovery(source, view, bounded, online)
    altering.join()


@pytest.mark.parametrize("change, said", [
    ("ALTER TABLE rows DROP COLUMN x", "'x' is not a column of table 'rows'"),
    ("DROP TABLE rows", '"rows" does not exist -> name an existing table'),
    ("ALTER TABLE rows ALTER ts TYPE text", "'ts' has type 'text' but must have"),
])  # fmt: skip
def test_what_has_gone_between_runs_is_named_and_what_is_online_stays(
    source: Source, database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    change: str, said: str,
) -> None:  # fmt: skip
    view = make_view(source=OF_TABLE, features=["x", "y"])
    check_recovery(source, view, offline, online)
    before = online.freshness(view).watermark
    database(change)
    with pytest.raises(SourceError, match=said):
        attempt(view, offline, online)
    check_claim(online, view, before)
    assert online_now(online, view) == source.expected()


def test_a_feature_of_another_type_and_a_new_column_are_taken_up_by_the_next_run(
    source: Source, database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(source=OF_TABLE)
    check_recovery(source, view, offline, online)
    database("ALTER TABLE rows ALTER x TYPE text USING 'v' || x, ADD z int DEFAULT 5")
    attempt(view, offline, online)
    (row,) = online.get_online_features(view, [{"id": "1"}])
    assert row.values == {"x": "v51", "y": None, "z": 5}
