"""How far the online store lags, and how much lag a reader accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from online_features.common.instants import to_text
from online_features.errors import StaleFeaturesError, WindowError
from online_features.feature_view import FeatureView
from online_features.online.generations.view_state import Gap, ViewState
from online_features.window import aware

GAPS_SHOWN = 3  # in a message


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """Freshness of a feature view, as recorded in Redis beside its rows.

    :param watermark: everything in the source up to this instant is online; ``None`` before the first run.
    :param max_event_timestamp: the newest event timestamp that was materialized or pushed, unless it was in the future.
    :param materialized_at: when the last successful run ended; ``None`` if there was none.
    :param now: the instant against which lags are measured.
    :param gaps: what no run has covered, ``[start, end)``, before windows that runs have covered, the oldest first. The
        first begins at the watermark, and without one at ``None``. ``None`` for rows that were read: they come without.
    """

    watermark: datetime | None
    max_event_timestamp: datetime | None
    materialized_at: datetime | None
    now: datetime
    gaps: tuple[Gap, ...] | None = None

    @classmethod
    def of(cls, state: ViewState, *, now: datetime) -> Freshness:
        """Return the freshness in a view's state."""
        return cls(
            watermark=state.watermark,
            max_event_timestamp=state.max_event_timestamp,
            materialized_at=state.materialized_at,
            now=now,
        )

    @classmethod
    def unknown(cls, now: datetime) -> Freshness:
        """Return the freshness of a view whose state cannot be read."""
        return cls(watermark=None, max_event_timestamp=None, materialized_at=None, now=now)

    @property
    def is_materialized(self) -> bool:
        """Whether a run of the view has succeeded."""
        return self.materialized_at is not None

    @property
    def lag(self) -> timedelta | None:
        """``now`` minus the watermark."""
        return None if self.watermark is None else self.now - self.watermark

    @property
    def event_lag(self) -> timedelta | None:
        """``now`` minus the newest event timestamp."""
        return None if self.max_event_timestamp is None else self.now - self.max_event_timestamp


def describe_gaps(gaps: Sequence[Gap] | None) -> str:
    """Name the oldest windows that no run has covered, or return an empty text."""
    known = [f"[{to_text(start)}, {to_text(end)})" for start, end in gaps or () if start is not None]
    more = f" and {len(known) - GAPS_SHOWN} more" if len(known) > GAPS_SHOWN else ""
    return f"not materialized, while later windows are: {', '.join(known[:GAPS_SHOWN])}{more}" if known else ""


@dataclass(frozen=True, kw_only=True)
class FreshnessBounds:
    """The oldest state of the online store that a reader accepts; ``None`` accepts any.

    :param min_watermark: an aware datetime; everything in the source up to it must be online.
    :param max_staleness: the greatest lag, now minus watermark.
    :raises WindowError: when the watermark is naive or the staleness is not a timedelta.
    """

    min_watermark: datetime | None = None
    max_staleness: timedelta | None = None

    def __post_init__(self) -> None:
        if self.min_watermark is not None:
            object.__setattr__(self, "min_watermark", aware("min_watermark", self.min_watermark))
        if self.max_staleness is not None and not isinstance(self.max_staleness, timedelta):
            raise WindowError(f"max_staleness={self.max_staleness!r} must be a timedelta")

    def check(self, view: FeatureView, freshness: Freshness) -> None:
        """Raise if the view is older than the bounds.

        :raises StaleFeaturesError: naming the view, its watermark and the bound.
        """
        watermark, lag = freshness.watermark, freshness.lag
        if self.min_watermark is not None and (watermark is None or watermark < self.min_watermark):
            raise _stale(view, freshness, f"min_watermark={to_text(self.min_watermark)}")
        if self.max_staleness is not None and (lag is None or lag > self.max_staleness):
            raise _stale(view, freshness, f"max_staleness={self.max_staleness} at {to_text(freshness.now)}")


def _stale(view: FeatureView, freshness: Freshness, bound: str) -> StaleFeaturesError:
    has = "no watermark" if freshness.watermark is None else f"watermark {to_text(freshness.watermark)}"
    return StaleFeaturesError(
        f"feature view {view.name!r} has {has} online, but {bound} was required -> wait for its next materialization, "
        "or accept older features"
    )
