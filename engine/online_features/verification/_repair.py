"""Rows written again, and extra ones removed, in a run of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from online_features.common.instants import to_text
from online_features.common.retry_budget import RETRY_FOR, RetryBudget
from online_features.event_times import EventTimes
from online_features.feature_view import FeatureView
from online_features.layouts.stamps import Stamps
from online_features.materialization.planning.plan import Plan
from online_features.materialization.reporting.progress import RunCounter
from online_features.materialization.reporting.run_record import RunRecord
from online_features.online.redis.replication import Replication
from online_features.schema import RowSchema
from online_features.verification._baseline import Baseline
from online_features.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from online_features.online.store import OnlineStore
    from online_features.online.write.generation_writer import GenerationWriter


class Repair:
    """Writes to the generation that is compared; no row replaces a newer one."""

    def __init__(self, writer: GenerationWriter, counter: RunCounter) -> None:
        self._writer = writer
        self._counter = counter

    def write(self, rows: pa.RecordBatch) -> int:
        """Write rows of the source again, and return how many were written."""
        counts = self._writer.write(self._writer.encode(rows))
        self._counter.add(counts, EventTimes())
        return counts.rows_written + counts.rows_deleted

    def remove(self, rows: Sequence[tuple[bytes, Stamps]]) -> int:
        """Remove rows, except those that were written since they were read, and return how many were removed."""
        stamp = self._writer.layout.stamp
        removed = self._writer.remove([(key, stamp(stamps.timestamp), stamp(stamps.created)) for key, stamps in rows])
        self._counter.entities_pruned += removed
        return removed


@contextmanager
def repairing(
    view: FeatureView,
    online: OnlineStore,
    schema: RowSchema,
    baseline: Baseline,
    origin: Mapping[str, str | int] | None,
) -> Iterator[Repair]:
    """Yield what repairs the generation, and record it as a run of kind ``repair``."""
    record, counter = RunRecord(origin), RunCounter(view, 0, None, time.monotonic())
    with (
        online._run(
            view, schema, record.run_id,
            failed=record.failed, retry_budget=RetryBudget(RETRY_FOR),
            replication=Replication(what=f"feature view {view.name!r}"),
        ) as online_run,
        online_run.in_place(baseline.generation, is_alone=False) as writer,
    ):  # fmt: skip
        record.note(Plan(kind="repair", window=Window(), covered=None), counter, baseline.watermark)
        yield Repair(writer, counter)
        claims = {"generation": baseline.generation, "watermark": to_text(baseline.watermark)}
        online_run.end({**record.succeeded(), **claims})
