"""Convert a producer's columns to the Arrow types that an encoder expects.

Arrow casts a whole column where nothing is lost. Otherwise the values are converted one by one, by rules for which
Arrow has no cast; this also finds the value to name in an error.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from online_features.errors import InvalidRowsError
from online_features.schema import UNKNOWN, Column, Encoding
from online_features.types import values
from online_features.types._number_codecs import FloatCodec, IntegerCodec
from online_features.types._text_codecs import TextCodec
from online_features.types.arrow.instants import UTC_MICROSECONDS, has_years, microseconds
from online_features.types.arrow.values import Values, python_values
from online_features.types.codec import is_null
from online_features.types.registry import codec_of, typed_column

EPOCH = datetime(1970, 1, 1)
MICROSECOND = datetime.resolution

INTEGERS = (pa.int16(), pa.int32(), pa.int64())

# The types that hold all values of an encoding; values of the other encodings are text in Arrow.
WIDEST = {
    Encoding.BOOLEAN: pa.bool_(),
    Encoding.INTEGER: pa.int64(),
    Encoding.FLOAT: pa.float64(),
    Encoding.DATE: pa.date32(),
    Encoding.TIMESTAMP: pa.timestamp("us"),
    Encoding.INSTANT: UTC_MICROSECONDS,
    Encoding.BASE64: pa.binary(),
}

IsKind = Callable[[pa.DataType], bool]


def _is_number(kind: pa.DataType) -> bool:
    return bool(kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_fixed_size_binary(kind))


def _is_aware(kind: pa.DataType) -> bool:
    return bool(kinds.is_timestamp(kind)) and kind.tz is not None


# The Postgres type to infer from an Arrow type; the first match counts.
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
    (_is_bytes, "bytea"),
    (kinds.is_nested, "jsonb"),
)


def inferred(name: str, given: Values) -> Column:
    """Infer a column from its values, when the source's types are not known yet.

    :raises InvalidRowsError: when Postgres has no type for them.
    """
    if isinstance(given, pa.Array):
        for is_kind, type_name in TYPE_BY_KIND:
            if is_kind(given.type):
                return typed_column(name, type_name)
        raise InvalidRowsError(f"column {name!r}: values of Arrow type {given.type} cannot go online")
    value = next((value for value in given if not is_null(value)), None)
    return typed_column(name, UNKNOWN) if value is None else values.inferred_column(name, value)


def inferred_key(name: str, given: Values) -> Column:
    """Infer a join key's column from its values, when the source's types are not known yet.

    :raises InvalidRowsError: when Postgres has no type for them, or only one whose equal values have several texts.
    """
    column = inferred(name, given)
    if column.type in ("real", "double precision"):  # pandas turns integers beside a NULL into floats
        return typed_column(name, "bigint")
    if column.type != UNKNOWN and not codec_of(column).can_be_key:
        raise InvalidRowsError(f"column {name!r}: a join key cannot be of type {column.type}; make it text")
    return column


def arrow_type(column: Column) -> pa.DataType:
    """Return the Arrow type of the column's values; text where Arrow has no such type."""
    match codec_of(column):
        case IntegerCodec(bounds=bounds):
            return next(kind for kind in INTEGERS if bounds.stop <= 2 ** (kind.bit_width - 1))
        case FloatCodec(is_single=True):
            return pa.float32()
    return WIDEST.get(column.encoding, pa.string())


def coerced(column: Column, given: Values, *, is_key: bool = False) -> pa.Array:
    """Convert the values to the column's Arrow type, or to text where Arrow has no such type.

    :raises InvalidRowsError: when one does not fit, naming the column and the value.
    """
    if isinstance(given, pa.Array):
        cast = _cast(column, given)
        if cast is not None and not (is_key and column.type == "character"):
            return cast
    try:
        fitted = list(map(codec_of(column).fitted, python_values(column, given)))
        if column.encoding in WIDEST:
            return _typed(column, fitted)
        encode = values.encode_key if is_key else values.encode
        return _texts(column, [None if value is None else encode(column, value) for value in fitted])
    except RecursionError as error:
        raise InvalidRowsError(f"column {column.name!r} holds a value that is nested too deeply") from error


def _cast(column: Column, given: pa.Array) -> pa.Array | None:
    """Cast the whole column; return ``None`` if Arrow cannot, or not without loss."""
    if kinds.is_null(given.type):
        return pa.nulls(len(given), arrow_type(column))
    is_kind, cast = _CASTS.get(column.encoding, (kinds.is_null, None))
    if cast is None or not is_kind(given.type):
        return None
    try:
        return cast(column, given)
    except pa.ArrowInvalid:
        return None


