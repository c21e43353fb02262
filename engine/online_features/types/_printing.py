"""Print Python values as Postgres does: the parts that text and JSON share."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

# Postgres prints floats from here on with an exponent, Python only from 10**16 on.
LEAST_WITH_EXPONENT, LEAST_SINGLE_WITH_EXPONENT = 10**15, 10**6


def is_aware(moment: datetime) -> bool:
    """Tell whether the time has a UTC offset; some have a ``tzinfo`` without one."""
    return moment.utcoffset() is not None


def plain(value: str | UUID) -> str:
    """Return the characters of a text.

    :raises ValueError: when it has a NUL character, which Postgres cannot store.
    """
    # str() of an Enum member that is a str returns its name, not its text.
    text = str.__str__(value) if isinstance(value, str) else str(value)
    if "\0" in text:
        raise ValueError("Postgres cannot store a NUL character")
    return text


def quoted(text: str | UUID) -> str:
    """Return the text as a JSON string."""
    return json.dumps(plain(text), ensure_ascii=False)


def without_zeros(number: str) -> str:
    """Cut the zeros from the end of a fraction."""
    return number.rstrip("0").rstrip(".") if "." in number else number


def exact(value: Decimal | int) -> str:
    """Print an exact number without an exponent."""
    number = Decimal(value)
    if number.is_nan():
        return "NaN"
    return str(number) if number.is_infinite() else format(number, "f")


def naive(moment: datetime) -> str:
    """Print date and time without the zone, in microseconds even for pandas timestamps."""
    return datetime.isoformat(moment.replace(tzinfo=None))


def clock(value: time) -> str:
    """Print a time of day without zeros at the end of a fraction or of the zone."""
    local = value.replace(tzinfo=None).isoformat()
    zone = value.isoformat().removeprefix(local)
    while zone.endswith(":00"):
        zone = zone.removesuffix(":00")
    return without_zeros(local) + zone


def duration(value: timedelta) -> str:
    """Print an interval in ``IntervalStyle`` ``iso_8601``, which leaves out the parts that are zero."""
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    date_part = f"{value.days}D" if value.days else ""
    parts = [(f"{hours}H", hours), (f"{minutes}M", minutes),
             (without_zeros(f"{seconds}.{value.microseconds:06}") + "S", seconds or value.microseconds)]  # fmt: skip
    time_part = "".join(text for text, number in parts if number)
    return f"P{date_part}" + (f"T{time_part}" if time_part else "") if date_part or time_part else "PT0S"


def in_json(value: Any) -> str:
    """Print a scalar as ``to_json`` does.

    :raises TypeError: when Postgres has no such scalar.
    """
    match value:
        case None | bool() | int():
            return json.dumps(value)
        case str() | UUID():
            return quoted(value)
        case float():
            return float_in_json(value)
        case Decimal():
            return exact(value) if value.is_finite() else quoted(exact(value))
        case datetime():
            return quoted(_timestamp_in_json(value))
        case date():
            return quoted(value.isoformat())
        case time():
            return quoted(clock(value))
        case timedelta():
            return quoted(duration(value))
        case bytes():
            return quoted("\\x" + value.hex())
    raise TypeError(f"{value!r} has no form in JSON")


def _timestamp_in_json(value: datetime) -> str:
    return without_zeros(naive(value.astimezone(UTC))) + "+00:00" if is_aware(value) else without_zeros(naive(value))


def float_in_json(value: float, least_with_exponent: int = LEAST_WITH_EXPONENT) -> str:
    """Print a float as ``to_json`` does.

    :param least_with_exponent: the least number that has an exponent; ``real`` has another one.
    """
    number = Decimal(float.__repr__(value))
    if not number.is_finite():
        return quoted(exact(number))
    if abs(number) < least_with_exponent:
        return float.__repr__(value).removesuffix(".0")
    digits, exponent = format(number.normalize(), "e").split("e")
    return f"{digits}e{int(exponent):+03}"
