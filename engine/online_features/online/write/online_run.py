"""A run that writes one feature view: rows in, acknowledgements counted, and at the end the watermark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import pyarrow as pa
import redis

from online_features.common.concurrency import run_with_timeout
from online_features.common.retry_budget import RetryBudget
from online_features.counters import RowCounts
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.packing import packing
from online_features.layouts.registry import encoder
from online_features.online.redis.redis_failures import DRIVER_ERRORS, Client, named, translation
from online_features.online.redis.replication import Replication
from online_features.online.redis.servers import check_evictions, evicts, rows_evicted_since, warn_of_eviction
from online_features.online.state import view_state as state
from online_features.online.write.erasure import Lookup, drop_view_data, prune
from online_features.online.write.writers import writer
from online_features.schema import RowSchema

# How long whoever ends a run, by a signal or a time-out, waits for Redis to be told; the run's marker ends by itself.
CLEANUP_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """Rows ready for the wire."""

    rows: int
    calls: list[Any]


class OnlineRun:
    """One run's writes. Encoding does no I/O, so another thread may be ahead of the writing.

    :param failed: makes the record of a run that an error has ended, for the run history.
    :param retry_budget: with interruptions.
    :param replication: what has to be copied before the run counts.
    """

    def __init__(
        self,
        client: Client,
        view: FeatureView,
        schema: RowSchema,
        run_id: str,
        *,
        failed: Callable[[BaseException], Mapping[str, Any]],
        retry_budget: RetryBudget,
        replication: Replication,
    ) -> None:
        self._client = client
        self._in_cluster = isinstance(client, redis.RedisCluster)
        self._retry_budget = retry_budget
        self._replication = replication
        self._view = view
        self._schema = schema
        self._run_id = run_id
        self._failed = failed

    @contextmanager
    def writing(self) -> Iterator[OnlineRun]:
        """Mark the run in Redis and hold a connection to write on; an error ends the run and is recorded."""
        with writer(self._client, self._view, self._retry_budget, self._replication) as self._writer:
            try:
                self._servers = state.begin_run(self._writer, self._view, self._run_id)
                warn_of_eviction(self._view, self._servers)
                self._packing = packing(self._writer.reply, keyspace.packing_key(self._view))
                self._set_encoder()
                yield self
            except BaseException as error:
                ours = translation(error, named(self._view)) if isinstance(error, DRIVER_ERRORS) else error
                # With a time-out, because Redis may be the one that failed, or hang.
                run_with_timeout(partial(self._abandon, self._failed(ours)), CLEANUP_SECONDS)
                raise

    @property
    def bytes_sent(self) -> int:
        """Bytes of commands sent to Redis so far."""
        return self._writer.bytes_sent

    def encode(self, batch: pa.RecordBatch) -> EncodedRows:
        """The batch as command bytes."""
        return EncodedRows(
            rows=batch.num_rows,
            calls=list((self._encoder.calls_by_slot if self._in_cluster else self._encoder.calls)(batch)),
        )

    def write(self, encoded: EncodedRows) -> RowCounts:
        """Send the rows and wait for their acknowledgements.

        :raises OnlineStoreFullError: when Redis has evicted keys since the run began.
        """
        counts = self._writer.write(encoded.rows, encoded.calls)
        if evicts(self._view, self._servers):
            # With every batch: a run whose rows do not stay evicts more and more of what others have there.
            check_evictions(self._view, self._servers, self._writer.steadily(self._writer.servers))
        return counts

    def commit(self, **outcome: Any) -> datetime | None:
        """End the run; see :func:`~online_features.online.state.view_state.commit_run`."""
        return state.commit_run(
            self._writer,
            self._view,
            self._run_id,
            schema=self._schema,
            servers=self._servers,
            replication=self._replication,
            **outcome,
        )

    def data_loss_reason(self, recorded: state.ViewState) -> str:
        """Why rows that earlier runs have written may be gone, though their claims are not; empty when they are not.

        In a cluster, claims and rows are on different servers, of which one may have lost what it had. Any server may
        have evicted rows and kept the claims.
        """
        if self._in_cluster and recorded.servers not in (None, state.identities(self._servers)):
            return "a server of the cluster has restarted, failed over or joined"
        evicted = rows_evicted_since(self._view, recorded.evicted, self._servers) if recorded.evicted is not None else 0
        if evicted:
            return f"Redis has evicted {evicted:,} keys since the last run, and rows of the view may be among them"
        return ""

    def prepare(self, recorded: state.ViewState, *, clears: bool) -> None:
        """Make ready for the first row.

        :param recorded: the state that the run has found.
        :param clears: whether to remove the view's rows and claims; see
            :func:`~online_features.online.write.erasure.drop_view_data`.
        """
        if clears:
            drop_view_data(self._client, self._view, self._schema)
            self._set_encoder()
        if clears or recorded.definition is None:
            state.record_schema(self._writer, self._view, self._schema)

    def prune(self, before: datetime, existing: Lookup) -> int:
        """Remove entities that the source no longer has; see :func:`~online_features.online.write.erasure.prune`."""
        return prune(self._client, self._view, self._schema.keys, before, existing)

    def _abandon(self, run: Mapping[str, Any]) -> None:
        with suppress(*DRIVER_ERRORS):
            state.abandon_run(self._client, self._view, self._run_id, run=run)

    def _set_encoder(self) -> None:
        names = [feature.name for feature in self._schema.features]
        features = state.features_online(self._writer.command, self._view, names)
        self._encoder = encoder(self._view, self._schema, features, packing=self._packing, in_cluster=self._in_cluster)
