"""How old what is online may be for a reader to bear it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from online_features.common.instants import to_text
from online_features.errors import StaleFeaturesError, WindowError
from online_features.feature_view import FeatureView
from online_features.online.read.freshness import Freshness
from online_features.window import aware


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The oldest state of the online store that a reader can bear; ``None`` bears any.

    :param min_watermark: an aware datetime; everything in the source up to it must be online.
    :param max_staleness: the greatest lag, now minus watermark.
    :raises WindowError: when the watermark is naive or the staleness is no timedelta.
    """

    min_watermark: datetime | None = None
    max_staleness: timedelta | None = None

    def __post_init__(self) -> None:
        if self.min_watermark is not None:
            object.__setattr__(self, "min_watermark", aware("min_watermark", self.min_watermark))
        if self.max_staleness is not None and not isinstance(self.max_staleness, timedelta):
            raise WindowError(f"max_staleness={self.max_staleness!r} must be a timedelta")

    def check(self, view: FeatureView, fresh: Freshness) -> None:
        """Refuse what is older.

        :raises StaleFeaturesError: naming the view, its watermark and what was asked.
        """
        if self.min_watermark is not None and (fresh.watermark is None or fresh.watermark < self.min_watermark):
            raise _stale(view, fresh, f"min_watermark={to_text(self.min_watermark)}")
        if self.max_staleness is not None and (fresh.lag is None or fresh.lag > self.max_staleness):
            raise _stale(view, fresh, f"max_staleness={self.max_staleness} at {to_text(fresh.now)}")


def _stale(view: FeatureView, fresh: Freshness, asked: str) -> StaleFeaturesError:
    has = "no watermark" if fresh.watermark is None else f"watermark {to_text(fresh.watermark)}"
    return StaleFeaturesError(
        f"feature view {view.name!r} has {has} online, asked was {asked} -> wait for its next materialization, or bear "
        "older features"
    )
