"""How far the online store lags."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from online_features.online.state.view_state import ViewState


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """Freshness of a feature view, as recorded in Redis beside its rows.

    :param watermark: everything in the source up to this instant is online; ``None`` before the first run.
    :param max_event_timestamp: the newest event timestamp that was materialized or pushed and not in the future then.
    :param materialized_at: when the last successful run ended; ``None`` when there was none.
    :param now: the instant against which lags are measured.
    """

    watermark: datetime | None
    max_event_timestamp: datetime | None
    materialized_at: datetime | None
    now: datetime

    @classmethod
    def of(cls, state: ViewState, *, now: datetime) -> Freshness:
        """What a view's state says of its freshness."""
        return cls(
            watermark=state.watermark,
            max_event_timestamp=state.max_event_timestamp,
            materialized_at=state.materialized_at,
            now=now,
        )

    @property
    def is_materialized(self) -> bool:
        """Whether Redis knows of a successful run."""
        return self.materialized_at is not None

    @property
    def lag(self) -> timedelta | None:
        """``now`` minus the watermark."""
        return None if self.watermark is None else self.now - self.watermark

    @property
    def event_lag(self) -> timedelta | None:
        """``now`` minus the newest event timestamp."""
        return None if self.max_event_timestamp is None else self.now - self.max_event_timestamp
