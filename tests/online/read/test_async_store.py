"""What only the store on asyncio can get wrong; what it reads is held against the contract in ``test_reading``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import redis.asyncio
from online_features import AsyncOnlineStore, FeatureView, OnlineStore
from online_features.errors import OnlineStoreUnavailableError

from tests.conftest import at

MakeView = Callable[..., FeatureView]

READS = 50


@pytest.fixture
def view(make_view: MakeView, online: OnlineStore) -> FeatureView:
    view = make_view()
    online.push(view, [{"id": i, "ts": at(1), "x": i} for i in range(READS)])
    return view


async def x_of(store: AsyncOnlineStore, view: FeatureView, entity: int) -> int | None:
    rows = await store.get_online_features(view, [{"id": entity}])
    value: int | None = rows[0].values["x"]
    return value


def test_tasks_share_a_store(view: FeatureView, redis_url: str) -> None:
    async def read_at_once() -> list[int | None]:
        async with AsyncOnlineStore.from_url(redis_url) as store:
            return await asyncio.gather(*(x_of(store, view, i) for i in range(READS)))

    assert asyncio.run(read_at_once()) == list(range(READS))


def test_a_cancelled_read_leaves_no_reply_for_the_next(view: FeatureView, redis_url: str) -> None:
    async def cancel_in_the_middle() -> None:
        client = redis.asyncio.Redis.from_url(redis_url, max_connections=1)
        async with AsyncOnlineStore(client) as store:
            for i in range(READS):
                reading = asyncio.create_task(x_of(store, view, i))
                for _ in range(i % 10):
                    await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait([reading])
                assert await x_of(store, view, READS - 1 - i) == READS - 1 - i

    asyncio.run(cancel_in_the_middle())


def test_a_read_does_not_hold_up_the_loop(view: FeatureView, redis_url: str, client: redis.Redis) -> None:
    async def read_from_a_paused_server() -> int:
        async with AsyncOnlineStore.from_url(redis_url) as store:
            await x_of(store, view, 1)
            pause = redis.asyncio.Redis.from_url(redis_url)
            await pause.execute_command("CLIENT", "PAUSE", 2000, "ALL")
            reading, turns = asyncio.create_task(x_of(store, view, 1)), 0
            while not reading.done():
                await asyncio.sleep(0.01)
                turns += 1
            await pause.aclose()
            assert await reading == 1
            return turns

    assert asyncio.run(read_from_a_paused_server()) > 5


def test_a_redis_that_is_not_there_is_translated(view: FeatureView) -> None:
    async def read() -> None:
        async with AsyncOnlineStore.from_url("redis://127.0.0.1:1/0") as store:
            await store.freshness(view)

    with pytest.raises(OnlineStoreUnavailableError, match="'view', Redis: .* -> "):
        asyncio.run(read())
