"""A run that writes one feature view: rows in, acknowledgements counted, and at the end the watermark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from online_features.common.concurrency import run_with_timeout
from online_features.common.retry_budget import RetryBudget
from online_features.counters import RowCounts
from online_features.feature_view import FeatureView
from online_features.layouts.layout_registry import layout_of
from online_features.online.generations.runs import RunClaims, abandon_run, begin_run, commit_run, identities
from online_features.online.generations.view_state import ViewState, features_online, forget_definition, record_schema
from online_features.online.redis.deployment import Deployment
from online_features.online.redis.redis_failures import DRIVER_ERRORS, named, translation
from online_features.online.redis.replication import Replication
from online_features.online.redis.servers import check_evictions, evicts, rows_evicted_since, warn_of_eviction
from online_features.online.write._row_writer import RowWriter
from online_features.online.write.erasure import Lookup, drop_view_data, prune
from online_features.schema import RowSchema

if TYPE_CHECKING:
    from online_features.layouts.encoder import EncodedRows

# How long a run that a signal or a time-out ends waits for Redis to record it; the run's marker expires by itself.
CLEANUP_SECONDS = 5.0


class OnlineRun:
    """One run's writes to one generation. Encoding does no I/O, so another thread may encode while this one writes.

    :param generation: to write to.
    :param failed: makes the record of a run that an error has ended, for the run history.
    :param retry_budget: of all that the run tries again.
    :param replication: what has to be copied before the run counts.
    """

    def __init__(
        self,
        deployment: Deployment,
        view: FeatureView,
        generation: str,
        schema: RowSchema,
        run_id: str,
        *,
        failed: Callable[[BaseException], Mapping[str, Any]],
        retry_budget: RetryBudget,
        replication: Replication,
    ) -> None:
        self._deployment = deployment
        self._retry_budget = retry_budget
        self._replication = replication
        self._view = view
        self._layout = layout_of(view, generation)
        self._schema = schema
        self._run_id = run_id
        self._failed = failed

    @contextmanager
    def writing(self) -> Iterator[OnlineRun]:
        """Open a session and mark the run in Redis; an error ends the run and is recorded."""
        with self._deployment.session(self._retry_budget, self._replication) as self._session:
            try:
                self._servers = begin_run(self._session, self._view, self._run_id)
                warn_of_eviction(self._view, self._servers)
                self._set_writer()
                yield self
            except BaseException as error:
                ours = translation(error, named(self._view)) if isinstance(error, DRIVER_ERRORS) else error
                record_failure(self._deployment, self._view, self._failed(ours))
                raise

    @property
    def bytes_sent(self) -> int:
        """Bytes of commands sent to Redis so far."""
        return self._session.bytes_sent

    def encode(self, batch: pa.RecordBatch) -> EncodedRows:
        """Return the rows of the batch, ready for the wire."""
        return self._writer.encode(batch)

    def write(self, rows: EncodedRows) -> RowCounts:
        """Send the rows and wait for their acknowledgements.

        :raises OnlineStoreFullError: when Redis has evicted keys since the run began.
        """
        counts = self._writer.write(self._session, rows)
        if evicts(self._view, self._servers):
            # After every batch: a run that continues despite evictions evicts more and more keys of others.
            check_evictions(self._view, self._servers, self._session.steadily(self._session.servers))
        return counts

    def commit(self, claims: RunClaims) -> datetime | None:
        """Commit the run; see :func:`.commit_run`."""
        return commit_run(
            self._session,
            self._view,
            self._layout.generation,
            self._run_id,
            claims,
            schema=self._schema,
            servers=self._servers,
            replication=self._replication,
        )

    def data_loss_reason(self, recorded: ViewState) -> str:
        """Return why rows of earlier runs may be lost while their claims are not; ``""`` if nothing suggests it.

        In a cluster, claims and rows are on different servers, and one of them may have lost what it had. Any server
        may have evicted rows and kept the claims.
        """
        is_apart = not self._deployment.state_is_beside_rows
        if is_apart and recorded.servers not in (None, identities(self._servers)):
            return "a server of the cluster has restarted, failed over or joined"
        evicted = rows_evicted_since(self._view, recorded.evicted, self._servers) if recorded.evicted is not None else 0
        if evicted:
            return f"Redis has evicted {evicted:,} keys since the last run, and rows of the view may be among them"
        return ""

    def prepare(self, recorded: ViewState, fingerprint: str, *, clears: bool) -> None:
        """Prepare Redis for the first row.

        :param recorded: the state that the run has found.
        :param fingerprint: of the run's definition.
        :param clears: whether to remove the view's rows and claims; see
            :func:`~online_features.online.write.erasure.drop_view_data`.
        """
        if clears:
            drop_view_data(self._deployment, self._view, self._layout.generation)
            self._set_writer()
        elif recorded.fingerprint not in (None, fingerprint):
            forget_definition(self._session, self._view, self._layout.generation)
        if clears or recorded.definition is None:
            record_schema(self._session, self._view, self._layout.generation, self._schema)

    def prune(self, before: datetime, existing: Lookup) -> int:
        """Remove entities that the source no longer has; see :func:`~online_features.online.write.erasure.prune`."""
        return prune(self._deployment, self._layout, self._schema.keys, before, existing)

    def _set_writer(self) -> None:
        names = [feature.name for feature in self._schema.features]
        features = features_online(self._session.command, self._view, names)
        self._writer = RowWriter(self._deployment, self._layout, self._schema, features)


def record_failure(deployment: Deployment, view: FeatureView, run: Mapping[str, Any]) -> None:
    """Record a run that failed, in bounded time: Redis may be what failed, or hang.

    :param run: for the history, as JSON.
    """

    def record() -> None:
        with suppress(*DRIVER_ERRORS):
            abandon_run(deployment, view, run["run_id"], run=run)

    run_with_timeout(record, CLEANUP_SECONDS)
