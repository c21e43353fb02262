"""The result of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from online_features.counters import RowCounts


@dataclass(frozen=True, kw_only=True)
class MaterializationResult(RowCounts):
    """Counts, times and the watermark of a run that succeeded.

    :param entities_pruned: online entities removed because the source no longer had them.
    :param bytes_sent: of commands to Redis.
    :param seconds: wall time.
    :param start: start of the window; ``None`` when open.
    :param end: end of the window; of a full or incremental run, the instant up to which it is complete.
    :param watermark: of the view after the run; ``None`` when no run has set one yet.
    :param max_event_timestamp: the newest event timestamp among the rows read that is not in the future.
    :param run_id: of this run, also in the view's run history.
    """

    entities_pruned: int
    bytes_sent: int
    seconds: float
    start: datetime | None
    end: datetime | None
    watermark: datetime | None
    max_event_timestamp: datetime | None
    run_id: str
