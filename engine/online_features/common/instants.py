"""Instants as text or as a count.

Texts are ISO-8601, UTC, always with microseconds, so that they order as the instants do. Counts are microseconds since
the beginning of the year 1, UTC.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

FIRST = datetime.min.replace(tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_text(instant: datetime) -> str:
    """Write an aware datetime of the years 1 to 9999 as ``2013-01-01T06:00:00.000000Z``."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def from_text(text: str) -> datetime:
    """Read the aware UTC datetime that :func:`to_text` wrote.

    :raises ValueError: when ``text`` is not one of its texts.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is UTC:
        return instant
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is not in the years 1 to 9999") from error


def to_microseconds(instant: datetime) -> int:
    """Count the microseconds from the beginning of the year 1 to an aware datetime."""
    return (instant - FIRST) // MICROSECOND


def from_microseconds(counts: Iterable[int]) -> list[datetime]:
    """Return the aware UTC datetimes of counts.

    :raises OverflowError: when one is not in the years 1 to 9999.
    """
    return list(map(FIRST.__add__, map(MICROSECOND.__mul__, counts)))
