"""An online store for all triggers of an Airflow connection, so that they use one or two connections to Redis."""

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
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
from online_features.online.read.store_reader import FreshnessCheck
from online_features.online.read.view_freshness_check import FreshnessResult, ViewStatus

from online_features_provider.hooks.online import OnlineStoreHook

GATHERING_SECONDS = 1.0  # checks within it share a round trip; sensors wait for minutes, so the delay does not matter
VIEWS_PER_ROUND_TRIP = 100  # their replies block the event loop for about 20 ms
REPLY_SECONDS = 60.0  # then Redis counts as hanging: it sends the statuses of a thousand views within one second


class SharedStore:
    """The store of one Airflow connection in one event loop. It sends one request at a time, on one connection.

    :param redis_conn_id: looked up when first needed, and again after a failure, since the user may have corrected it.
    """

    def __init__(self, redis_conn_id: str) -> None:
        self.users = 0
        self._redis_conn_id = redis_conn_id
        self._opened: AsyncOnlineStore | None = None
        self._turn = asyncio.Lock()
        self._requested: dict[str, tuple[FeatureView, asyncio.Future[ViewStatus | Exception]]] = {}
        self._reading: set[asyncio.Task[None]] = set()

    async def check(self, check: FreshnessCheck) -> FreshnessResult:
        """Run a check.

        :raises OnlineFeaturesError: when Redis cannot be reached, or refuses.
        """
        if isinstance(check, EntityFreshnessCheck):
            try:
                async with self._store() as store:
                    return await store.check(check)
            finally:
                _end_if_cancelled()
        status = await self._status(check.view)
        if isinstance(status, Exception):
            raise status
        return check.evaluate(status)

    async def aclose(self) -> None:
        """Cancel the requests under way, and close the connection."""
        reading = [*self._reading]
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        await self._close()

    async def _status(self, view: FeatureView) -> ViewStatus | Exception:
        if not self._requested:
            task = asyncio.create_task(self._read_requested())
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)
        future = asyncio.get_running_loop().create_future()
        _, future = self._requested.setdefault(keyspace.view_id(view), (view, future))
        # A cancelled trigger must not cancel the future of the others.
        return await asyncio.shield(future)

    async def _read_requested(self) -> None:
        """Read the statuses of all views that are requested within a second."""
        await asyncio.sleep(GATHERING_SECONDS)
        requested, self._requested = self._requested, {}
        for some in batched(requested.values(), VIEWS_PER_ROUND_TRIP):
            statuses = await self._statuses([view for view, _ in some])
            for (_, future), status in zip(some, statuses, strict=True):
                future.set_result(status)

    async def _statuses(self, views: Sequence[FeatureView]) -> Sequence[ViewStatus | Exception]:
        try:
            async with self._store() as store:
                statuses = await store._statuses(views)
                if any(isinstance(status, TransientError) for status in statuses):
                    await self._close()
                return statuses
        except Exception as error:  # noqa: BLE001 - raised by each trigger that waits
            return [error] * len(views)

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[AsyncOnlineStore]:
        """Yield the store to one caller at a time; close it if Redis cannot be reached or does not reply."""
        async with self._turn:
            try:
                async with asyncio.timeout(REPLY_SECONDS):
                    if self._opened is None:
                        self._opened = await OnlineStoreHook(redis_conn_id=self._redis_conn_id).aget_store()
                    yield self._opened
            except TimeoutError as error:
                await self._close()
                raise OnlineStoreUnavailableError(
                    f"Redis has not replied for {REPLY_SECONDS:.0f} seconds -> check its load, and the network"
                ) from error
            except TransientError:
                await self._close()
                raise

    async def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()


def _end_if_cancelled() -> None:
    """Raise a cancellation that was swallowed.

    redis-py sends with ``asyncio.wait_for``, which may swallow one before Python 3.12.

    :raises asyncio.CancelledError: when the task has been cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


# A triggerer has one event loop; tests have many.
_stores: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, type], SharedStore]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_store(redis_conn_id: str, kind: type[FreshnessCheck]) -> AsyncIterator[SharedStore]:
    """Yield the store that all triggers of a connection share; the last one closes it.

    :param kind: of check. Checks of many entities are slow, so checks of views have a store of their own.
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
