"""Windows of time: half-open, aware, and on one of the two timestamps of a row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from online_features.errors import WindowError

Axis = Literal["event_timestamp", "created_timestamp"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Rows whose timestamp lies in ``[start, end)``; ``None`` leaves that side open.

    :param axis: which timestamp of a row is meant.
    :raises WindowError: when a bound is naive or the window is empty.
    """

    start: datetime | None = None
    end: datetime | None = None
    axis: Axis = "event_timestamp"

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            bound = getattr(self, name)
            if bound is not None:
                object.__setattr__(self, name, aware(name, bound))
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise WindowError(
                f"window [{self.start.isoformat()}, {self.end.isoformat()}) is empty: start must be before end"
            )

    @property
    def is_open(self) -> bool:
        """Whether the window leaves nothing out."""
        return self.start is None and self.end is None


def aware(name: str, instant: datetime) -> datetime:
    """Return ``instant`` in UTC.

    :raises WindowError: when it carries no time zone.
    """
    if not isinstance(instant, datetime):
        raise WindowError(f"{name}={instant!r} must be a datetime with a time zone")
    if instant.tzinfo is None or instant.utcoffset() is None:
        raise WindowError(f"{name}={instant.isoformat()} has no time zone; add one, for example tzinfo=timezone.utc")
    return instant.astimezone(UTC)
