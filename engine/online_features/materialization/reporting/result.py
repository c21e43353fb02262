"""The result of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from online_features.checks.check import CheckResult
from online_features.counters import RowCounts
from online_features.materialization.planning.plan import Plan
from online_features.materialization.reporting.progress import RunCounter


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
    :param generation: that the run has written to.
    :param is_published: whether readers see this generation.
    :param skipped: why the run has done nothing; else empty.
    :param checks: results of the checks of the view.
    """

    entities_pruned: int
    bytes_sent: int
    seconds: float
    start: datetime | None
    end: datetime | None
    watermark: datetime | None
    max_event_timestamp: datetime | None
    run_id: str
    generation: str
    is_published: bool
    skipped: str = ""
    checks: tuple[CheckResult, ...] = ()

    @classmethod
    def of(
        cls, counter: RunCounter, plan: Plan, *, bytes_sent: int, watermark: datetime | None, run_id: str,
        generation: str, is_published: bool, checks: Sequence[CheckResult],
    ) -> MaterializationResult:  # fmt: skip
        """Return the result of a run that has read and written."""
        return cls(
            **asdict(counter.counts),
            entities_pruned=counter.entities_pruned,
            bytes_sent=bytes_sent,
            seconds=counter.seconds,
            start=plan.window.start,
            end=plan.end,
            watermark=watermark,
            max_event_timestamp=counter.times.newest,
            run_id=run_id,
            generation=generation,
            is_published=is_published,
            checks=tuple(checks),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-serializable values; instants as ISO-8601 text."""
        return {**super().to_dict(), "checks": [check.to_dict() for check in self.checks]}

    @classmethod
    def of_skipped(cls, *, seconds: float, run_id: str, generation: str, reason: str) -> MaterializationResult:
        """Return the result of a run that has done nothing."""
        return cls(
            entities_pruned=0, bytes_sent=0, seconds=seconds, start=None, end=None, watermark=None,
            max_event_timestamp=None, run_id=run_id, generation=generation, is_published=True, skipped=reason,
        )  # fmt: skip
