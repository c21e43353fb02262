"""The online store for services on asyncio: it reads, and does not write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

import redis.asyncio

from online_features import arguments
from online_features.errors import OnlineFeaturesError
from online_features.feature_view import FeatureView
from online_features.online.read.consistency import Bounds
from online_features.online.read.freshness import Freshness
from online_features.online.read.freshness_check import CheckResult, Look, look_at
from online_features.online.read.reader import FreshnessCheck, Reader
from online_features.online.read.rows import OnlineRows
from online_features.online.read.vectors import FeatureVectors
from online_features.online.redis.clients import check_client, client_of, speaks_tls
from online_features.online.redis.conversation import hold_async, primaries_async
from online_features.online.redis.redis_failures import DRIVER_ERRORS, DriverError, named, translated, translation
from online_features.online.state.known_views import KnownViews


class AsyncOnlineStore:
    """Reads feature views from Redis, as :class:`~online_features.OnlineStore` does, but awaits it.

    :param client: connections, TLS, retries and time-outs are the client's.
    :raises OnlineAccessError: when it is not an asyncio client of redis-py.
    """

    def __init__(self, client: redis.asyncio.Redis | redis.asyncio.RedisCluster) -> None:
        check_client("AsyncOnlineStore", client, redis.asyncio)
        self._client = client
        self._reader = Reader(KnownViews())

    @classmethod
    def from_url(cls, url: str) -> AsyncOnlineStore:
        """A store on a client of its own; close it, or use the store in ``async with``.

        :param url: ``redis://``, ``rediss://`` or ``unix://``, as ``redis.asyncio.Redis.from_url`` takes it.
        :raises OnlineAccessError: when the URL, or an option in it, cannot be used.
        """
        return cls(client_of(url, redis.asyncio))

    async def aclose(self) -> None:
        """Close the client and its connections."""
        await self._client.aclose()

    async def __aenter__(self) -> AsyncOnlineStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def get_online_features(
        self,
        view: FeatureView,
        entity_rows: Sequence[Mapping[str, Any]],
        features: Sequence[str] | None = None,
        *,
        min_watermark: datetime | None = None,
        max_staleness: timedelta | None = None,
    ) -> OnlineRows:
        """Read the rows of entities; see :meth:`online_features.OnlineStore.get_online_features`."""
        arguments.check(view=view, entity_rows=entity_rows)
        arguments.check_given(features=features)
        bounds = Bounds(min_watermark=min_watermark, max_staleness=max_staleness)
        with translated(self._client, view):
            return await hold_async(self._client, self._reader.rows(view, entity_rows, features, bounds))

    async def get_feature_vectors(
        self,
        views: Sequence[FeatureView],
        entity_rows: Sequence[Mapping[str, Any]],
        features: Mapping[str, Sequence[str]] | None = None,
        *,
        full_feature_names: bool = False,
        min_watermark: datetime | None = None,
        max_staleness: timedelta | None = None,
    ) -> FeatureVectors:
        """Read feature vectors; see :meth:`online_features.OnlineStore.get_feature_vectors`."""
        arguments.check(views=views, entity_rows=entity_rows, full_feature_names=full_feature_names)
        bounds = Bounds(min_watermark=min_watermark, max_staleness=max_staleness)
        conversation = self._reader.vectors(views, entity_rows, features, bounds, full_names=full_feature_names)
        with translated(self._client, *views):
            return await hold_async(self._client, conversation)

    async def freshness(self, view: FeatureView, now: datetime | None = None) -> Freshness:
        """How far the view lags in Redis; see :meth:`online_features.OnlineStore.freshness`."""
        arguments.check(view=view)
        with translated(self._client, view):
            return await hold_async(self._client, self._reader.freshness(view, now))

    async def check(self, check: FreshnessCheck) -> CheckResult:
        """Whether a view, or entities of it, are fresh enough; see :meth:`online_features.OnlineStore.check`."""
        arguments.check(check=check)
        with translated(self._client, check.view):
            return await hold_async(self._client, self._reader.check(check, await primaries_async(self._client)))

    async def look_at(self, views: Sequence[FeatureView]) -> list[Look | OnlineFeaturesError]:
        """What :class:`.ViewFreshnessCheck` judges, for many views at once."""
        looks: Sequence[Look | OnlineFeaturesError | DriverError]
        try:
            looks = await hold_async(self._client, look_at(views, datetime.now(UTC)))
        except DRIVER_ERRORS as failure:
            looks = [failure] * len(views)
        tls = speaks_tls(self._client)
        return [
            translation(look, named(view), tls=tls) if isinstance(look, DRIVER_ERRORS) else look
            for view, look in zip(views, looks, strict=True)
        ]
