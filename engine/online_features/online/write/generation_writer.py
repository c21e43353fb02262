"""Writes the rows of a run to one generation, and commits them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from online_features.common.batches import batched
from online_features.counters import RowCounts
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout import Key
from online_features.layouts.layout_registry import layout_of
from online_features.online.generations.part_ledger import PartLedger
from online_features.online.generations.runs import RunClaims, commit_run
from online_features.online.generations.view_definition import definition_fingerprint
from online_features.online.generations.view_state import ViewState, features_online, forget_definition, record_schema
from online_features.online.redis.deployment import KEYS_PER_CALL, Deployment, Session
from online_features.online.redis.servers import check_evictions, evicts
from online_features.online.write._carried_pushes import CarriedPushes, carry_pushes, count_left_out
from online_features.online.write._memory import check_left, free_bytes
from online_features.online.write._row_script import RowScript
from online_features.online.write._row_writer import RowWriter
from online_features.online.write.erasure import bury_erased
from online_features.online.write.row_removal import Lookup, drop_view_data, prune
from online_features.online.write.write_grant import WriteGrant
from online_features.schema import RowSchema

if TYPE_CHECKING:
    from online_features.layouts.encoder import EncodedRows

ROWS_MEASURED = 20  # whose size in Redis is measured; rows of a view are of similar size


class GenerationWriter:
    """One run's writes to a generation. Encoding does no I/O, so another thread may encode while this one writes.

    :param check_lease: raises an error if the run may no longer write.
    """

    def __init__(
        self,
        deployment: Deployment,
        session: Session,
        view: FeatureView,
        schema: RowSchema,
        grant: WriteGrant,
        *,
        check_lease: Callable[[], object],
    ) -> None:
        self.layout = layout_of(view, grant.generation)
        self.grant = grant
        self.check_lease = check_lease
        self._measured: pa.RecordBatch | None = None
        self._deployment = deployment
        self._session = session
        self._schema = schema
        self._watches_memory = grant.leaves_memory and free_bytes(grant.servers) is not None
        self._writer = self._row_writer()

    @property
    def generation(self) -> str:
        """The generation that is written to."""
        return self.layout.generation

    @property
    def part_ledger(self) -> PartLedger:
        """What Redis keeps of the parts, if the generation is built in parts."""
        return PartLedger(self._session, self._view, self.generation)

    @property
    def bytes_sent(self) -> int:
        """Bytes of commands sent to Redis so far, by the session of the writer."""
        return self._session.bytes_sent

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the definition of what is written."""
        return definition_fingerprint(self._view, self._schema)

    def encode(self, batch: pa.RecordBatch) -> EncodedRows:
        """Return the rows of the batch, ready for the wire."""
        if self._measured is None and batch.num_rows:
            self._measured = batch.slice(0, ROWS_MEASURED)
        return self._writer.encode(batch)

    def write(self, rows: EncodedRows) -> RowCounts:
        """Send the rows and wait for their acknowledgements.

        :raises LeaseLostError: when another run may be building.
        :raises OnlineStoreFullError: when Redis has evicted keys since the run began.
        """
        return self._write(self._writer, rows)

    def carry_pushes(self, published: ViewState, *, since: datetime | None, now: datetime) -> CarriedPushes:
        """Write the pushed rows of the published generation; see :func:`.carry_pushes`."""
        writer = self._row_writer(is_pushed=True)

        def write(batch: pa.RecordBatch) -> RowCounts:
            return self._write(writer, writer.encode(batch))

        carried = carry_pushes(
            self._deployment, published, self.layout, self._schema, write=write, since=since, now=now
        )
        if carried.missed:
            self.check_lease()
            key = keyspace.generation_key(self._view, self.generation)
            self._session.command("HINCRBY", key, "missed", carried.missed)
        return carried

    def count_left_out(self, published: ViewState, *, before: datetime, now: datetime) -> int:
        """Return how many pushed rows are gone with their entities; see :func:`.count_left_out`."""
        return count_left_out(
            self._deployment, published, self.layout, self._schema, absent=self._absent, before=before, now=now
        )

    def commit(self, claims: RunClaims, *, pointer: str | None = None) -> datetime | None:
        """Commit what was written; parameters and errors are those of :func:`.commit_run`."""
        self.check_lease()
        return commit_run(
            self._session,
            self._view,
            self.generation,
            self.grant.run_id,
            claims,
            schema=self._schema,
            servers=self.grant.servers,
            replication=self.grant.replication,
            pointer=pointer,
        )

    def prepare(self, recorded: ViewState, fingerprint: str, *, clears: bool) -> None:
        """Prepare a generation that exists for the first row.

        :param recorded: the state that the run has found.
        :param fingerprint: of the run's definition.
        :param clears: whether to remove the view's rows and claims; see :func:`.drop_view_data`.
        """
        if clears:
            drop_view_data(self._deployment, self._view, self.generation)
            self._writer = self._row_writer()
        elif recorded.fingerprint not in (None, fingerprint):
            forget_definition(self._session, self._view, self.generation)
        if clears or recorded.definition is None:
            # Tombstones of erasures are gone with the rows, or were in other generations only.
            bury_erased(self._deployment, self.layout, self._schema.keys)
            record_schema(self._session, self._view, self.generation, self._schema)

    def prune(self, before: datetime, existing: Lookup) -> int:
        """Remove entities that the source no longer has; see :func:`.row_removal.prune`."""
        return prune(self._deployment, self.layout, self._schema.keys, before, existing)

    def remove(self, rows: Sequence[tuple[Key, Key, Key]]) -> int:
        """Remove rows, except those that were written since they were read.

        :param rows: of each, its key, and its event timestamp and created timestamp as :meth:`.RowLayout.stamp` returns
            them.
        :returns: how many were removed.
        """
        script = RowScript(self._deployment, self.layout, "prune")
        return sum(
            sum(script([key for key, *_ in some], of_each=[stamps for _, *stamps in some]))
            for some in batched(rows, KEYS_PER_CALL)
        )

    def row_bytes(self) -> int | None:
        """Return the mean size of a row in Redis; ``None`` if the user may not ask for it, or no row is there."""
        if self._measured is None:
            return None
        keys = self.layout.encoder(self._schema).encode(self._measured).keys.to_pylist()
        sizes = [self._session.reply("MEMORY USAGE", key) for key in keys]
        there = [size for size in sizes if isinstance(size, int)]
        return sum(there) // len(there) if there else None

    @property
    def _view(self) -> FeatureView:
        return self.layout.view

    def _write(self, writer: RowWriter, rows: EncodedRows) -> RowCounts:
        self.check_lease()
        counts = writer.write(self._session, rows)
        if self._watches_memory or evicts(self._view, self.grant.servers):
            # After every batch: a run that continues despite evictions evicts more and more keys of others.
            now = self._session.steadily(self._session.servers)
            check_evictions(self._view, self.grant.servers, now)
            if self._watches_memory:
                check_left(self._view, now)
        return counts

    def _absent(self, batch: pa.RecordBatch) -> int:
        """Return how many rows of the batch have no entity in the generation."""
        keys = self._writer.encode(batch).keys.to_pylist()
        stamps_of = RowScript(self._deployment, self.layout, "stamps")
        return sum(
            not timestamp
            for some in batched(keys, KEYS_PER_CALL)
            for stamps in stamps_of(some)
            for timestamp in stamps[::3]
        )

    def _row_writer(self, *, is_pushed: bool = False) -> RowWriter:
        names = [feature.name for feature in self._schema.features]
        features = features_online(self._session.command, self._view, names)
        return RowWriter(self._deployment, self.layout, self._schema, features, is_pushed=is_pushed)
