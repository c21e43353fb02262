"""Time limits of roles, met while Redis or a producer is slow: worth a retry, and the setting is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import OfflineStoreUnavailableError

from tests.conftest import at
from tests.support.processes import until
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]

FEW = "SELECT i::text AS id, timestamptz '2026-01-01' AS ts, 1 AS x FROM generate_series(1, 500) AS i"
MANY = FEW.replace("1 AS x", "repeat('x', 1000) AS x").replace("500", "100000")  # more than lies in buffers
SESSIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
IN_TRANSACTION = ("idle_in_transaction_session_timeout", "transaction_timeout")


@pytest.fixture
def limits(database: Database) -> Callable[..., Iterator[str]]:
    """Sets one limit of the role after the other, those that the server knows."""

    def limits(*settings: str) -> Iterator[str]:
        ((name,),) = database("SELECT current_database()")
        for (setting,) in database("SELECT name FROM pg_settings WHERE name = ANY (%s)", list(settings)):
            database(f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET {setting} = '300ms'")
            yield setting
            database(f"ALTER ROLE CURRENT_USER IN DATABASE {name} RESET {setting}")

    return limits


def test_redis_is_slow_while_a_run_reads(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, limits: Any
) -> None:
    def wait(_: Any) -> None:
        until(lambda: database(SESSIONS) == [(0,)])

    view = make_view(source={"query": FEW})
    for setting in limits(*IN_TRANSACTION):
        with pytest.raises(OfflineStoreUnavailableError, match=f"-> run again.* {setting}"):
            materialize(view, offline, online, batch_rows=10, on_progress=wait, retry_for=timedelta(0))
        assert not online.freshness(view).is_materialized


def test_redis_is_slow_while_a_statement_goes_on(
    make_view: MakeView, offline: OfflineStore, online: OnlineStore, limits: Any
) -> None:
    view = make_view(source={"query": MANY})
    for setting in limits("statement_timeout"):
        with pytest.raises(OfflineStoreUnavailableError, match=f"-> run again.* {setting}"):
            materialize(
                view, offline, online, batch_rows=1000, on_progress=lambda _: time.sleep(0.1), retry_for=timedelta(0)
            )


def test_redis_is_slow_while_a_run_prunes(make_view: MakeView, offline: OfflineStore, limits: Any) -> None:
    view = make_view(source={"query": FEW})
    for _ in limits(*IN_TRANSACTION):
        with offline._source(view).lookup(offline.describe(view)) as existing:
            assert existing([["1"], ["0"]]) == {0}
            time.sleep(0.5)
            assert existing([["1"], ["0"]]) == {0}


def test_a_session_is_idle_while_a_run_prunes(
    database: Database, make_view: MakeView, offline: OfflineStore, limits: Any, caplog: pytest.LogCaptureFixture
) -> None:
    view = make_view(source={"query": FEW})

    def look() -> None:
        with offline._source(view).lookup(offline.describe(view)) as existing:
            assert existing([["1"]]) == {0}
            until(lambda: database(SESSIONS) == [(0,)])
            existing([["1"]])

    for setting in limits("idle_session_timeout"):
        with pytest.raises(OfflineStoreUnavailableError, match=f"-> run again.* {setting}"):
            look()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_producer_is_slow_while_it_appends(
    database: Database, make_view: MakeView, offline: OfflineStore, limits: Any
) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"id": "a", "ts": at(1), "x": 1}
        until(lambda: database(SESSIONS) == [(0,)])

    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    for setting in limits(*IN_TRANSACTION):
        with pytest.raises(OfflineStoreUnavailableError, match=f"-> run again.* {setting}"):
            offline.append(make_view(), rows())
    assert database("SELECT count(*) FROM rows") == [(0,)]
