"""The rows of one query on their way: read, transformed and encoded, and written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from online_features.common.concurrency import prefetch
from online_features.event_times import EventTimes
from online_features.materialization.reporting.progress import RunCounter
from online_features.materialization.reporting.stage_times import Stage
from online_features.producers.transformation import Transformation

if TYPE_CHECKING:
    import pyarrow as pa

    from online_features.layouts.encoder import EncodedRows
    from online_features.offline.query_plan import QueryPlan
    from online_features.offline.snapshot import Snapshot
    from online_features.offline.source_access import SourceAccess
    from online_features.online.write.generation_writer import GenerationWriter
    from online_features.statistics.measurement import Measurement

# Copies the rows of a plan, and measures them.
Copy: TypeAlias = "Callable[[QueryPlan, GenerationWriter, Measurement], None]"

BATCHES_AHEAD = 2  # between two stages: one is being made while another one is ready


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Copies rows from the source of a view to a generation.

    :param now: later event timestamps are in the future.
    :param batch_rows: the largest number of rows in memory per batch.
    """

    source: SourceAccess
    transformation: Transformation
    counter: RunCounter
    now: datetime
    batch_rows: int

    def copy(self, query_plan: QueryPlan, writer: GenerationWriter, measurement: Measurement | None = None) -> None:
        """Read as of now, transform and encode, and write, in three stages that overlap.

        :param measurement: gets the rows; ``None`` measures nothing.
        """
        with self.source.snapshot(query_plan) as snapshot:
            self.stream(snapshot, writer, measurement)

    def stream(
        self, snapshot: Snapshot, writer: GenerationWriter, measurement: Measurement | None = None,
        after_batch: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        """Copy the rows of a snapshot; see :meth:`copy`.

        :param after_batch: called when a batch is written.
        """
        stages = self.counter.stages
        event_timestamp = len(self.transformation.schema.keys)  # its column follows the join keys

        def encode(batch: pa.RecordBatch) -> tuple[EventTimes, EncodedRows]:
            with stages.busy(Stage.ENCODING):
                rows = self.transformation.apply(batch)
                if measurement is not None:
                    measurement.add(rows)
                *keys, instants = rows.columns[: event_timestamp + 1]
                return EventTimes.of(keys, instants, self.now), writer.encode(rows)

        read = stages.each(Stage.POSTGRES, snapshot.batches(self.batch_rows))
        with (
            closing(prefetch(read, BATCHES_AHEAD, snapshot.cancel)) as batches,
            closing(prefetch(map(encode, batches), BATCHES_AHEAD, snapshot.cancel)) as encoded,
        ):
            for times, rows in encoded:
                with stages.busy(Stage.REDIS):
                    counts = writer.write(rows)
                self.counter.add(counts, times)
                after_batch()
            self.counter.reject(snapshot.rejected, snapshot.rejected_sample)
