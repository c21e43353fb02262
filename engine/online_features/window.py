"""The rows of the source that a run reads: a window of event timestamps, or arrivals since an earlier run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from online_features.errors import WindowError

if TYPE_CHECKING:
    from online_features.schema import RowSchema

# Instants outside the years 1 to 9999 (BC, infinity) have no ISO-8601 text that sorts correctly.
FIRST_INSTANT = datetime(1, 1, 1, tzinfo=UTC)
LAST_INSTANT = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)

NEEDS_BOUND = "a freshness check needs max_staleness=, at_least= or both, or a view with max_staleness="

# An event timestamp is "in the future" when it is later than now by more than this: clocks of producers differ by less.
FUTURE_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Window:
    """Rows with an event timestamp in ``[start, end)``; ``None`` leaves that side open.

    :param latest: rows with a later event timestamp are rejected.
    :raises WindowError: when a bound is naive or the window is empty.
    """

    start: datetime | None = None
    end: datetime | None = None
    latest: datetime = LAST_INSTANT

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            bound = getattr(self, name)
            if bound is not None:
                object.__setattr__(self, name, aware(name, bound))
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise WindowError(
                f"window [{self.start.isoformat()}, {self.end.isoformat()}) is empty: start must be before end"
            )

    def __str__(self) -> str:
        start, end = (bound.isoformat() if bound else "…" for bound in (self.start, self.end))
        return f"event timestamp in [{start}, {end})"

    @property
    def is_open(self) -> bool:
        """Whether both sides are open."""
        return self.start is None and self.end is None


# How far an increment reads back over the last run if nothing shows when rows arrived.
DEFAULT_LOOKBACK = timedelta(hours=1)


def default_lookback(asked: timedelta | None, *, is_blind: bool) -> timedelta:
    """Return how far an increment reads back over the last run.

    :param asked: by the caller; ``None`` means the default.
    :param is_blind: whether rows may arrive with timestamps from before the last run.
    """
    if asked is not None:
        return asked
    return DEFAULT_LOOKBACK if is_blind else timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """Rows that were added or changed since an earlier run, according to their timestamps.

    Either timestamp suffices: a row that is updated in place often keeps its created timestamp.

    :param created_since: rows created from here on; ``None`` where the source has no created timestamp.
    :param event_since: rows with an event timestamp in ``[event_since, event_until)``.
    :param event_until: excludes forecasts, which every run would read again; ``None`` without a created timestamp.
    :param latest: rows with a later event timestamp are rejected.
    """

    created_since: datetime | None
    event_since: datetime
    event_until: datetime | None
    latest: datetime = LAST_INSTANT

    @classmethod
    def since(cls, cursor: datetime, schema: RowSchema, *, lookback: timedelta, now: datetime) -> Arrivals:
        """Return the arrivals that an increment from ``cursor`` on reads.

        :param lookback: how far before the cursor to begin.
        """
        has_created = schema.created_timestamp is not None
        return cls(
            created_since=_earlier(cursor, lookback + schema.created_resolution) if has_created else None,
            event_since=_earlier(cursor, lookback + schema.event_resolution),
            event_until=now + FUTURE_TOLERANCE if has_created else None,
        )

    def __str__(self) -> str:
        end = self.event_until.isoformat() if self.event_until else "…"
        by_event = f"event timestamp in [{self.event_since.isoformat()}, {end})"
        return (
            by_event if self.created_since is None else f"created since {self.created_since.isoformat()} or {by_event}"
        )

    @property
    def start(self) -> datetime:
        """The earliest timestamp that is read."""
        return self.event_since if self.created_since is None else min(self.created_since, self.event_since)


def _earlier(instant: datetime, by: timedelta) -> datetime:
    try:
        return instant - by
    except OverflowError:
        return FIRST_INSTANT


def aware(name: str, instant: datetime) -> datetime:
    """Return ``instant`` in UTC.

    :raises WindowError: when it carries no time zone.
    """
    if not isinstance(instant, datetime):
        raise WindowError(f"{name}={instant!r} must be a datetime with a time zone")
    if instant.tzinfo is None or instant.utcoffset() is None:
        raise WindowError(f"{name}={instant.isoformat()} has no time zone; add one, for example tzinfo=timezone.utc")
    return instant.astimezone(UTC)
