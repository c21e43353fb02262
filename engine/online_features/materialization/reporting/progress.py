"""The progress of a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from online_features.common.log_lines import say
from online_features.counters import RowCounts
from online_features.event_times import EventTimes
from online_features.feature_view import FeatureView
from online_features.materialization.reporting.stage_times import StageTimes
from online_features.rejection import log_rejected

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0  # between two lines of progress in the log: often enough for a person who watches


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come.

    :param rows: rows read and written so far.
    :param expected_rows: the planner's estimate of all of them.
    :param seconds: since the run began.
    :param seconds_left: estimated from the rate since the first rows came; ``None`` without an estimate.
    """

    rows: int
    expected_rows: int
    seconds: float
    seconds_left: float | None = None

    @property
    def rows_per_second(self) -> float:
        """Mean rate since the run began."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def share(self) -> float:
        """Part of the expected rows, from 0 to 1."""
        return min(1.0, self.rows / self.expected_rows) if self.expected_rows else 1.0

    def in_words(self, now: datetime) -> str:
        """Describe the progress in one line.

        :param now: an aware datetime; the estimated end is given in its time zone.
        """
        rows, rate = f"{self.rows:,}", f"{self.rows_per_second:,.0f} rows/s"
        if self.seconds_left is None:
            return f"{rows} rows, {rate}"
        end = now + timedelta(seconds=self.seconds_left)
        return (
            f"{rows} of about {self.expected_rows:,} rows ({self.share:.0%}), {rate}, done at about {end:%H:%M:%S %Z}"
        )


class RunCounter:
    """Counts the rows of a run and reports its progress.

    :param expected_rows: the planner's estimate of all rows.
    :param on_progress: called after every batch.
    :param began: when the run began, by the monotonic clock.
    :ivar counts: of the rows so far.
    :ivar times: event timestamps of the rows so far.
    :ivar entities_pruned: online entities removed so far.
    :ivar stages: how long each stage of the transfer was busy so far, in all processes.
    :ivar bytes_sent: of commands to Redis, by other processes than that of the run.
    """

    def __init__(
        self, view: FeatureView, expected_rows: int, on_progress: Callable[[Progress], None] | None, began: float
    ) -> None:
        self.counts = RowCounts()
        self.times = EventTimes()
        self.entities_pruned = 0
        self.stages = StageTimes()
        self.bytes_sent = 0
        self._processes = 1
        self._view = view
        self._expected_rows = expected_rows
        self._on_progress = on_progress
        self._began = began
        self._logged = began
        self._first: tuple[int, float] | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def add(self, counts: RowCounts, times: EventTimes) -> None:
        """Count the rows of a batch that was written, and report the progress."""
        self.counts += replace(counts, rows_future=times.future_rows)
        self.times += times
        rows = self.counts.outcomes - self.counts.rows_rejected
        progress = Progress(
            rows=rows,
            expected_rows=self._expected_rows,
            seconds=self.seconds,
            seconds_left=self._seconds_left(rows),
        )
        if self._on_progress is not None:
            self._on_progress(progress)
        if time.monotonic() - self._logged >= PROGRESS_SECONDS:
            self._logged = time.monotonic()
            say(log.info, f"Feature view {self._view.name!r}: {progress.in_words(datetime.now(UTC))}")

    def add_process(self, stages: Mapping[str, float], bytes_sent: int) -> None:
        """Count what another process than that of the run has spent.

        :param stages: busy seconds of each stage.
        """
        self.stages.merge(stages)
        self.bytes_sent += bytes_sent
        self._processes += 1

    def reject(self, rows: int, sample: Sequence[Sequence[str | None]]) -> None:
        """Count and log rejected rows.

        :param sample: join keys and event timestamp of a few of them.
        """
        self.counts += RowCounts(rows_read=rows, rows_rejected=rows)
        log_rejected(self._view, rows, sample)

    def log_total(self, worked: float | None = None) -> None:
        """Log the counts of the whole run, and which side was the limit.

        :param worked: seconds of all processes; by default each has worked from the beginning to the end.
        """
        counts, seconds = self.counts, self.seconds
        pruned = f", {self.entities_pruned} entities pruned" if self.entities_pruned else ""
        for line in (
            f"{counts.rows_read} rows read in {seconds:.1f} s ({counts.rows_read / seconds:.0f} rows/s)",
            f"{counts.rows_written} written, {counts.rows_stale} stale, {counts.rows_expired} expired, "
            f"{counts.rows_deleted} deleted, {counts.rows_rejected} rejected{pruned}",
            self.stages.in_words(worked or seconds * self._processes),
        ):
            log.info("Materialized feature view %r: %s", self._view.name, line)

    def _seconds_left(self, rows: int) -> float | None:
        first_rows, first_seconds = self._first = self._first or (rows, self.seconds)
        if not first_rows < rows <= self._expected_rows:
            return None
        return (self._expected_rows - rows) * (self.seconds - first_seconds) / (rows - first_rows)
