"""Codecs of dates, times and intervals: ISO-8601."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from online_features.common.instants import MICROSECOND, from_microseconds, from_text, to_text
from online_features.schema import Encoding
from online_features.types import _printing as printing
from online_features.types.codec import Codec, all_of
from online_features.window import FIRST_INSTANT, LAST_INSTANT

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement

INFINITE = ("infinity", "-infinity")

DURATION = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?\d+(?:\.\d+)?)S)?)?"
)

# Times in years that Python cannot represent: BC, or with more than four digits.
OTHER_TIME = re.compile(
    r"(?:(?P<long>[0-9]{5,})|[0-9]{4})-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}(?::[0-9]{2}){0,2})?)?"
    r"(?P<era> BC)?"
)


@dataclass(frozen=True, kw_only=True)
class DateCodec(Codec):
    """Dates."""

    encoding = Encoding.DATE
    accepted = (date,)

    def fitted(self, value: Any) -> Any:
        if isinstance(value, datetime) and value.tzinfo is None and value.time() == time():
            return value.date()
        return super().fitted(value)

    def accepts(self, value: Any) -> bool:
        return isinstance(value, date) and not isinstance(value, datetime)

    def encode(self, value: Any) -> str:
        return date.isoformat(value)

    def decode(self, text: str) -> Any:
        return _parsed(text, date.min, date.max, date.fromisoformat)

    def decode_msgpack(self, values: Sequence[Any]) -> Sequence[Any]:
        return _counted(values, lambda counts: [date.fromordinal(days + 1) for days in counts], self.decode)


@dataclass(frozen=True, kw_only=True)
class TimestampCodec(Codec):
    """Timestamps without time zone, with microseconds."""

    encoding = Encoding.TIMESTAMP
    accepted = (datetime,)

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        return _iso_text(value, value, "")

    def encode(self, value: Any) -> str:
        text: str = value.replace(tzinfo=None).isoformat(timespec="microseconds")
        return text

    def decode(self, text: str) -> Any:
        return _parsed(text, datetime.min, datetime.max, datetime.fromisoformat)

    def decode_msgpack(self, values: Sequence[Any]) -> Sequence[Any]:
        return _counted(values, _naive_from_microseconds, self.decode)

    def encode_element(self, value: Any) -> str:
        return printing.in_json(value.replace(tzinfo=None))


@dataclass(frozen=True, kw_only=True)
class InstantCodec(Codec):
    """Instants in UTC, with microseconds and ``Z``."""

    encoding = Encoding.INSTANT
    accepted = (datetime,)

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        import sqlalchemy as sa

        return _iso_text(value, sa.func.timezone("UTC", value), "Z")

    def accepts(self, value: Any) -> bool:
        return isinstance(value, datetime) and printing.is_aware(value)

    def encode(self, value: Any) -> str:
        return to_text(value)

    def decode(self, text: str) -> Any:
        return _parsed(text, FIRST_INSTANT, LAST_INSTANT, from_text)

    def decode_msgpack(self, values: Sequence[Any]) -> Sequence[Any]:
        return _counted(values, from_microseconds, self.decode)


@dataclass(frozen=True, kw_only=True)
class TimeCodec(Codec):
    """Times of day."""

    encoding = Encoding.TIME
    accepted = (time,)

    def encode(self, value: Any) -> str:
        return printing.clock(value)

    def decode(self, text: str) -> Any:
        # Postgres has an hour 24, which psycopg2 reads as 0.
        return time.fromisoformat("00" + text[2:] if text.startswith("24:") else text)


@dataclass(frozen=True, kw_only=True)
class IntervalCodec(Codec):
    """Durations."""

    encoding = Encoding.INTERVAL
    accepted = (timedelta,)

    def encode(self, value: Any) -> str:
        return printing.duration(value)

    def decode(self, text: str) -> Any:
        # As in psycopg2, a year is 365 days and a month 30.
        if text in INFINITE:
            return text
        parts = DURATION.fullmatch(text)
        if parts is None:
            raise ValueError(text)
        years, months, days, hours, minutes, seconds = (Decimal(part or 0) for part in parts.groups())
        return timedelta(
            days=int(years * 365 + months * 30 + days), hours=int(hours), minutes=int(minutes),
            microseconds=int(seconds * 1_000_000),
        )  # fmt: skip


def _parsed(text: str, least: Any, greatest: Any, parse: Callable[[str], Any]) -> Any:
    """Parse a time; map infinity to the least or greatest one in Python, and return other years as text."""
    try:
        return parse(text)
    except ValueError:
        other = OTHER_TIME.fullmatch(text)
        if other is not None and (other["era"] or other["long"]):
            return text
        if text not in INFINITE:
            raise
    return greatest if text == "infinity" else least


def _counted(
    values: Sequence[Any], from_counts: Callable[[Sequence[int]], list[Any]], decode: Callable[[str], Any]
) -> Sequence[Any]:
    """Read times as MessagePack holds them: days or microseconds since the beginning of the year 1, or else text.

    :raises ValueError: or ``ArithmeticError`` or ``TypeError``, when one is not such a time.
    """
    if str not in set(map(type, values)):
        return from_counts(all_of(int, values))
    return [decode(value) if type(value) is str else from_counts(all_of(int, [value]))[0] for value in values]


def _naive_from_microseconds(counts: Sequence[int]) -> list[datetime]:
    return list(map(datetime.min.__add__, map(MICROSECOND.__mul__, counts)))


def _iso_text(value: ColumnElement[Any], naive: ColumnElement[Any], zone: str) -> ColumnElement[Any]:
    """Select the value as ISO-8601 text if Python has its year, else as Postgres prints it."""
    import sqlalchemy as sa

    first, last = (sa.cast(sa.literal(end.isoformat()), sa.TIMESTAMP) for end in (datetime.min, datetime.max))
    iso = sa.func.to_char(naive, f'YYYY-MM-DD"T"HH24:MI:SS.US"{zone}"')
    return sa.case((naive.between(first, last), iso), else_=sa.cast(value, sa.Text))


TIMES = (
    DateCodec(name="date", can_be_key=True),
    TimestampCodec(name="timestamp without time zone", can_be_key=True),
    InstantCodec(name="timestamp with time zone", can_be_key=True),
    TimeCodec(name="time without time zone"),
    TimeCodec(name="time with time zone"),
    IntervalCodec(name="interval"),
)
