"""Convert a producer's times to instants in Arrow: UTC, whole microseconds, years 1 to 9999."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from online_features.errors import InvalidRowsError
from online_features.schema import Column
from online_features.types import values
from online_features.types._printing import is_aware
from online_features.types.arrow.values import Values, python_values
from online_features.types.codec import is_null
from online_features.types.registry import typed_column

UTC_MICROSECONDS = pa.timestamp("us", "UTC")

YEARS = (-62_135_596_800, 253_402_300_800)  # the beginnings of the years 1 and 10000, in seconds since 1970
TICKS = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}  # a second, in Arrow's units of time


def coerced_instants(column: Column, given: Values, zone: ZoneInfo) -> pa.TimestampArray:
    """Convert event or created timestamps to instants; NULL outside the years 1 to 9999.

    :param zone: of naive times, where the source's column has no zone itself.
    :raises InvalidRowsError: when a value is not a time, or is naive where the source's column has a zone, or has a
        time of day where the source holds dates: a run would read an older row from there.
    """
    instants = instants_of(column, given, zone)
    if column.type == "date":
        is_other = pc.not_equal(instants, midnights(instants, zone))
        if pc.any(is_other).as_py():
            instant = instants.filter(is_other)[0].as_py().astimezone(zone)
            raise InvalidRowsError(
                f"column {column.name!r}: {instant.isoformat()} is not a date, but the source holds dates; give the "
                f"date, or its midnight in {zone.key}"
            )
    return instants


def instants_of(column: Column, given: Values, zone: ZoneInfo) -> pa.TimestampArray:
    """Convert timestamps as :func:`coerced_instants` does, but keep the time of day where the source holds dates."""
    if isinstance(given, pa.Array):
        cast = _cast(column, given, zone)
        if cast is not None:
            return cast
        given = python_values(column, given)
    instants = (None if is_null(value) else _instant(column, value, zone) for value in given)
    return pa.array(instants, UTC_MICROSECONDS)


def midnights(instants: pa.TimestampArray, zone: ZoneInfo) -> pa.TimestampArray:
    """Return the beginning of each instant's day in the zone, as Postgres reads dates."""
    days = pc.local_timestamp(instants.cast(pa.timestamp("us", zone.key))).cast(pa.date32())
    return instants_of(typed_column("day", "date"), days, zone)


def as_postgres_reads(naive: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant of a naive time in a zone; where clocks change, assume standard time."""
    either = (naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    return max(local.astimezone(UTC) for local in either)


def microseconds(given: pa.TimestampArray) -> pa.TimestampArray:
    """Cast to microseconds without a zone (UTC where aware), cutting off finer fractions as ``datetime`` does."""
    naive = given.cast(pa.timestamp(given.type.unit))
    if naive.type.unit == "ns":
        naive = pc.floor_temporal(naive, unit="microsecond")
    return naive.cast(pa.timestamp("us"))


def has_years(given: pa.TimestampArray) -> pa.BooleanArray:
    """Tell which times are in the years 1 to 9999; others would overflow in a finer unit."""
    ticks, per_second = given.cast(pa.int64()), TICKS[given.type.unit]
    first, last = max(YEARS[0] * per_second, -(2**63)), min(YEARS[1] * per_second - 1, 2**63 - 1)
    return pc.and_(pc.greater_equal(ticks, first), pc.less_equal(ticks, last))


def _cast(column: Column, given: pa.Array, zone: ZoneInfo) -> pa.TimestampArray | None:
    """Cast the whole column; return ``None`` if its values must be converted one by one."""
    kind = given.type
    has_zone = column.type == "timestamp with time zone"
    try:
        if kinds.is_null(kind):
            return pa.nulls(len(given), UTC_MICROSECONDS)
        if kinds.is_timestamp(kind) and kind.tz is not None:
            return microseconds(_bounded(given)).cast(UTC_MICROSECONDS)
        if kinds.is_timestamp(kind) and not has_zone:
            local = microseconds(_bounded(given))
        elif kinds.is_date(kind) and column.type == "date":
            local = _bounded(given.cast(pa.timestamp("s"))).cast(pa.timestamp("us"))
        else:
            return None
        # Arrow and Postgres differ on times that clocks skip: raise, so that values are converted one by one.
        aware = pc.assume_timezone(local, zone.key, ambiguous="latest", nonexistent="raise")
        return _bounded(aware.cast(UTC_MICROSECONDS))
    except pa.ArrowInvalid:
        return None


def _bounded(given: pa.TimestampArray) -> pa.TimestampArray:
    return pc.if_else(has_years(given), given, None)


def _instant(column: Column, value: Any, zone: ZoneInfo) -> datetime:
    if not isinstance(value, datetime) and (not isinstance(value, date) or column.type != "date"):
        raise values.misfit(column, value)
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    try:
        if is_aware(moment):
            return moment.astimezone(UTC)
        if column.type != "timestamp with time zone":
            return as_postgres_reads(moment, zone)
    except (OverflowError, ValueError) as error:
        raise values.misfit(column, value) from error
    raise InvalidRowsError(
        f"column {column.name!r}: {moment.isoformat()} has no time zone; add one, for example tzinfo=timezone.utc"
    )
