"""Counters of the rows of a run or a push: every row read has exactly one outcome."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from online_features.common.instants import to_text


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """Rows read, and the outcome of each.

    :param rows_read: the newest row of each entity, and every rejected row.
    :param rows_written: now online.
    :param rows_stale: older than what was online already, so not written.
    :param rows_expired: past their ttl, so not written.
    :param rows_deleted: marked as deleted, so their entity was removed.
    :param rows_rejected: without an entity or an event timestamp, or with one in the future where the source says
        ``future_rows="reject"``.
    :param rows_future: of the rows of all other outcomes, those with an event timestamp in the future.
    """

    rows_read: int = 0
    rows_written: int = 0
    rows_stale: int = 0
    rows_expired: int = 0
    rows_deleted: int = 0
    rows_rejected: int = 0
    rows_future: int = 0

    @property
    def outcomes(self) -> int:
        """Rows whose outcome is known; equal to ``rows_read`` unless a run broke off."""
        return self.rows_written + self.rows_stale + self.rows_expired + self.rows_deleted + self.rows_rejected

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-serializable values; instants as ISO-8601 text."""
        return {name: to_text(value) if isinstance(value, datetime) else value for name, value in asdict(self).items()}

    def __add__(self, other: RowCounts) -> RowCounts:
        return RowCounts(
            rows_read=self.rows_read + other.rows_read,
            rows_written=self.rows_written + other.rows_written,
            rows_stale=self.rows_stale + other.rows_stale,
            rows_expired=self.rows_expired + other.rows_expired,
            rows_deleted=self.rows_deleted + other.rows_deleted,
            rows_rejected=self.rows_rejected + other.rows_rejected,
            rows_future=self.rows_future + other.rows_future,
        )