def _texts(column: Column, encoded: list[str | None]) -> pa.StringArray:
    try:
        return pa.array(encoded, pa.string())
    except UnicodeError as error:
        raise InvalidRowsError(f"column {column.name!r} holds text that cannot be encoded as UTF-8: {error}") from error


def _typed(column: Column, fitted: list[Any]) -> pa.Array:
    for value in fitted:
        if value is not None:  # Arrow would accept a boolean as a number
            values.check(column, value)
    typed = _in_arrow(column, fitted)
    if typed is None:
        raise values.misfit(column, next(value for value in fitted if _in_arrow(column, [value]) is None))
    return typed


def _in_arrow(column: Column, plain: list[Any]) -> pa.Array | None:
    """Return accepted values as an Arrow column; ``None`` when one does not fit."""
    prepared = _PREPARED.get(column.encoding)
    try:
        given = plain if prepared is None else [None if value is None else prepared(value) for value in plain]
        return _cast(column, pa.array(given, WIDEST[column.encoding]))
    except (ValueError, OverflowError):
        return None


def _since_epoch(moment: datetime) -> int:
    """Return microseconds, without the nanoseconds of pandas timestamps."""
    return (moment.replace(tzinfo=None) - EPOCH) // MICROSECOND


# Conversions of Python values that Arrow does not accept as they are.
_PREPARED: dict[Encoding, Callable[[Any], Any]] = {
    Encoding.TIMESTAMP: _since_epoch,
    Encoding.INSTANT: lambda moment: _since_epoch(moment.astimezone(UTC)),
    Encoding.BASE64: bytes,
}


def _cast_integers(column: Column, given: pa.Array) -> pa.Array:
    codec = codec_of(column)
    is_unsigned = isinstance(codec, IntegerCodec) and codec.bounds.start == 0
    return (given.cast(pa.uint32()) if is_unsigned else given).cast(arrow_type(column))


def _cast_floats(column: Column, given: pa.Array) -> pa.Array | None:
    """Round as Postgres does; return ``None`` if a finite number would become infinite."""
    cast = given.cast(arrow_type(column), safe=not kinds.is_integer(given.type))
    if not kinds.is_float32(cast.type):
        return cast
    overflows = pc.and_(pc.is_inf(cast), pc.is_finite(given))
    return None if pc.any(overflows).as_py() else cast


def _cast_text(column: Column, given: pa.Array) -> pa.StringArray | None:
    """Cast to text; return ``None`` if values need a canonical form or have a NUL character."""
    codec = codec_of(column)
    if isinstance(codec, TextCodec) and codec.canonical is not None:
        return None
    strings = given.cast(pa.string())
    return None if pc.any(pc.match_substring(strings, "\0")).as_py() else strings


def _cast_dates(_: Column, given: pa.Array) -> pa.Array | None:
    days = given.cast(pa.date32())
    return days if _all_have_years(days.cast(pa.timestamp("s"))) else None


def _cast_local(_: Column, given: pa.Array) -> pa.Array | None:
    local = microseconds(pc.local_timestamp(given) if given.type.tz else given)
    return local if _all_have_years(local) else None


def _cast_instants(_: Column, given: pa.Array) -> pa.Array | None:
    moments = microseconds(given)
    return moments.cast(UTC_MICROSECONDS) if _all_have_years(moments) else None


def _all_have_years(moments: pa.TimestampArray) -> bool:
    return pc.all(has_years(moments)).as_py() is not False


# By encoding: the Arrow types of which a whole column is cast, and the cast.
_CASTS: dict[Encoding, tuple[IsKind, Callable[[Column, pa.Array], pa.Array | None]]] = {
    Encoding.BOOLEAN: (kinds.is_boolean, lambda _, given: given),
    Encoding.INTEGER: (_is_number, _cast_integers),
    Encoding.FLOAT: (_is_number, _cast_floats),
    Encoding.TEXT: (_is_text, _cast_text),
    Encoding.NUMERIC: (kinds.is_integer, lambda _, given: given.cast(pa.string())),
    Encoding.DATE: (kinds.is_date, _cast_dates),
    Encoding.TIMESTAMP: (kinds.is_timestamp, _cast_local),
    Encoding.INSTANT: (_is_aware, _cast_instants),
    Encoding.BASE64: (_is_bytes, lambda _, given: given.cast(pa.binary())),
}
