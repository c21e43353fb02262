"""One online store for all triggers of a connection: however many wait, Redis sees a connection or two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from online_features.common.batches import batched
from online_features.errors import OnlineStoreUnavailableError, TransientError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.online.async_store import AsyncOnlineStore
from online_features.online.read.entity_check import EntityFreshnessCheck
from online_features.online.read.freshness_check import CheckResult, Look
from online_features.online.read.reader import FreshnessCheck

from online_features_provider.hooks.online import OnlineStoreHook

GATHERING_SECONDS = 1.0  # looks that are asked for within share a round trip; who waits for minutes does not mind
LOOKS_AT_ONCE = 100  # in a round trip: what follows from it holds up the loop for some 20 ms
ANSWER_SECONDS = 60.0  # after this, Redis hangs: a look at a thousand views takes less than one


class SharedStore:
    """The store of one Airflow connection, in one event loop; it asks one thing at a time, on one connection to Redis.

    :param redis_conn_id: looked up when first needed, and again after a failure: it may have been mended meanwhile.
    """

    def __init__(self, redis_conn_id: str) -> None:
        self.users = 0
        self._redis_conn_id = redis_conn_id
        self._opened: AsyncOnlineStore | None = None
        self._turn = asyncio.Lock()
        self._asked: dict[str, tuple[FeatureView, asyncio.Future[Look | Exception]]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def find(self, check: FreshnessCheck) -> CheckResult:
        """What the check finds.

        :raises OnlineFeaturesError: when Redis cannot be asked, or refuses.
        """
        if isinstance(check, EntityFreshnessCheck):
            try:
                async with self._store() as store:
                    return await store.check(check)
            finally:
                _end_if_cancelled()
        look = await self._look(check.view)
        if isinstance(look, Exception):
            raise look
        return check.judge(look)

    async def aclose(self) -> None:
        """Stop what is going on, and close the connection."""
        answering = [*self._answering]
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        await self._forget()

    async def _look(self, view: FeatureView) -> Look | Exception:
        if not self._asked:
            task = asyncio.create_task(self._answer())
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        asked = self._asked.setdefault(keyspace.view_id(view), (view, asyncio.get_running_loop().create_future()))
        # One who leaves must not take the answer away from the others.
        return await asyncio.shield(asked[1])

    async def _answer(self) -> None:
        """Look at all views that have been asked for by then."""
        await asyncio.sleep(GATHERING_SECONDS)
        asked, self._asked = self._asked, {}
        for some in batched(asked.values(), LOOKS_AT_ONCE):
            looks = await self._looks([view for view, _ in some])
            for (_, future), look in zip(some, looks, strict=True):
                future.set_result(look)

    async def _looks(self, views: Sequence[FeatureView]) -> Sequence[Look | Exception]:
        try:
            async with self._store() as store:
                looks = await store.look_at(views)
                if any(isinstance(look, TransientError) for look in looks):
                    await self._forget()
                return looks
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who wait
            return [error] * len(views)

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[AsyncOnlineStore]:
        """The store, for one who asks; it is forgotten when Redis does not answer."""
        async with self._turn:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    if self._opened is None:
                        self._opened = await OnlineStoreHook(redis_conn_id=self._redis_conn_id).aget_store()
                    yield self._opened
            except TimeoutError as error:
                await self._forget()
                raise OnlineStoreUnavailableError(
                    f"Redis has not answered for {ANSWER_SECONDS:.0f} seconds -> look at its load, and at the network"
                ) from error
            except TransientError:
                await self._forget()
                raise

    async def _forget(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()


def _end_if_cancelled() -> None:
    """Raise a cancellation that was swallowed.

    Redis-py sends by ``asyncio.wait_for``, which may do so before Python 3.12.

    :raises asyncio.CancelledError: when the task has been cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


# A triggerer has one event loop; tests have many.
_stores: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, type], SharedStore]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_store(redis_conn_id: str, kind: type[FreshnessCheck]) -> AsyncIterator[SharedStore]:
    """The store that all triggers of the connection share for a kind of check; the last one closes it.

    Entities may be many, and whoever asks for views does not wait for them.
    """
    stores = _stores.setdefault(asyncio.get_running_loop(), {})
    store = stores.setdefault((redis_conn_id, kind), SharedStore(redis_conn_id))
    store.users += 1
    try:
        yield store
    finally:
        store.users -= 1
        if not store.users:
            del stores[redis_conn_id, kind]
            await store.aclose()
