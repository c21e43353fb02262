"""Scripts run behind a proxy that sends each call to another server, which has a script cache of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.embedded import HOST
from online_features.online.redis import _call_pipeline as call_pipeline
from online_features.online.redis import row_calls
from sqlalchemy.engine import make_url

from tests.conftest import at
from tests.support.servers.answering_proxy import AnsweringProxy, answering_proxy, unknown_scripts
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]

ROWS = 200
NO_RETRY = timedelta(0)

pytestmark = [pytest.mark.layouts, pytest.mark.servers]


@pytest.fixture
def proxy(redis_url: str) -> Iterator[AnsweringProxy]:
    with answering_proxy(HOST, make_url(redis_url).port or 6379, unknown_scripts) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy: AnsweringProxy, redis_url: str) -> Iterator[OnlineStore]:
    with redis.Redis(host=HOST, port=proxy.port, db=int(make_url(redis_url).database or 0)) as client:
        yield OnlineStore(client)


@pytest.fixture(autouse=True)
def many_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several packets for a batch, so that two are in flight when the first reply arrives."""
    monkeypatch.setattr(row_calls, "ROWS_PER_CALL", 8)
    monkeypatch.setattr(call_pipeline, "CALLS_PER_PACKET", 3)


@pytest.fixture
def view(database: Database, make_view: MakeView) -> FeatureView:
    database(
        f"CREATE TABLE rows AS SELECT 'e' || i AS id, timestamptz '{at(1)}' AS ts, i AS x "
        f"FROM generate_series(1, {ROWS}) i"
    )
    return make_view()


def values(online: OnlineStore, view: FeatureView) -> list[object]:
    rows = online.get_online_features(view, [{"id": f"e{i}"} for i in range(1, ROWS + 2)])
    return [(row.values or {}).get("x") for row in rows]


def test_runs_pushes_and_erasures_go_on_where_no_call_finds_its_script(
    proxy: AnsweringProxy, behind: OnlineStore, view: FeatureView, database: Database, offline: OfflineStore
) -> None:
    result = materialize(view, offline, behind, retry_for=NO_RETRY)
    assert (result.rows_read, result.rows_written) == (ROWS, ROWS)
    newer = ROWS // 2
    database("UPDATE rows SET ts = CASE WHEN x > %s THEN %s ELSE %s END, x = -x", newer, at(2), at(0))
    result = materialize(view, offline, behind, full=True, in_place=True, retry_for=NO_RETRY)
    assert (result.rows_written, result.rows_stale) == (ROWS - newer, newer)
    behind.push(view, [{"id": "e1", "ts": at(3), "x": 0}, {"id": f"e{ROWS + 1}", "ts": at(3), "x": 0}])
    behind.delete(view, [{"id": "e2"}])
    database("DELETE FROM rows WHERE x = -3")
    pruned = materialize(view, offline, behind, full=True, in_place=True, prune=True, retry_for=NO_RETRY)
    assert pruned.entities_pruned == 2
    expected = [0, None, None, *(x if x <= newer else -x for x in range(4, ROWS + 1)), None]
    assert values(behind, view) == expected
    assert proxy.commands[b"EVALSHA"] > ROWS // 8
