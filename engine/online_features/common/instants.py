"""Instants as text: ISO-8601, UTC, always with microseconds, so that texts order as the instants do."""

from __future__ import annotations

from datetime import UTC, datetime


def to_text(instant: datetime) -> str:
    """Write an aware datetime of the years 1 to 9999 as ``2013-01-01T06:00:00.000000Z``."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def from_text(text: str) -> datetime:
    """Read the aware UTC datetime that :func:`to_text` wrote.

    :raises ValueError: when ``text`` is not one of its texts.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return instant
