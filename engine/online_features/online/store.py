"""The online store: Redis, with the newest row of each entity."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from online_features import arguments
from online_features.common.retry_budget import RetryBudget
from online_features.extras import needs_materialize
from online_features.feature_view import FeatureView
from online_features.online.generations import switching
from online_features.online.generations.generation_list import GenerationList, read_generations
from online_features.online.generations.leases import closing
from online_features.online.generations.part_ledger import PartLedger
from online_features.online.generations.pointer import read_published
from online_features.online.generations.push_states import PushStates
from online_features.online.generations.removal import drop
from online_features.online.generations.runs import RUNS_SHOWN, identities, read_runs
from online_features.online.generations.view_state import ViewState, read_state
from online_features.online.read.feature_vectors import FeatureVectors
from online_features.online.read.freshness import Freshness, FreshnessBounds
from online_features.online.read.online_rows import OnlineRows
from online_features.online.read.overview.stored_view import StoredView
from online_features.online.read.overview.view_summary import ViewSummary
from online_features.online.read.store_reader import FreshnessCheck, StoreReader
from online_features.online.read.stored_rows import StoredRowReader
from online_features.online.read.view_freshness_check import FreshnessResult
from online_features.online.redis import deployment_of
from online_features.online.redis.client_copies import ClientCopy, copy_of
from online_features.online.redis.clients import check_client, client_of
from online_features.online.redis.conversation import hold
from online_features.online.redis.redis_failures import DRIVER_ERRORS, Client, named, translated, translation
from online_features.online.redis.replication import Replication
from online_features.online.redis.turns import turn
from online_features.online.write import erasure
from online_features.schema import RowSchema
from online_features.statistics.view_statistics import ViewStatistics

if TYPE_CHECKING:
    from redis import CredentialProvider

    from online_features.offline.store import OfflineStore
    from online_features.online.generations.switching import Publication
    from online_features.online.redis.servers import Server
    from online_features.online.write.generation_writer import GenerationWriter
    from online_features.online.write.online_run import OnlineRun
    from online_features.online.write.push import PushResult
    from online_features.online.write.write_grant import WriteGrant
    from online_features.producers.given_rows import PushableRows


RETRY_PUSH_FOR = timedelta(seconds=10)  # the producer's own caller may be waiting
COMMAND = ("dag_id", "run_id", "task_id", "map_index")  # of a task, all of whose tries are one command


class OnlineStore:
    """Write feature views to Redis, and read them.

    :param client: a client of redis-py. It defines connections, TLS, retries and time-outs; the caller closes it.
    :param pointer_max_age: how old may be what the store knows of published generations, the types of their rows and
        watermarks, which in a cluster one node answers for all views of a project; at most five minutes. Reads then see
        a switch that much later, still in all views of a call at once. Where freshness is asked for, they may ask anew.
    :raises OnlineAccessError: when it is not a client of redis-py, or one for asyncio.
    """

    def __init__(self, client: Client, *, pointer_max_age: timedelta = timedelta(0)) -> None:
        check_client(client)
        self._client = client
        self._deployment = deployment_of(client)
        self._reader = StoreReader(pointer_max_age)
        self._push_states = PushStates(self._deployment)
        self._pointer_max_age = pointer_max_age

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the store for another process, with what its client was made of, passwords included."""
        with translated(self._client):
            return _copied_store, (copy_of(self._client), self._pointer_max_age)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        credential_provider: CredentialProvider | None = None,
        pointer_max_age: timedelta = timedelta(0),
    ) -> OnlineStore:
        """Make a store with a client of its own, which bounds its time-outs and connections.

        :param url: ``redis://``, ``rediss://`` or ``unix://``, as for ``redis.Redis.from_url``.
        :param credential_provider: of redis-py. It is asked for user and password at each login, for tokens that
            expire; the URL then has neither.
        :param pointer_max_age: see :class:`OnlineStore`.
        :raises OnlineAccessError: when the URL, an option in it, or the provider cannot be used.
        """
        return cls(client_of(url, credential_provider), pointer_max_age=pointer_max_age)

    def get_online_features(
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
        """Read the rows of entities, in their order.

        It takes one round trip; three the first time, and after the view was switched to another generation.

        :param entity_rows: one mapping per entity, from join key to value; other items are ignored.
        :param features: names of features to read; ``None`` reads those of the view, or all that its last run wrote.
        :param min_watermark: an aware datetime; everything in the source up to it must be online.
        :param max_staleness: the greatest lag, now minus watermark.
        :param at_generation: the generation to read; by default the published one.
        :param numpy_arrays: whether arrays of numbers come as NumPy arrays, read-only and in their own width, not as
            lists.
        :raises InvalidRowsError: when an entity lacks a join key or a value does not fit, or a feature is unknown.
        :raises StaleFeaturesError: when the view is older than the bounds, or has no watermark.
        :raises OnlineDataError: when the state of a view in Redis is damaged; a damaged row has status ``unreadable``.
        """
        bounds = FreshnessBounds(min_watermark=min_watermark, max_staleness=max_staleness)
        reading = self._reader.rows(view, entity_rows, features, bounds, at_generation, numpy_arrays=numpy_arrays)
        with translated(self._client, view):
            return hold(self._deployment, reading)

    def get_feature_vectors(
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
        """Read one feature vector per entity row from several views.

        It takes one round trip; three the first time, and after a view was switched to another generation.

        :param entity_rows: one mapping per vector, from join key to value, with the join keys of all views.
        :param features: name of a view to the names of its features to read; of other views, all features are read.
        :param full_feature_names: whether to name features ``<view>__<feature>`` in the vector.
        :param min_watermark: an aware datetime; everything in the source of every view up to it must be online.
        :param max_staleness: the greatest lag, now minus watermark, of any of the views.
        :param at_generation: name of a view to the generation to read; of other views, the published one is read.
        :param numpy_arrays: as for :meth:`get_online_features`.
        :raises AmbiguousNameError: when two features, or two views, have the same name.
        :raises InvalidRowsError: when an entity lacks a join key or a value does not fit, or a feature is unknown.
        :raises StaleFeaturesError: when a view is older than the bounds, or has no watermark.
        :raises OnlineDataError: when the state of a view in Redis is damaged; a damaged row has status ``unreadable``.
        """
        bounds = FreshnessBounds(min_watermark=min_watermark, max_staleness=max_staleness)
        reading = self._reader.vectors(
            views, entity_rows, features, bounds, at_generation,
            full_feature_names=full_feature_names, numpy_arrays=numpy_arrays,
        )  # fmt: skip
        with translated(self._client, *views):
            return hold(self._deployment, reading)

    def push(
        self,
        view: FeatureView,
        rows: PushableRows,
        *,
        offline: OfflineStore | None = None,
        retry_for: timedelta = RETRY_PUSH_FOR,
    ) -> PushResult:
        """Write rows directly; as in a materialization, a row never replaces a newer one.

        Rows are validated and written in batches, so a generator may yield any number of them. The view's newest event
        timestamp moves forward, its watermark does not.

        :param rows: a DataFrame; an Arrow table, record batch or reader; or an iterable of mappings, one per row.
            Columns are named as in the source: join keys, event timestamp, every feature. The created timestamp, if the
            view declares one, defaults to now.
        :param offline: also append the rows to the view's table there, before they go online; see
            :meth:`~online_features.OfflineStore.append`.
        :param retry_for: how long to retry when Redis cannot be reached; zero does not retry.
        :raises InvalidRowsError: when columns are missing or unknown, or a value does not fit. Nothing of that batch is
            written; the error says how many rows of earlier batches are.
        :raises SourceError: with ``offline``, when its table does not fit the rows.
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
                    self._deployment, self._push_states, view, rows,
                    source=offline._source(view), now=now, retry_budget=retry_budget,
                )  # fmt: skip
            return push_rows(self._deployment, self._push_states, view, rows, now=now, retry_budget=retry_budget)

    def delete(self, view: FeatureView, entity_rows: Sequence[Mapping[str, Any]]) -> int:
        """Erase entities; rows with an event timestamp up to now cannot bring them back.

        :param entity_rows: one mapping per entity, from join key to value.
        :returns: how many of them were online.
        :raises InvalidRowsError: when an entity lacks a join key or a value does not fit.
        """
        arguments.check(view=view, entity_rows=entity_rows)
        with translated(self._client, view), turn(self._client, writes=True):
            return erasure.erase(self._deployment, view, entity_rows, now=datetime.now(UTC))

    def unerase(self, view: FeatureView, entity_rows: Sequence[Mapping[str, Any]]) -> int:
        """Take erasures of entities back; the next full run, or a push, brings their rows online again.

        :param entity_rows: one mapping per entity, from join key to value.
        :returns: how many of them were erased.
        :raises InvalidRowsError: when an entity lacks a join key or a value does not fit.
        """
        arguments.check(view=view, entity_rows=entity_rows)
        with translated(self._client, view), turn(self._client, writes=True):
            return erasure.unerase(self._deployment, view, entity_rows)

    def publish(
        self,
        views: Sequence[FeatureView],
        *,
        generations: Mapping[str, str] | None = None,
        ignore_missed: bool = False,
        ignore_checks: bool = False,
        origin: Mapping[str, str | int] | None = None,
    ) -> dict[str, str]:
        """Let readers see a generation of each view, all of them in one step, and end what holds the views.

        :param views: of one project.
        :param generations: name of a view to the generation to publish, which may be one from before; else the newest
            build that is ready and was never rolled back from.
        :param ignore_missed: publish also a generation that lacks pushed rows, which its definition did not allow.
        :param ignore_checks: publish also a build that has failed checks of its view.
        :param origin: who publishes, for the list of generations.
        :returns: name of each view to its published generation.
        :raises PublishError: naming a view and why its generation may not be published; then none is.
        """
        arguments.check(views=views, ignore_missed=ignore_missed, ignore_checks=ignore_checks)
        arguments.check_given(generations=generations, origin=origin)
        published = self._publish(
            views, generations=generations or {}, by_run=False, ignore_missed=ignore_missed,
            ignore_checks=ignore_checks, origin=origin,
        )  # fmt: skip
        published.require()
        return dict(published.generations)

    def rollback(
        self,
        views: Sequence[FeatureView],
        *,
        ignore_missed: bool = False,
        origin: Mapping[str, str | int] | None = None,
    ) -> dict[str, str]:
        """Let readers see what was published before in each view, all in one step, and hold the views.

        While a view is held, runs build but do not publish, and increments are skipped. Pushes and erasures go on.

        :param views: of one project.
        :param ignore_missed: go back also to a generation that lacks pushed rows, which its definition did not allow.
        :param origin: who rolls back, for the list of generations. A task of Airflow that is tried again, which its
            ``dag_id``, ``run_id``, ``task_id`` and ``map_index`` tell, does not go back twice while the views are held.
        :returns: name of each view to its published generation.
        :raises RollbackError: naming a view and why it cannot go back; then none does.
        """
        arguments.check(views=views, ignore_missed=ignore_missed)
        arguments.check_given(origin=origin)
        with translated(self._client, *views), turn(self._client, writes=True):
            return switching.rollback(
                self._deployment, views, by=_command(origin), ignore_missed=ignore_missed,
                servers=self._servers(views), origin=origin,
            )  # fmt: skip

    def release(self, views: Sequence[FeatureView]) -> None:
        """End what holds the views after a rollback; the next run of each is a full one.

        :param views: of one project.
        """
        arguments.check(views=views)
        with translated(self._client, *views), turn(self._client, writes=True):
            switching.release(self._deployment, views)

    def generations(self, view: FeatureView) -> GenerationList:
        """Read the generations of a view that Redis holds."""
        arguments.check(view=view)
        with translated(self._client, view), turn(self._client):
            return read_generations(self._deployment, view)

    def drop(self, view: FeatureView, *, with_erasures: bool = False) -> int:
        """Remove a view: its rows in all generations, and all that Redis keeps of it.

        Erased entities stay recorded, so that they stay out if the view is built again.

        :param with_erasures: whether to remove the record of erased entities, too.
        :returns: how many rows and tombstones were removed.
        :raises BuildInProgressError: when a run is building a generation of the view.
        """
        arguments.check(view=view, with_erasures=with_erasures)
        with translated(self._client, view), turn(self._client, writes=True):
            return drop(self._deployment, view, with_erasures=with_erasures)

    def freshness(self, view: FeatureView, now: datetime | None = None) -> Freshness:
        """Read how far the view lags.

        :param now: an aware datetime to measure against; by default the present.
        """
        reading = self._reader.freshness(view, now)
        with translated(self._client, view):
            return hold(self._deployment, reading)

    def statistics(self, view: FeatureView, generation: str | None = None) -> ViewStatistics | None:
        """Read what the build of a generation has measured of its rows; ``None`` if there is nothing.

        :param generation: the published one by default.
        """
        reading = self._reader.statistics(view, generation)
        with translated(self._client, view):
            return hold(self._deployment, reading)

    def overview(self) -> list[ViewSummary]:
        """Read how all feature views are that this Redis holds, by project and name."""
        with translated(self._client):
            return hold(self._deployment, self._reader.overview())

    def summary(self, name: str) -> ViewSummary:
        """Read how a feature view is.

        :param name: ``"view"``, if there is one project with such a view, or ``"project:view"``.
        :raises UnknownViewError: when there is none, or more than one.
        """
        with translated(self._client):
            return hold(self._deployment, self._reader.summary(name))

    def stored_view(self, name: str) -> StoredView:
        """Read the definition of a feature view, as Redis has recorded it.

        :param name: ``"view"``, if there is one project with such a view, or ``"project:view"``.
        :raises UnknownViewError: when there is none, or more than one.
        :raises OnlineDataError: when nothing of the view is online, or its state is damaged.
        """
        with translated(self._client):
            return hold(self._deployment, self._reader.stored_view(name))

    def check(self, check: FreshnessCheck) -> FreshnessResult:
        """Check whether a view, or entities of it, are fresh enough.

        :raises InvalidRowsError: when an entity lacks a join key or a value does not fit.
        """
        arguments.check(check=check)
        with translated(self._client, check.view):
            return hold(self._deployment, self._reader.check(check, self._deployment.primaries))

    def runs(self, view: FeatureView, limit: int = RUNS_SHOWN) -> list[dict[str, Any]]:
        """Read the records of the view's last runs, newest first; docs/keyspace.md lists their fields.

        :param limit: how many runs at most; Redis keeps those of a week, up to 2,000.
        """
        arguments.check(view=view, limit=limit)
        with translated(self._client, view), turn(self._client):
            return read_runs(self._deployment, view, limit)

    def state(self, view: FeatureView) -> ViewState:
        """Read the state of the published generation that Redis keeps beside its rows."""
        arguments.check(view=view)
        with translated(self._client, view), turn(self._client):
            return read_state(self._deployment, view, read_published(self._deployment, view).generation)

    def _publish(
        self,
        views: Sequence[FeatureView],
        *,
        generations: Mapping[str, str],
        by_run: bool,
        ignore_missed: bool,
        ignore_checks: bool,
        origin: Mapping[str, str | int] | None,
    ) -> Publication:
        """Publish generations, unless a build is behind; see :func:`.switching.publish`."""
        with translated(self._client, *views), turn(self._client, writes=True):
            return switching.publish(
                self._deployment, views, generations=generations, by_run=by_run, ignore_missed=ignore_missed,
                ignore_checks=ignore_checks, servers=self._servers(views), origin=origin,
            )  # fmt: skip

    @contextmanager
    def _stored_rows(self, view: FeatureView) -> Iterator[StoredRowReader]:
        """Yield access to the rows of a view as Redis holds them."""
        with translated(self._client, view):
            yield StoredRowReader(self._deployment, view)

    def _servers(self, views: Sequence[FeatureView]) -> str | None:
        """Return the servers that hold rows now; ``None`` where the state of a view is lost together with its rows."""
        if self._deployment.state_is_beside_rows:
            return None
        replication = Replication(what=f"feature view {views[0].name!r}")
        with self._deployment.session(RetryBudget(timedelta(0)), replication) as session:
            return identities(session.steadily(session.servers))

    @contextmanager
    def _closing(self, view: FeatureView) -> Iterator[None]:
        """Let increments wait while a build catches up for the last time."""
        with translated(self._client, view), closing(self._deployment, view, uuid.uuid4().hex):
            yield

    @contextmanager
    def _granted_writer(
        self, view: FeatureView, schema: RowSchema, grant: WriteGrant, retry_budget: RetryBudget
    ) -> Iterator[GenerationWriter]:
        """Yield what writes rows of a run that another process has begun; see :func:`.granted_writer`."""
        # Imported here: a process that only reads needs no Arrow.
        from online_features.online.write.online_run import granted_writer

        with (
            translated(self._client, view),
            turn(self._client, writes=True),
            granted_writer(self._deployment, view, schema, grant, retry_budget) as writer,
        ):
            yield writer

    @contextmanager
    def _part_ledger(self, view: FeatureView, generation: str) -> Iterator[PartLedger]:
        """Yield the plan and the reports of a build in parts."""
        with translated(self._client, view), turn(self._client, writes=True):
            yield PartLedger(self._deployment, view, generation)

    def _record_failed_run(self, view: FeatureView, run: Mapping[str, Any]) -> None:
        """Record a run that failed before it began to write."""
        # Imported here: a process that only reads needs no Arrow.
        from online_features.online.write.online_run import record_failure

        record_failure(self._deployment, view, run)

    @contextmanager
    def _run(
        self,
        view: FeatureView,
        schema: RowSchema,
        run_id: str,
        *,
        failed: Callable[[BaseException], Mapping[str, Any]],
        retry_budget: RetryBudget,
        replication: Replication,
        begun_on: frozenset[Server] | None = None,
    ) -> Iterator[OnlineRun]:
        """Yield a run that writes rows of the view; only :meth:`.GenerationWriter.commit` makes them count.

        :param begun_on: see :meth:`.OnlineRun.open`.
        """
        # Imported here: a process that only reads needs no Arrow.
        from online_features.online.write.online_run import OnlineRun

        run = OnlineRun(
            self._deployment, view, schema, run_id,
            failed=failed, retry_budget=retry_budget, replication=replication,
        )  # fmt: skip
        with translated(self._client, view), turn(self._client, writes=True), run.open(begun_on):
            yield run


def _copied_store(client: ClientCopy, pointer_max_age: timedelta) -> OnlineStore:
    try:
        return OnlineStore(client.client(), pointer_max_age=pointer_max_age)
    except DRIVER_ERRORS as failure:  # a client of a cluster connects at once
        raise translation(failure, named()) from failure


def _command(origin: Mapping[str, str | int] | None) -> str | None:
    """Return what names the command of a task, in all its tries; ``None`` if it does not come from a task."""
    if origin is None or not origin.keys() >= set(COMMAND):
        return None
    return json.dumps([origin[name] for name in COMMAND])
