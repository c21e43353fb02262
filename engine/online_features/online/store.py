"""The online store: Redis, with the newest row of each entity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import redis

from online_features import arguments
from online_features.common.concurrency import run_with_timeout
from online_features.common.retry_budget import RetryBudget
from online_features.extras import needs_materialize
from online_features.feature_view import FeatureView
from online_features.online.read.consistency import Bounds
from online_features.online.read.freshness import Freshness
from online_features.online.read.freshness_check import CheckResult
from online_features.online.read.reader import FreshnessCheck, Reader
from online_features.online.read.rows import OnlineRows
from online_features.online.read.vectors import FeatureVectors
from online_features.online.redis.clients import check_client, client_of
from online_features.online.redis.conversation import hold, primaries
from online_features.online.redis.redis_failures import DRIVER_ERRORS, Client, translated
from online_features.online.redis.replication import Replication
from online_features.online.redis.turns import turn
from online_features.online.state import view_state as state
from online_features.online.state.known_views import KnownViews
from online_features.online.state.pushed_views import PushedViews
from online_features.online.write import erasure
from online_features.schema import RowSchema

if TYPE_CHECKING:
    from online_features.offline.store import OfflineStore
    from online_features.online.write.online_run import OnlineRun
    from online_features.online.write.push import PushResult
    from online_features.producers.given_rows import PushableRows


RETRY_PUSH_FOR = timedelta(seconds=10)  # a producer's caller may be waiting


class OnlineStore:
    """Writes feature views to Redis, guarded, and reads them back.

    :param client: connections, TLS, retries and time-outs are the client's, and so is closing it.
    :raises OnlineAccessError: when it is no client of redis-py, or one for asyncio.
    """

    def __init__(self, client: Client) -> None:
        check_client("OnlineStore", client, redis)
        self._client = client
        self._reader = Reader(KnownViews())
        self._pushed_views = PushedViews(client)

    @classmethod
    def from_url(cls, url: str) -> OnlineStore:
        """A store on a client of its own, which waits for connections and replies for a bounded time.

        :param url: ``redis://``, ``rediss://`` or ``unix://``, as ``redis.Redis.from_url`` takes it.
        :raises OnlineAccessError: when the URL, or an option in it, cannot be used.
        """
        return cls(client_of(url, redis))

    def get_online_features(
        self,
        view: FeatureView,
        entity_rows: Sequence[Mapping[str, Any]],
        features: Sequence[str] | None = None,
        *,
        min_watermark: datetime | None = None,
        max_staleness: timedelta | None = None,
    ) -> OnlineRows:
        """Read the rows of entities, in the order asked, in one round trip once the view is known.

        :param entity_rows: one mapping per entity, from join key to value; what else it holds is not looked at.
        :param features: names of features to read; ``None`` means those of the view, or all that its last run wrote.
        :param min_watermark: an aware datetime; everything in the source up to it must be online.
        :param max_staleness: the greatest lag, now minus watermark, that the caller can bear.
        :raises InvalidRowsError: when an entity lacks a join key or a value does not fit, or a feature is unknown.
        :raises StaleFeaturesError: when what is online is older than asked, or has no watermark.
        :raises OnlineDataError: when the state of a view in Redis is damaged; of a row, its status tells.
        """
        arguments.check(view=view, entity_rows=entity_rows)
        arguments.check_given(features=features)
        bounds = Bounds(min_watermark=min_watermark, max_staleness=max_staleness)
        with translated(self._client, view):
            return hold(self._client, self._reader.rows(view, entity_rows, features, bounds))

    def get_feature_vectors(
        self,
        views: Sequence[FeatureView],
        entity_rows: Sequence[Mapping[str, Any]],
        features: Mapping[str, Sequence[str]] | None = None,
        *,
        full_feature_names: bool = False,
        min_watermark: datetime | None = None,
        max_staleness: timedelta | None = None,
    ) -> FeatureVectors:
        """Read one feature vector per entity row from several views, in one round trip once the views are known.

        :param entity_rows: one mapping per vector, from join key to value, with the join keys of all views.
        :param features: name of a view to the names of its features to read; a view left out gives all of its.
        :param full_feature_names: whether features are called ``<view>__<feature>`` in the vector.
        :param min_watermark: an aware datetime; everything in the source of every view up to it must be online.
        :param max_staleness: the greatest lag, now minus watermark, of any of the views.
        :raises AmbiguousNameError: when two features, or two views, have the same name.
        :raises InvalidRowsError: when an entity lacks a join key or a value does not fit, or a feature is unknown.
        :raises StaleFeaturesError: when what is online of a view is older than asked, or has no watermark.
        :raises OnlineDataError: when the state of a view in Redis is damaged; of a row, its status tells.
        """
        arguments.check(views=views, entity_rows=entity_rows, full_feature_names=full_feature_names)
        bounds = Bounds(min_watermark=min_watermark, max_staleness=max_staleness)
        conversation = self._reader.vectors(views, entity_rows, features, bounds, full_names=full_feature_names)
        with translated(self._client, *views):
            return hold(self._client, conversation)

    def push(
        self,
        view: FeatureView,
        rows: PushableRows,
        *,
        offline: OfflineStore | None = None,
        retry_for: timedelta = RETRY_PUSH_FOR,
    ) -> PushResult:
        """Write rows without waiting for a materialization, under the same guard.

        Rows are written in batches, so any number of them may come from a generator. Before the first is written, all
        of the first batch has been validated. The view's newest event timestamp moves forward, its watermark does not.

        :param rows: a DataFrame; an Arrow table, record batch or reader; or an iterable of mappings, one per row.
            Columns are named as in the source: join keys, event timestamp, every feature; the created timestamp, where
            the view declares one, defaults to now.
        :param offline: also append the rows to the view's table there, before they go online; see
            :meth:`~online_features.OfflineStore.append`.
        :param retry_for: how long to try again when Redis is away; zero gives up at once.
        :raises InvalidRowsError: when columns are missing or unknown, or a value does not fit, naming it; nothing of
            its batch is written, and where earlier batches have been, the error says how many rows.
        :raises SourceError: with ``offline``, when its table does not fit.
        """
        # Imported here: a process that only reads needs no Arrow.
        with needs_materialize("to push"):
            from online_features.online.write.push import append_and_push, push_rows

        arguments.check(view=view)
        arguments.check_given(offline=offline)
        retry_budget = RetryBudget(retry_for)
        with translated(self._client, view), turn(self._client, writes=True):
            now = datetime.now(UTC)
            if offline is not None:
                return append_and_push(
                    self._client,
                    self._pushed_views,
                    view,
                    rows,
                    source=offline._source(view),
                    now=now,
                    retry_budget=retry_budget,
                )
            return push_rows(self._client, self._pushed_views, view, rows, now=now, retry_budget=retry_budget)

    def delete(self, view: FeatureView, entity_rows: Sequence[Mapping[str, Any]]) -> int:
        """Erase entities, and keep rows out that are no newer than this call.

        :param entity_rows: one mapping per entity, from join key to value.
        :returns: how many of them were there.
        :raises InvalidRowsError: when an entity lacks a join key or a value does not fit.
        """
        arguments.check(view=view, entity_rows=entity_rows)
        with translated(self._client, view), turn(self._client, writes=True):
            return erasure.erase(self._client, view, entity_rows, now=datetime.now(UTC))

    def freshness(self, view: FeatureView, now: datetime | None = None) -> Freshness:
        """How far the view lags in Redis.

        :param now: an aware datetime to measure against; ``None`` means the present.
        """
        arguments.check(view=view)
        with translated(self._client, view):
            return hold(self._client, self._reader.freshness(view, now))

    def check(self, check: FreshnessCheck) -> CheckResult:
        """Whether a view, or entities of it, are fresh enough.

        :raises InvalidRowsError: when an entity lacks a join key or a value does not fit.
        """
        arguments.check(check=check)
        with translated(self._client, check.view):
            return hold(self._client, self._reader.check(check, primaries(self._client)))

    def runs(self, view: FeatureView, limit: int = state.RUNS_SHOWN) -> list[dict[str, Any]]:
        """The view's last runs, newest first; see docs/keyspace.md for what is told of each.

        :param limit: how many at most; a week of them is kept, up to 2,000.
        """
        arguments.check(view=view, limit=limit)
        with translated(self._client, view), turn(self._client):
            return state.read_runs(self._client, view, limit)

    def state(self, view: FeatureView) -> state.ViewState:
        """What Redis records of the view beside its rows."""
        arguments.check(view=view)
        with translated(self._client, view), turn(self._client):
            return state.read_state(self._client, view)

    def record_failed_run(self, view: FeatureView, run: Mapping[str, Any]) -> None:
        """Record a run that failed before it could begin to write; Redis may be the one that failed."""
        # Imported here: a process that only reads needs no Arrow.
        from online_features.online.write.online_run import CLEANUP_SECONDS

        def record() -> None:
            with suppress(*DRIVER_ERRORS):
                state.abandon_run(self._client, view, run["run_id"], run=run)

        run_with_timeout(record, CLEANUP_SECONDS)

    @contextmanager
    def run(
        self,
        view: FeatureView,
        schema: RowSchema,
        run_id: str,
        *,
        failed: Callable[[BaseException], Mapping[str, Any]],
        retry_budget: RetryBudget,
        replication: Replication,
    ) -> Iterator[OnlineRun]:
        """A run that writes rows of the view; nothing of it counts before it is committed."""
        # Imported here: a process that only reads needs no Arrow.
        from online_features.online.write.online_run import OnlineRun

        run = OnlineRun(
            self._client, view, schema, run_id, failed=failed, retry_budget=retry_budget, replication=replication
        )
        with translated(self._client, view), turn(self._client, writes=True), run.writing():
            yield run
