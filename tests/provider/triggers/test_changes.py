"""From a commit to the event of a trigger: real notifications, real sessions that are cut."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import psycopg2
import pytest
from airflow.models.trigger import Trigger
from airflow.serialization.decoders import smart_decode_trigger_kwargs
from airflow.serialization.encoders import encode_trigger
from airflow.triggers.base import BaseEventTrigger
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import FeatureViewError
from online_features.materialization.pending import has_pending_rows
from online_features.offline.notifications import drop_notification_sql, notification_sql, quoted
from online_features_provider.triggers.changes import FeatureViewChangeTrigger
from sqlalchemy.engine import make_url

from tests.support.servers.databases import Database

pytestmark = pytest.mark.usefixtures("connections")

SOON = 10.0  # seconds within which an event comes, on a machine that is busy
QUIET, INTERVAL = 0.2, 0.6
INSERT = "INSERT INTO rows VALUES ('a', now(), now(), 1)"
LISTENERS = "FROM pg_stat_activity WHERE application_name = 'online_features listener' AND datname = current_database()"

Committed = Callable[[], Awaitable[dict[str, Any]]]


@pytest.fixture
def view(database: Database, make_view: Any, offline: OfflineStore, online: OnlineStore) -> FeatureView:
    """A view that is online as it is in the source, and whose table tells of changes."""
    database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz, x int)")
    database("INSERT INTO rows VALUES ('a', now() - interval '1 hour', now() - interval '1 hour', 0)")
    view: FeatureView = make_view(source={"created_timestamp_column": "created"})
    materialize(view, offline, online)
    database(notification_sql(view))
    return view


class Watch:
    """A trigger at work, and the events that it has fired."""

    def __init__(self, view: FeatureView, **changed: Any) -> None:
        log_throttle = {"quiet_seconds": QUIET, "interval_seconds": INTERVAL}
        trigger = FeatureViewChangeTrigger(feature_view=view, **{**log_throttle, **changed})
        _, arguments = trigger.serialize()
        # As the triggerer makes it: from what the database kept of it.
        self.trigger = FeatureViewChangeTrigger(**json.loads(json.dumps(arguments)))
        self.reasons: asyncio.Queue[str] = asyncio.Queue()
        self._has_looked = threading.Event()
        self._has_pending_rows, self.trigger._has_pending_rows = self.trigger._has_pending_rows, self._look  # type: ignore[method-assign]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Watch]:
        task = asyncio.create_task(self._collect())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def reason(self, within: float = SOON) -> str | None:
        """Of the next event; ``None`` when none comes in time."""
        try:
            return await asyncio.wait_for(self.reasons.get(), within)
        except TimeoutError:
            return None

    async def looked(self) -> None:
        """Wait until it has looked at the source."""
        assert await asyncio.to_thread(self._has_looked.wait, SOON)

    def _look(self) -> bool:
        try:
            return self._has_pending_rows()
        finally:
            self._has_looked.set()

    async def _collect(self) -> None:
        async with aclosing(self.trigger.run()) as events:  # type: ignore[type-var]
            async for event in events:
                self.reasons.put_nowait(event.payload["reason"])


async def listening(database: Database) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + SOON
    listeners = f"SELECT count(*) {LISTENERS} AND state = 'idle' AND query LIKE 'LISTEN%'"
    while not (await asyncio.to_thread(database, listeners))[0][0]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def test_a_commit_is_an_event_and_nothing_else_is(view: FeatureView, database: Database) -> None:
    async def watch() -> None:
        async with Watch(view).running() as watch:
            await listening(database)
            assert await watch.reason(1.0) is None
            database("CREATE TABLE other AS SELECT 1")
            database("UPDATE rows SET x = x; ROLLBACK")
            assert await watch.reason(1.0) is None
            await asyncio.to_thread(database, INSERT)
            assert await watch.reason() == "committed"

    asyncio.run(watch())


def test_a_burst_is_one_event(view: FeatureView, database: Database) -> None:
    def commit(times: int) -> None:
        connection = psycopg2.connect(database.uri)
        for _ in range(times):
            with connection, connection.cursor() as cursor:
                cursor.execute(INSERT)
        connection.close()

    async def watch() -> None:
        async with Watch(view, interval_seconds=5.0).running() as watch:
            await listening(database)
            await watch.looked()  # A look in the midst of the burst would find the first of it.
            await asyncio.to_thread(commit, 300)
            assert await watch.reason() == "committed"
            assert await watch.reason(1.0) is None

    asyncio.run(watch())


def test_what_was_committed_while_nobody_listened_is_found(
    view: FeatureView, database: Database, offline: OfflineStore, online: OnlineStore
) -> None:
    async def first() -> str | None:
        async with Watch(view).running() as watch:
            return await watch.reason()

    assert not has_pending_rows(view, offline, online)
    database(INSERT)
    assert asyncio.run(first()) == "found"
    materialize(view, offline, online)


def test_a_session_that_is_cut_is_made_anew_and_misses_nothing(view: FeatureView, database: Database) -> None:
    async def watch() -> None:
        async with Watch(view).running() as watch:
            for _ in range(3):
                await listening(database)
                await asyncio.to_thread(database, f"SELECT pg_terminate_backend(pid) {LISTENERS}")
                await asyncio.to_thread(database, INSERT)
                assert await watch.reason() in ("found", "committed")
            await listening(database)
            await asyncio.to_thread(database, INSERT)
            assert await watch.reason() is not None

    asyncio.run(watch())


def test_the_session_ends_with_the_trigger(view: FeatureView, database: Database) -> None:
    async def watch() -> None:
        async with Watch(view).running():
            await listening(database)

    asyncio.run(watch())
    deadline = time.monotonic() + SOON
    while database(f"SELECT count(*) {LISTENERS}") != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_view_that_was_never_materialized_has_pending_rows(view: FeatureView) -> None:
    async def watch() -> str | None:
        async with Watch(replace(view, name="new")).running() as watch:
            return await watch.reason()

    assert asyncio.run(watch()) == "found"


def test_a_table_that_does_not_tell_is_warned_of(
    view: FeatureView, database: Database, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    database(drop_notification_sql(view))

    async def watch() -> None:
        async with Watch(view).running() as watch:
            await watch.looked()

    asyncio.run(watch())
    assert "notification_sql('rows')" in caplog.text + capsys.readouterr().out


def test_a_store_that_refuses_is_left_to_a_run_to_complain_of(
    view: FeatureView, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    refused = make_url(database.uri).set(password="wrong").render_as_string(hide_password=False)
    monkeypatch.setenv("AIRFLOW_CONN_OFFLINE_STORE", refused)

    async def watch() -> str | None:
        async with Watch(view).running() as watch:
            return await watch.reason()

    assert asyncio.run(watch()) == "found"


def test_airflow_tells_triggers_apart_by_their_arguments(view: FeatureView) -> None:
    def identity(trigger: FeatureViewChangeTrigger) -> int:
        return BaseEventTrigger.hash(*trigger.serialize())  # type: ignore[no-any-return,no-untyped-call]

    trigger, other = (FeatureViewChangeTrigger(feature_view=watched) for watched in (view, replace(view, name="other")))
    again = FeatureViewChangeTrigger(**trigger.serialize()[1])
    assert identity(trigger) == identity(again) != identity(other)
    assert trigger.shared_stream_key() == other.shared_stream_key()
    assert len(json.dumps(trigger.serialize())) < 1000


def test_airflow_keeps_the_arguments_of_a_watcher_and_reads_them_back(view: FeatureView) -> None:
    trigger = FeatureViewChangeTrigger(feature_view=view)
    kept = Trigger._decrypt_kwargs(Trigger.encrypt_kwargs(encode_trigger(trigger)["kwargs"]))
    read = {name: smart_decode_trigger_kwargs(argument) for name, argument in kept.items()}
    assert FeatureViewChangeTrigger(**read).serialize() == trigger.serialize()


@pytest.mark.parametrize("table", ['Sales."Week:1" %', "s.t", "t", "Sales." + "ü" * 31])
def test_any_table_can_tell_and_stop_telling(
    database: Database, offline: OfflineStore, make_view: Any, table: str
) -> None:
    *schema, _ = table.split(".", 1)
    if schema:
        database(f"CREATE SCHEMA {quoted(schema[0])}")
    database(f"CREATE TABLE {quoted(table)} (id int)")
    view = make_view(source={"table": table})
    for _ in range(2):
        database(notification_sql(view))
        assert offline._source(view).announces_changes(table)
    for _ in range(2):
        database(drop_notification_sql(view))
        assert not offline._source(view).announces_changes(table)
    assert database("SELECT count(*) FROM pg_proc WHERE proname LIKE 'online_features%'") == [(0,)]


def test_a_query_needs_its_tables_named(make_view: Any) -> None:
    view = make_view(source={"query": "SELECT 1 AS id, now() AS ts"})
    with pytest.raises(FeatureViewError, match="name each table that the query reads"):
        FeatureViewChangeTrigger(feature_view=view)
    assert FeatureViewChangeTrigger(feature_view=view, tables=["a", "b"]).tables == ["a", "b"]
