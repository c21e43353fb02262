"""Columns that a producer gives, as Arrow columns of the types that an encoder expects.

Whole columns are cast where Arrow does it without loss. Where it does not, the values are looked at one by one: by
rules that Arrow has no cast for, or to find the one to name in the error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from online_features.errors import InvalidRowsError
from online_features.producers.given_rows import Values
from online_features.schema import UNKNOWN, Column
from online_features.types import texts, values
from online_features.types.postgres_types import ENCODING_BY_TYPE, KEY_TYPES, Encoding

UTC_MICROSECONDS = pa.timestamp("us", "UTC")

# Types whose values Arrow holds as a materialization reads them; of the others it holds the text.
ARROW_TYPES = {
    "boolean": pa.bool_(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
}

# What holds any Python value of an encoding before it is cast to the column's own type.
WIDEST = {Encoding.BOOLEAN: pa.bool_(), Encoding.INTEGER: pa.int64(), Encoding.FLOAT: pa.float64()}

YEARS = (-62_135_596_800, 253_402_300_800)  # the beginnings of the years 1 and 10000, in seconds since 1970
TICKS = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}  # a second, of Arrow's units of time

IsKind = Callable[[pa.DataType], bool]


def _is_number(kind: pa.DataType) -> bool:
    return bool(kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _is_aware(kind: pa.DataType) -> bool:
    return bool(kinds.is_timestamp(kind)) and kind.tz is not None


# The Postgres type for columns of which nothing is known but Arrow's type; the first that fits counts.
TYPE_BY_KIND: tuple[tuple[IsKind, str], ...] = (
    (kinds.is_null, UNKNOWN),
    (kinds.is_boolean, "boolean"),
    (lambda kind: kinds.is_int8(kind) or kinds.is_int16(kind) or kinds.is_uint8(kind), "smallint"),
    (lambda kind: kinds.is_int32(kind) or kinds.is_uint16(kind), "integer"),
    (lambda kind: kinds.is_int64(kind) or kinds.is_uint32(kind), "bigint"),
    (lambda kind: kinds.is_uint64(kind) or kinds.is_decimal(kind), "numeric"),
    (lambda kind: kinds.is_float16(kind) or kinds.is_float32(kind), "real"),
    (kinds.is_float64, "double precision"),
    (_is_text, "text"),
    (lambda kind: isinstance(kind, pa.UuidType), "uuid"),
    (lambda kind: isinstance(kind, pa.JsonType), "jsonb"),
    (kinds.is_date, "date"),
    (_is_aware, "timestamp with time zone"),
    (kinds.is_timestamp, "timestamp without time zone"),
    (kinds.is_time, "time without time zone"),
    (kinds.is_duration, "interval"),
    (lambda kind: kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_fixed_size_binary(kind), "bytea"),
    (kinds.is_nested, "jsonb"),
)  # fmt: skip


def inferred(name: str, given: Values) -> Column:
    """A column for values like these, when nothing is known of the source yet.

    :raises InvalidRowsError: when they are of no type that Postgres has.
    """
    if isinstance(given, pa.Array):
        for is_kind, type_name in TYPE_BY_KIND:
            if is_kind(given.type):
                return Column(name, type_name, ENCODING_BY_TYPE.get(type_name, Encoding.TEXT))
        raise InvalidRowsError(f"column {name!r}: values of Arrow type {given.type} cannot go online")
    value = next((value for value in given if not is_null(value)), None)
    return Column(name, UNKNOWN, Encoding.TEXT) if value is None else values.inferred_column(name, value)


def inferred_key(name: str, given: Values) -> Column:
    """Likewise for a join key, whose equal values must have one text.

    :raises InvalidRowsError: when they do not.
    """
    column = inferred(name, given)
    if column.type in ("real", "double precision"):  # integers in which pandas has seen a NULL
        return Column(name, "bigint", Encoding.INTEGER)
    if column.type not in KEY_TYPES and column.type != UNKNOWN:
        raise InvalidRowsError(f"column {name!r}: a join key cannot be of type {column.type}; make it text")
    return column


def is_present(given: Values) -> pa.BooleanArray:
    """Which rows have a value where NaN is none."""
    if not isinstance(given, pa.Array):
        return pa.array([not is_null(value) for value in given], pa.bool_())
    if kinds.is_floating(given.type):
        return pc.invert(pc.is_nan(given)).fill_null(fill_value=False)
    return given.is_valid()


def coerced(column: Column, given: Values, *, is_key: bool = False) -> pa.Array:
    """The values as a materialization would read them: of the column's Arrow type, or their texts.

    :raises InvalidRowsError: when one does not fit, naming the column and the value.
    """
    if isinstance(given, pa.Array):
        cast = _cast(column, given)
        if cast is not None and not (is_key and column.type == "character"):
            return cast
        given = python_values(column, given)
    try:
        return _one_by_one(column, given, values.encode_key if is_key else values.encode)
    except RecursionError as error:
        raise InvalidRowsError(f"column {column.name!r} holds a value that is nested too deeply") from error


def coerced_instants(column: Column, given: Values, zone: ZoneInfo) -> pa.TimestampArray:
    """Event or created timestamps as instants, whole microseconds; NULL where they leave the years 1 to 9999.

    :param zone: in which naive times are read, where the source's column has none itself.
    :raises InvalidRowsError: when a value is no time, or naive where the source's column has a zone, or no midnight
        where it holds dates: a run would find an older row there.
    """
    instants = instants_of(column, given, zone)
    if column.type == "date":
        is_other = pc.not_equal(instants, midnights(instants, zone))
        if pc.any(is_other).as_py():
            instant = instants.filter(is_other)[0].as_py().astimezone(zone)
            raise InvalidRowsError(
                f"column {column.name!r}: {instant.isoformat()} is no date, which is what the source holds; give the "
                f"date, or its midnight in {zone.key}"
            )
    return instants


def midnights(instants: pa.TimestampArray, zone: ZoneInfo) -> pa.TimestampArray:
    """The instants at which their days begin in the zone, as Postgres reads dates."""
    days = pc.local_timestamp(instants.cast(pa.timestamp("us", zone.key))).cast(pa.date32())
    return instants_of(Column("day", "date", Encoding.DATE), days, zone)


def instants_of(column: Column, given: Values, zone: ZoneInfo) -> pa.TimestampArray:
    """Likewise, to the microsecond even where the source holds dates."""
    if isinstance(given, pa.Array):
        cast = _cast_instants(column, given, zone)
        if cast is not None:
            return cast
        given = python_values(column, given)
    instants = (None if is_null(value) else _instant(column, value, zone) for value in given)
    return pa.array(instants, UTC_MICROSECONDS)


def as_postgres_reads(naive: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a naive time in a zone: where clocks go back or forward, standard time is meant."""
    either = (naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    return max(local.astimezone(UTC) for local in either)


def _cast(column: Column, given: pa.Array) -> pa.Array | None:
    """The values cast as a whole; ``None`` where Arrow cannot, or would lose something."""
    kind = given.type
    if kinds.is_null(kind):
        return pa.nulls(len(given), ARROW_TYPES.get(column.type, pa.string()))
    is_kind, cast = _CASTS.get(column.encoding, (kinds.is_null, None))
    if cast is None or not is_kind(kind):
        return None
    try:
        return cast(column, given)
    except pa.ArrowInvalid:
        return None


def _cast_instants(column: Column, given: pa.Array, zone: ZoneInfo) -> pa.TimestampArray | None:
    kind = given.type
    is_naive = column.type != "timestamp with time zone"
    try:
        if kinds.is_null(kind):
            return pa.nulls(len(given), UTC_MICROSECONDS)
        if _is_aware(kind):
            return _microseconds(_bounded(given)).cast(UTC_MICROSECONDS)
        if is_naive and kinds.is_timestamp(kind):
            local = _microseconds(_bounded(given))
        elif column.type == "date" and kinds.is_date(kind):
            local = _bounded(given.cast(pa.timestamp("s"))).cast(pa.timestamp("us"))
        else:
            return None
        # Arrow takes a time that clocks skip for the end of the gap, Postgres does not: those go one by one.
        aware = pc.assume_timezone(local, zone.key, ambiguous="latest", nonexistent="raise")
        return _bounded(aware.cast(UTC_MICROSECONDS))
    except pa.ArrowInvalid:
        return None


def _one_by_one(column: Column, given: list[Any], encode: Callable[[Column, Any], str]) -> pa.Array:
    meant = [_meant(column, value) for value in given]
    if column.encoding not in WIDEST:
        return _texts(column, [None if value is None else encode(column, value) for value in meant])
    for value in meant:
        if value is not None:  # Arrow would take a boolean for a number.
            values.check(column, value)
    fitting = _fitting(column, meant)
    if fitting is None:
        misfit = next(value for value in meant if _fitting(column, [value]) is None)
        raise values.misfit(column, misfit)
    return fitting


def _texts(column: Column, encoded: list[str | None]) -> pa.StringArray:
    try:
        return pa.array(encoded, pa.string())
    except UnicodeError as error:
        raise InvalidRowsError(f"column {column.name!r} holds text that has no UTF-8: {error}") from error


def _fitting(column: Column, plain: list[Any]) -> pa.Array | None:
    try:
        return _cast(column, pa.array(plain, WIDEST[column.encoding]))
    except (pa.ArrowInvalid, OverflowError):
        return None


def _meant(column: Column, value: Any) -> Any:
    """The value, as one of the kind that the column's type is made from where another kind says the same.

    NaN is a value of floating and exact numbers alone, and a NULL elsewhere.
    """
    if column.is_array and isinstance(value, (list, tuple)):
        return [_meant_item(column.element, item) for item in value]
    match column.encoding, value:
        case (Encoding.INTEGER, float()) if value.is_integer():
            return int(value)
        case (Encoding.INTEGER, Decimal()) if value.is_finite() and value == value.to_integral_value():
            return int(value)
        case (Encoding.FLOAT, Decimal() | int()) if not isinstance(value, bool):
            return _rounded(value)
        case (Encoding.NUMERIC, float()):
            return Decimal(float.__repr__(value))
        case (Encoding.DATE, datetime()) if value.tzinfo is None and value.time() == time():
            return value.date()
    return None if column.encoding != Encoding.FLOAT and is_null(value) else value


def _rounded(value: Decimal | int) -> Any:
    """The nearest floating number; the value itself, of which there is none, where it is too large."""
    try:
        number = float(value)
    except (OverflowError, ValueError):  # which a signaling NaN raises
        return value
    return value if math.isinf(number) and Decimal(value).is_finite() else number


def _meant_item(element: Column, item: Any) -> Any:
    item = item.tolist() if hasattr(item, "tolist") else item  # NumPy's
    if isinstance(item, (list, tuple)) and element.encoding != Encoding.JSON:
        return [_meant_item(element, inner) for inner in item]
    return _meant(element, item)


def _instant(column: Column, value: Any, zone: ZoneInfo) -> datetime:
    if not isinstance(value, datetime) and (not isinstance(value, date) or column.type != "date"):
        raise values.misfit(column, value)
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    try:
        if values.is_aware(moment):
            return moment.astimezone(UTC)
        if column.type != "timestamp with time zone":
            return as_postgres_reads(moment, zone)
    except (OverflowError, ValueError) as error:
        raise values.misfit(column, value) from error
    raise InvalidRowsError(
        f"column {column.name!r}: {moment.isoformat()} has no time zone; add one, for example tzinfo=timezone.utc"
    )


def python_values(column: Column, given: pa.Array) -> list[Any]:
    """The values as Python has them.

    :raises InvalidRowsError: when Python has none like them.
    """
    try:
        plain: list[Any] = given.to_pylist(maps_as_pydicts="strict")
        if isinstance(given.type, pa.JsonType) and column.encoding == Encoding.JSON:
            plain = [None if text is None else json.loads(text, parse_float=Decimal) for text in plain]
    except (OverflowError, ValueError, KeyError) as error:
        raise InvalidRowsError(f"column {column.name!r} holds a value that is no {column.type}: {error}") from error
    return plain


def _microseconds(given: pa.TimestampArray) -> pa.TimestampArray:
    """In UTC where aware, without a zone, and cut off, not rounded, where finer, as Python's ``datetime`` does."""
    naive = given.cast(pa.timestamp(given.type.unit))
    if naive.type.unit == "ns":
        naive = pc.floor_temporal(naive, unit="microsecond")
    return naive.cast(pa.timestamp("us"))


def _bounded(given: pa.TimestampArray) -> pa.TimestampArray:
    return pc.if_else(_is_of_our_years(given), given, None)


def _cast_local(_: Column, given: pa.TimestampArray) -> pa.StringArray | None:
    local = pc.local_timestamp(given) if given.type.tz else given
    return _of_our_years(_microseconds(local), lambda moments: pc.utf8_rtrim(texts.instants(moments), "Z"))


def _of_our_years(moments: pa.Array, write: Callable[[pa.Array], pa.StringArray]) -> pa.StringArray | None:
    seconds = moments.cast(pa.timestamp("s")) if kinds.is_date(moments.type) else moments
    is_whole = pc.all(_is_of_our_years(seconds)).as_py()
    return None if is_whole is False else write(moments)


def _is_of_our_years(given: pa.TimestampArray) -> pa.BooleanArray:
    """Which times are of the years 1 to 9999, told before a finer unit makes them overflow."""
    ticks, per_second = given.cast(pa.int64()), TICKS[given.type.unit]
    first, last = max(YEARS[0] * per_second, -(2**63)), min(YEARS[1] * per_second - 1, 2**63 - 1)
    return pc.and_(pc.greater_equal(ticks, first), pc.less_equal(ticks, last))


def _cast_floating(column: Column, given: pa.Array) -> pa.Array | None:
    """The numbers, rounded as Postgres rounds them, unless one becomes infinite because it is too large."""
    cast = given.cast(ARROW_TYPES[column.type], safe=not kinds.is_integer(given.type))
    if not kinds.is_float32(cast.type):
        return cast
    is_grown = pc.and_(pc.is_inf(cast), pc.is_finite(given))
    return None if pc.any(is_grown).as_py() else cast


def _cast_text(column: Column, given: pa.Array) -> pa.StringArray | None:
    """The texts, unless they have to be made canonical or one holds a NUL character, which Postgres cannot."""
    if column.type in values.CANONICAL:
        return None
    strings = given.cast(pa.string())
    return None if pc.any(pc.match_substring(strings, "\0")).as_py() else strings


def is_null(value: Any) -> bool:
    """Whether a Python value stands for NULL."""
    is_nan = isinstance(value, float) and value != value  # noqa: PLR0124
    return value is None or is_nan or type(value).__name__ in values.NULL_TYPES


# How a whole column is cast, by encoding: from which kinds, and by what.
_CASTS: dict[Encoding, tuple[IsKind, Callable[[Column, pa.Array], pa.Array | None]]] = {
    Encoding.BOOLEAN: (kinds.is_boolean, lambda _, given: given),
    Encoding.INTEGER: (
        _is_number, lambda column, given: given.cast(ARROW_TYPES.get(column.type, WIDEST[Encoding.INTEGER]))
    ),
    Encoding.FLOAT: (_is_number, _cast_floating),
    Encoding.TEXT: (_is_text, _cast_text),
    Encoding.NUMERIC: (kinds.is_integer, lambda _, given: given.cast(pa.string())),
    Encoding.DATE: (
        kinds.is_date, lambda _, given: _of_our_years(given.cast(pa.date32()), lambda days: days.cast(pa.string()))
    ),
    Encoding.TIMESTAMP: (kinds.is_timestamp, _cast_local),
    Encoding.INSTANT: (_is_aware, lambda _, given: _of_our_years(_microseconds(given), texts.instants)),
}  # fmt: skip
