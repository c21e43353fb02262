"""The online store for asyncio. It only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from online_features import arguments
from online_features.errors import OnlineFeaturesError
from online_features.feature_view import FeatureView
from online_features.online.read.feature_vectors import FeatureVectors
from online_features.online.read.freshness import Freshness, FreshnessBounds
from online_features.online.read.online_rows import OnlineRows
from online_features.online.read.overview.stored_view import StoredView
from online_features.online.read.overview.view_summary import ViewSummary
from online_features.online.read.store_reader import FreshnessCheck, StoreReader
from online_features.online.read.view_freshness_check import FreshnessResult, ViewStatus, read_statuses
from online_features.online.redis import async_deployment_of
from online_features.online.redis.clients import async_client_of, check_async_client, uses_tls
from online_features.online.redis.conversation import hold_async
from online_features.online.redis.redis_failures import (
    DRIVER_ERRORS,
    AsyncClient,
    DriverError,
    named,
    translated,
    translation,
)
from online_features.statistics.view_statistics import ViewStatistics

if TYPE_CHECKING:
    from redis import CredentialProvider


class AsyncOnlineStore:
    """Read feature views from Redis; :class:`~online_features.OnlineStore` for asyncio.

    :param client: an asyncio client of redis-py. It defines connections, TLS, retries and time-outs.
    :param pointer_max_age: see :class:`~online_features.OnlineStore`.
    :raises OnlineAccessError: when it is not an asyncio client of redis-py.
    """

    def __init__(self, client: AsyncClient, *, pointer_max_age: timedelta = timedelta(0)) -> None:
        check_async_client(client)
        self._client = client
        self._deployment = async_deployment_of(client)
        self._reader = StoreReader(pointer_max_age)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        credential_provider: CredentialProvider | None = None,
        pointer_max_age: timedelta = timedelta(0),
    ) -> AsyncOnlineStore:
        """Make a store with a client of its own; use it in ``async with``, or close it.

        :param url: ``redis://``, ``rediss://`` or ``unix://``, as for ``redis.asyncio.Redis.from_url``.
        :param credential_provider: see :meth:`online_features.OnlineStore.from_url`. If it has no
            ``get_credentials_async`` of its own, it is asked in a thread.
        :param pointer_max_age: see :class:`AsyncOnlineStore`.
        :raises OnlineAccessError: when the URL, an option in it, or the provider cannot be used.
        """
        return cls(async_client_of(url, credential_provider), pointer_max_age=pointer_max_age)

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
        at_generation: str | None = None,
        numpy_arrays: bool = False,
    ) -> OnlineRows:
        """Read the rows of entities; see :meth:`online_features.OnlineStore.get_online_features`."""
        bounds = FreshnessBounds(min_watermark=min_watermark, max_staleness=max_staleness)
        reading = self._reader.rows(view, entity_rows, features, bounds, at_generation, numpy_arrays=numpy_arrays)
        with translated(self._client, view):
            return await hold_async(self._deployment, reading)

    async def get_feature_vectors(
        self,
        views: Sequence[FeatureView],
        entity_rows: Sequence[Mapping[str, Any]],
        features: Mapping[str, Sequence[str]] | None = None,
        *,
        full_feature_names: bool = False,
        min_watermark: datetime | None = None,
        max_staleness: timedelta | None = None,
        at_generation: Mapping[str, str] | None = None,
        numpy_arrays: bool = False,
    ) -> FeatureVectors:
        """Read feature vectors; see :meth:`online_features.OnlineStore.get_feature_vectors`."""
        bounds = FreshnessBounds(min_watermark=min_watermark, max_staleness=max_staleness)
        reading = self._reader.vectors(
            views, entity_rows, features, bounds, at_generation,
            full_feature_names=full_feature_names, numpy_arrays=numpy_arrays,
        )  # fmt: skip
        with translated(self._client, *views):
            return await hold_async(self._deployment, reading)

    async def freshness(self, view: FeatureView, now: datetime | None = None) -> Freshness:
        """Read how far the view lags; see :meth:`online_features.OnlineStore.freshness`."""
        reading = self._reader.freshness(view, now)
        with translated(self._client, view):
            return await hold_async(self._deployment, reading)

    async def statistics(self, view: FeatureView, generation: str | None = None) -> ViewStatistics | None:
        """Read the statistics of a generation; see :meth:`online_features.OnlineStore.statistics`."""
        reading = self._reader.statistics(view, generation)
        with translated(self._client, view):
            return await hold_async(self._deployment, reading)

    async def overview(self) -> list[ViewSummary]:
        """Read how all feature views are; see :meth:`online_features.OnlineStore.overview`."""
        with translated(self._client):
            return await hold_async(self._deployment, self._reader.overview())

    async def summary(self, name: str) -> ViewSummary:
        """Read how a feature view is; see :meth:`online_features.OnlineStore.summary`."""
        with translated(self._client):
            return await hold_async(self._deployment, self._reader.summary(name))

    async def stored_view(self, name: str) -> StoredView:
        """Read the definition of a feature view; see :meth:`online_features.OnlineStore.stored_view`."""
        with translated(self._client):
            return await hold_async(self._deployment, self._reader.stored_view(name))

    async def check(self, check: FreshnessCheck) -> FreshnessResult:
        """Check whether a view, or entities of it, are fresh enough; see :meth:`online_features.OnlineStore.check`."""
        arguments.check(check=check)
        with translated(self._client, check.view):
            return await hold_async(self._deployment, self._reader.check(check, await self._deployment.primaries()))

    async def _statuses(self, views: Sequence[FeatureView]) -> list[ViewStatus | OnlineFeaturesError]:
        """Read what :class:`.ViewFreshnessCheck` evaluates, for many views in one round trip.

        :returns: in the order of the views, with an error in place of each view that has failed.
        """
        statuses: Sequence[ViewStatus | OnlineFeaturesError | DriverError]
        try:
            statuses = await hold_async(self._deployment, read_statuses(views, datetime.now(UTC)))
        except DRIVER_ERRORS as failure:
            statuses = [failure] * len(views)
        tls = uses_tls(self._client)
        return [
            translation(status, named(view), tls=tls) if isinstance(status, DRIVER_ERRORS) else status
            for view, status in zip(views, statuses, strict=True)
        ]
