"""A build beside a Redis that is nearly full."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, OnlineStoreFullError, materialize
from online_features.embedded import HOST
from online_features.online.generations import removal

from demo.workplace import workplace
from tests.conftest import at
from tests.support.servers.redis_servers import Server, running

pytestmark = [pytest.mark.faults, pytest.mark.servers]

ROWS = 20_000
AT_ONCE = timedelta(0)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with workplace("memory") as folder, running(folder / "one") as server:
        yield server


@pytest.fixture
def online(server: Server) -> Iterator[OnlineStore]:
    with redis.Redis(host=HOST, port=server.port) as client:
        client.config_set("maxmemory", 0)
        client.flushall()
        yield OnlineStore(client)


@pytest.fixture
def view(database: Callable[..., Any], make_view: Callable[..., FeatureView]) -> FeatureView:
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    database(f"INSERT INTO rows SELECT 'n' || i, %s, i FROM generate_series(1, {ROWS}) i", at(0))
    return make_view(features=["x"])


def give(server: Server, room: float) -> None:
    """Limit the memory of the server to what it uses and so many bytes, a twentieth of all left free."""
    used = server.client.info("memory")["used_memory"]
    server.client.config_set("maxmemory", int((used + room) / 0.95))


def size_of(online: OnlineStore, view: FeatureView, generation: str) -> int:
    size = next(known.bytes for known in online.generations(view).generations if known.id == generation)
    assert size is not None
    return size


def test_a_build_that_does_not_fit_is_refused(
    server: Server, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    size = size_of(online, view, materialize(view, offline, online).generation)
    assert ROWS * 80 < size < ROWS * 500
    give(server, 0.5 * size)
    with pytest.raises(OnlineStoreFullError, match=r"needs about .* MiB .*in_place=True.*ignore_memory=True"):
        materialize(view, offline, online, full=True, retry_for=AT_ONCE)
    with pytest.raises(OnlineStoreFullError, match="the build was stopped"):
        materialize(view, offline, online, full=True, ignore_memory=True, batch_rows=500, retry_for=AT_ONCE)
    # A push finds room all the same.
    assert online.push(view, [{"id": "new", "ts": at(1), "x": 7}]).rows_written == 1
    result = materialize(view, offline, online, full=True, in_place=True)
    assert result.rows_written == ROWS


def test_what_there_is_to_go_back_to_makes_room(
    server: Server, offline: OfflineStore, online: OnlineStore, view: FeatureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize(view, offline, online)
    first = materialize(view, offline, online, full=True).generation
    second = materialize(view, offline, online, full=True).generation
    monkeypatch.setattr(removal, "READABLE_FOR", AT_ONCE)
    give(server, 0.5 * size_of(online, view, second))
    third = materialize(view, offline, online, full=True)
    assert third.is_published
    assert first not in {known.id for known in online.generations(view).generations if known.state != "retired"}
