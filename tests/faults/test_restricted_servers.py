"""Servers that refuse what managed services, and proxies in front of servers, are known to refuse.

``docs/managed-services.md`` says which service refuses what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize, verify
from online_features.embedded import HOST
from online_features.errors import OnlineAccessError, TransientError
from online_features.feature_view import LAYOUTS
from sqlalchemy.engine import make_url

from tests.conftest import at
from tests.support.servers.answering_proxy import (
    Answer,
    AnsweringProxy,
    answering_proxy,
    failing_once,
    one_slot_only,
    without,
)  # fmt: skip
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.faults, pytest.mark.servers]

MakeView = Callable[..., FeatureView]

ROWS = 200
NO_RETRY = timedelta(0)
RETRY = timedelta(minutes=1)
WITH_GENERATIONS = [layout for layout in LAYOUTS if layout != "feast"]

# No service with scripts refuses more than these together. AUTH and HELLO are another matter: without a reply to
# them there is no connection.
REFUSED = ("CONFIG", "INFO", "WAIT", "MEMORY", "CLIENT", "SCRIPT", "ACL", "ROLE", "COMMAND", "KEYS", "DBSIZE")


@pytest.fixture
def view(database: Database, make_view: MakeView) -> FeatureView:
    database(
        f"CREATE TABLE rows AS SELECT 'e' || i AS id, timestamptz '{at(1)}' AS ts, i AS x "
        f"FROM generate_series(1, {ROWS}) i"
    )
    return make_view()


@pytest.fixture
def behind(redis_url: str) -> Callable[[Answer], object]:
    """Yields a store behind a proxy that answers so, and the proxy."""
    url = make_url(redis_url)

    @contextmanager
    def behind(answer: Answer) -> Iterator[tuple[OnlineStore, AnsweringProxy]]:
        with (
            answering_proxy(HOST, url.port or 6379, answer) as proxy,
            redis.Redis(host=HOST, port=proxy.port, db=int(url.database or 0)) as client,
        ):
            yield OnlineStore(client), proxy

    return behind


def values(online: OnlineStore, view: FeatureView, *names: str) -> list[object]:
    return [(row.values or {}).get("x") for row in online.get_online_features(view, [{"id": name} for name in names])]


def live(
    view: FeatureView, database: Database, offline: OfflineStore, online: OnlineStore, retry_for: timedelta
) -> None:
    """Do what a view's life has in store, and compare what readers see."""
    assert materialize(view, offline, online, retry_for=retry_for).rows_written == ROWS
    database("INSERT INTO rows VALUES ('e1', now(), -1)")
    assert materialize(view, offline, online, retry_for=retry_for).rows_written >= 1
    online.push(view, [{"id": "pushed", "ts": at(3), "x": 0}], retry_for=retry_for)
    online.delete(view, [{"id": "e2"}])
    assert values(online, view, "e1", "e2", "e3", "pushed") == [-1, None, 3, 0]
    assert online.freshness(view).watermark is not None
    assert [run["outcome"] for run in online.runs(view)] == ["success", "success"]
    if view.layout != "feast":
        database("UPDATE rows SET x = x * 10 WHERE id = 'e3'")
        materialize(view, offline, online, full=True, retry_for=retry_for)
        assert values(online, view, "e1", "e2", "e3", "pushed") == [-1, None, 30, 0]
        online.rollback([view])
        assert values(online, view, "e1", "e2", "e3", "pushed") == [-1, None, 3, 0]
        online.release([view])
        materialize(view, offline, online, full=True, retry_for=retry_for)


@pytest.mark.layouts
def test_all_works_on_a_server_that_tells_nothing_of_itself(
    view: FeatureView, database: Database, offline: OfflineStore, behind: Callable, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    with behind(without(*REFUSED)) as (online, proxy):
        live(view, database, offline, online, NO_RETRY)
        assert online.summary(f"{view.project}:{view.name}").last_run
        verify(view, offline, online).require()
    assert "does not report by INFO whether it evicts keys" in caplog.text
    assert {b"INFO", b"SCRIPT", b"MEMORY"} & proxy.commands.keys()


@pytest.mark.layouts
def test_a_server_that_fails_once_for_no_reason_is_asked_again(
    view: FeatureView, database: Database, offline: OfflineStore, behind: Callable, layout: str
) -> None:
    with behind(failing_once("-ERR internal error")) as (online, _):
        assert materialize(view, offline, online, retry_for=RETRY).rows_written == ROWS
        with pytest.raises(TransientError, match="internal error"):
            values(online, view, "e1")  # the command of readers, which the run has not sent
        online.push(view, [{"id": "e1", "ts": at(3), "x": 0}], retry_for=RETRY)
        assert values(online, view, "e1") == [0]


@pytest.mark.layouts
def test_without_scripts_readers_read_and_who_writes_is_told(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, behind: Callable
) -> None:
    materialize(view, offline, online)
    with behind(without("EVAL", "EVALSHA", "SCRIPT")) as (restricted, _):
        assert values(restricted, view, "e1", "e2") == [1, 2]
        assert restricted.freshness(view).watermark is not None
        verify(view, offline, restricted).require()
        for write in (
            lambda: materialize(view, offline, restricted, retry_for=NO_RETRY),
            lambda: restricted.push(view, [{"id": "e1", "ts": at(3), "x": 0}], retry_for=NO_RETRY),
            lambda: restricted.delete(view, [{"id": "e1"}]),
        ):
            with pytest.raises(OnlineAccessError, match=r"unknown command 'EVAL(SHA)?'.* -> the server does not know"):
                write()


@pytest.mark.layouts(*WITH_GENERATIONS)
def test_without_scan_all_works_but_a_build_that_has_to_look_for_pushed_rows(
    view: FeatureView, database: Database, offline: OfflineStore, behind: Callable
) -> None:
    with behind(without("SCAN")) as (online, _):
        materialize(view, offline, online, retry_for=NO_RETRY)
        database("UPDATE rows SET x = -x")
        materialize(view, offline, online, full=True, retry_for=NO_RETRY)
        database("INSERT INTO rows VALUES ('e1', now(), 0)")
        materialize(view, offline, online, retry_for=NO_RETRY)
        online.push(view, [{"id": "pushed", "ts": at(3), "x": 0}], retry_for=NO_RETRY)
        online.delete(view, [{"id": "e2"}])
        assert values(online, view, "e1", "e2", "e3", "pushed") == [0, None, -3, 0]
        with pytest.raises(OnlineAccessError, match="'SCAN'"):
            materialize(view, offline, online, full=True, retry_for=NO_RETRY)


@pytest.mark.layouts
def test_a_proxy_that_hides_the_nodes_of_a_cluster_is_named(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, behind: Callable
) -> None:
    materialize(view, offline, online)
    with behind(one_slot_only) as (restricted, _):
        assert values(restricted, view, "e1", "e2") == [1, 2]
        rows = [{"id": f"e{i}", "ts": at(3), "x": 0} for i in range(ROWS)]
        with pytest.raises(OnlineAccessError, match="same slot -> .*a proxy that hides the nodes"):
            restricted.push(view, rows, retry_for=NO_RETRY)
