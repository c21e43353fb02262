"""Rows that are committed late, or stamped oddly, still arrive with the next increment."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.common.instants import to_text
from online_features.materialization.reporting import run_warnings
from psycopg2.extensions import connection as Connection  # noqa: N812

from tests.conftest import at
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]


@pytest.fixture
def table(database: Database) -> Database:
    database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz DEFAULT now(), x int)")
    return database


@pytest.fixture
def view(table: Database, make_view: MakeView) -> FeatureView:
    return make_view(source={"created_timestamp_column": "created"}, features=["x"])


@pytest.fixture
def writer(table: Database) -> Iterator[Connection]:
    """A session that holds its transaction open until the test commits it."""
    with closing(psycopg2.connect(table.uri)) as connection:
        yield connection


def insert(connection: Connection, name: str, x: int = 1) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO rows (id, ts, x) VALUES (%s, %s, %s)", (name, at(1), x))


def present(online: OnlineStore, view: FeatureView, *names: str) -> list[bool]:
    return [row.status == "present" for row in online.get_online_features(view, [{"id": name} for name in names])]


def test_a_row_whose_transaction_began_before_a_run_and_committed_after_it_arrives_with_the_next(
    table: Database, view: FeatureView, writer: Connection, offline: OfflineStore, online: OnlineStore
) -> None:
    insert(writer, "late")
    table("INSERT INTO rows (id, ts) VALUES ('early', %s)", at(1))
    first = materialize(view, offline, online)
    second = materialize(view, offline, online)
    assert present(online, view, "early", "late") == [True, False]
    writer.commit()
    third = materialize(view, offline, online)
    assert present(online, view, "early", "late") == [True, True]
    ((began,),) = table("SELECT created FROM rows WHERE id = 'late'")
    for held_back in (first, second):
        assert held_back.watermark is not None
        assert held_back.watermark <= began
    assert third.watermark is not None
    assert third.watermark > began


def test_a_transaction_that_has_not_written_yet_holds_the_horizon_too(
    table: Database, view: FeatureView, writer: Connection, offline: OfflineStore, online: OnlineStore
) -> None:
    with writer.cursor() as cursor:
        cursor.execute("SELECT now()")
    materialize(view, offline, online)
    insert(writer, "late")
    writer.commit()
    materialize(view, offline, online)
    assert present(online, view, "late") == [True]


@pytest.mark.parametrize("runs_before", [1, 2])
def test_a_prepared_transaction_is_waited_for(
    table: Database,
    view: FeatureView,
    writer: Connection,
    offline: OfflineStore,
    online: OnlineStore,
    runs_before: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = f"prepared-{uuid.uuid4().hex}"
    insert(writer, "late")
    if runs_before == 2:
        materialize(view, offline, online)
    with writer.cursor() as cursor:
        cursor.execute("PREPARE TRANSACTION %s", (name,))
    with caplog.at_level(logging.WARNING):
        materialize(view, offline, online)
    assert "a prepared transaction holds back the cursor" in caplog.text
    assert f"prepared transaction '{name}' of user 'postgres'" in caplog.text
    with closing(psycopg2.connect(table.uri)) as other:
        other.autocommit = True
        with other.cursor() as cursor:
            cursor.execute("COMMIT PREPARED %s", (name,))
    materialize(view, offline, online)
    assert present(online, view, "late") == [True]


@pytest.mark.parametrize("prepared", [False, True])
def test_a_run_tells_which_transaction_holds_back_its_watermark(
    table: Database,
    view: FeatureView,
    offline: OfflineStore,
    online: OnlineStore,
    prepared: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_warnings, "OLD_TRANSACTION", timedelta(0))
    name = f"prepared-{uuid.uuid4().hex}"
    with closing(psycopg2.connect(table.uri, application_name="nightly load")) as session:
        insert(session, "a secret in a query")
        who = f"session {session.get_backend_pid()} of user 'postgres', application 'nightly load'"
        if prepared:
            session.cursor().execute("PREPARE TRANSACTION %s", (name,))
            who = f"prepared transaction '{name}' of user 'postgres'"
        with caplog.at_level(logging.WARNING):
            result = materialize(view, offline, online)
        materialize(view, offline, online, start=at(0), end=at(1))
        monkeypatch.setattr(run_warnings, "OLD_TRANSACTION", timedelta(hours=1))
        materialize(view, offline, online)
        session.cursor().execute("ROLLBACK PREPARED %s" if prepared else "ROLLBACK", (name,) if prepared else None)
        materialize(view, offline, online)
    assert result.watermark is not None
    *others, held = online.runs(view)
    assert (held["held_since"], held["held_by"]) == (to_text(result.watermark), who)
    assert not any("held_by" in run for run in others)
    told = [record.getMessage() for record in caplog.records]
    assert told[told.index(f"It is {who}") + 1] == "-> end it, or wait until it ends"
    assert any("holds back the watermark at" in message for message in told)
    assert "secret" not in caplog.text


def test_a_role_that_may_not_see_other_sessions_looks_back_and_is_told_so(
    table: Database, view: FeatureView, writer: Connection, online: OnlineStore, caplog: pytest.LogCaptureFixture
) -> None:
    role = f"reader_{uuid.uuid4().hex[:8]}"
    table(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT SELECT ON rows TO {role}")
    offline = OfflineStore(f"postgresql://{role}:x@{table.uri.rpartition('@')[2]}")
    insert(writer, "late")
    with caplog.at_level(logging.WARNING):
        materialize(view, offline, online)
    assert caplog.text.count("may not see other sessions") == 1
    assert "GRANT pg_read_all_stats" in caplog.text
    writer.commit()
    materialize(view, offline, online)
    assert present(online, view, "late") == [True]
    table(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_another_run_that_only_reads_does_not_hold_back_the_horizon(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    table("INSERT INTO rows (id, ts) VALUES ('a', %s), ('b', %s)", at(1), at(1))
    watermarks = []

    def run_inside(_: object) -> None:
        other = FeatureView(name="other", project=view.project, entities=["id"], source=view.source)
        watermarks.append(materialize(other, offline, online).watermark)

    began = datetime.now(UTC)
    materialize(view, offline, online, batch_rows=1, on_progress=run_inside)
    assert all(watermark is not None and watermark >= began for watermark in watermarks)
    assert watermarks[0] != watermarks[1]


def test_a_row_that_does_not_say_when_it_was_created_is_found_by_its_event_timestamp(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    materialize(view, offline, online)
    table("INSERT INTO rows VALUES ('now', now(), NULL, 1), ('old', %s, NULL, 1)", at(1))
    materialize(view, offline, online, lookback=timedelta(minutes=5))
    assert present(online, view, "now", "old") == [True, False]
    materialize(view, offline, online, full=True)
    assert present(online, view, "now", "old") == [True, True]


def test_without_created_timestamps_lookback_finds_late_rows(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(features=["x"])
    materialize(view, offline, online)
    table("INSERT INTO rows (id, ts) VALUES ('half an hour', now() - interval '30 min'), "
          "('two hours', now() - interval '2 hours')")  # fmt: skip
    materialize(view, offline, online)
    assert present(online, view, "half an hour", "two hours") == [True, False]
    materialize(view, offline, online, lookback=timedelta(hours=3))
    assert present(online, view, "half an hour", "two hours") == [True, True]


@pytest.mark.parametrize("created_column", [True, False])
def test_a_source_clock_ahead_of_ours_neither_stalls_increments_nor_puts_the_watermark_into_the_future(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, created_column: bool
) -> None:
    view = make_view(source={"created_timestamp_column": "created"} if created_column else {}, features=["x"])
    prefetch = datetime.now(UTC) + timedelta(days=1)
    table("INSERT INTO rows VALUES ('a', %s, %s, 1)", prefetch, prefetch)
    first = materialize(view, offline, online)
    now = datetime.now(UTC)
    table("INSERT INTO rows VALUES ('b', %s, %s, 1)", now, now)
    second = materialize(view, offline, online)
    assert present(online, view, "a", "b") == [True, True]
    for result in (first, second):
        assert result.watermark is not None
        assert result.watermark <= datetime.now(UTC)


@pytest.mark.parametrize("kind", ["timestamptz(0)", "timestamptz(3)", "date"])
@pytest.mark.parametrize("is_query", [False, True])
def test_coarse_created_timestamps_lose_no_rows(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, kind: str, is_query: bool
) -> None:
    database(f"CREATE TABLE rows (id text, ts timestamptz, created {kind} DEFAULT clock_timestamp(), x int)")
    query = {"query": f"SELECT id, ts, x, created::{kind} AS created FROM rows"} if is_query else {}
    view = make_view(source={"created_timestamp_column": "created", **query}, features=["x"])
    names = [f"e{number}" for number in range(12)]
    for name in names:
        materialize(view, offline, online)
        database("INSERT INTO rows (id, ts) VALUES (%s, %s)", name, at(1))
    materialize(view, offline, online)
    assert present(online, view, *names) == [True] * len(names)


def test_a_session_that_does_not_track_its_activity_makes_runs_look_back(
    table: Database, view: FeatureView, writer: Connection, offline: OfflineStore, online: OnlineStore
) -> None:
    with writer.cursor() as cursor:
        cursor.execute("SET track_activities = off")
    writer.commit()
    insert(writer, "late")
    materialize(view, offline, online)
    writer.commit()
    materialize(view, offline, online)
    assert present(online, view, "late") == [True]
