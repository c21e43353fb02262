"""Decodes the values that Feast stores, without Arrow or protobuf.

Source of the format: Feast's ``Value.proto`` and https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from online_features.errors import OnlineDataError
from online_features.layouts.feast.feast_format import UNIX_EPOCH
from online_features.layouts.feast.feast_types import FIELD_NUMBER, NO_TIME, FeastType
from online_features.schema import ARRAY_SUFFIX, Column

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types

MORE = 0x80  # set in every byte of a varint but the last one
VARINT_BITS = 64

SECONDS, NANOSECONDS = b"\x08", b"\x10"  # first bytes of the fields of a timestamp

Field = tuple[int, "int | bytes"]


def damage(column: Column, message: bytes, _: Exception) -> OnlineDataError:
    """Return the error for a message that is not a value."""
    return OnlineDataError(
        f"feature {column.name!r} holds {message[:50]!r}, which is not a value of Feast's; "
        "materialize the view with full=True"
    )


def decoder(column: Column) -> Callable[[Sequence[bytes]], list[Any]]:
    """Return a decoder of many messages of a column; it raises :data:`.row_format.DAMAGE`.

    Nearly all messages are one field, whose first byte determines how to read the rest.
    """
    time_of = _time_of(column)
    read: Mapping[bytes, Callable[[bytes], Any]] = defaultdict(
        lambda: partial(_decoded, column),
        {**_AT_ONCE, _key(FeastType.UNIX_TIMESTAMP, VARINT): lambda message: time_of(_number(message))},
    )
    return lambda messages: [read[message[:1]](message) for message in messages]


def _decoded(column: Column, message: bytes) -> Any:
    """Return the Python value of a ``feast.types.Value``, which names its own type."""
    fields = list(_fields(message))
    if not fields:
        return None
    ((number, content),) = fields
    kind = _BY_NUMBER[number]
    if kind.is_list:
        return [_value(column, kind.element, element) for element in _elements(kind.element, _whole(content))]
    return _value(column, kind, content)


def decode_timestamp(message: bytes) -> datetime:
    """Return the instant of a ``google.protobuf.Timestamp``, to the microsecond.

    :raises ValueError: when the message is not a timestamp.
    """
    try:
        seconds, nanoseconds = _parts(message)
        return UNIX_EPOCH + timedelta(0, _signed(seconds), _signed(nanoseconds) // 1000)
    except (ValueError, ArithmeticError, IndexError, struct.error) as error:
        raise ValueError(f"{message!r} is not a timestamp") from error


def _parts(message: bytes) -> tuple[int | bytes, int | bytes]:
    """Return seconds and nanoseconds, which Feast always writes in this order."""
    if message.startswith(SECONDS):
        seconds, at = _varint(message, 1)
        if message.startswith(NANOSECONDS, at):
            nanoseconds, at = _varint(message, at + 1)
            if at == len(message):
                return seconds, nanoseconds
    fields = dict(_fields(message))
    if not fields.keys() <= {1, 2}:
        raise ValueError(message)
    return fields.get(1, 0), fields.get(2, 0)


def _number(message: bytes) -> int:
    """Return the content of a message that is one varint."""
    value, at = _varint(message, 1)
    if at < len(message):
        raise ValueError(message)
    return _signed(value)


def _bytes(message: bytes) -> bytes:
    """Return the content of a message that is one field of text or bytes."""
    length, at = _varint(message, 1)
    if at + length != len(message):
        raise ValueError(message)
    return message[at:]


def _fields(message: bytes) -> Iterator[Field]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                content: int | bytes
                content, at = _varint(message, at)
            case 1:
                content, at = _taken(message, at, 8)
            case 2:
                length, at = _varint(message, at)
                content, at = _taken(message, at, length)
            case 5:
                content, at = _taken(message, at, 4)
            case _:
                raise ValueError(key)
        yield key >> 3, content


def _taken(message: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(message):
        raise ValueError(message)
    return message[at : at + length], at + length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < VARINT_BITS:
        byte = message[at]
        at += 1
        if byte < MORE:
            value += byte << shift
            if value >> VARINT_BITS:
                break
            return value, at
        value += (byte - MORE) << shift
        shift += 7
    raise ValueError(message)


def _elements(kind: FeastType, message: bytes) -> Iterator[int | bytes]:
    """Iterate over the elements of a list: numbers are packed into one field, others are a field each."""
    for number, field in _fields(message):
        content = _whole(field)
        if number != 1:
            raise ValueError(message)
        width = {FeastType.FLOAT32: 4, FeastType.FLOAT64: 8}.get(kind)
        if width is not None:
            yield from (content[at : at + width] for at in range(0, len(content), width))
        elif kind in _VARINTS:
            at = 0
            while at < len(content):
                value, at = _varint(content, at)
                yield value
        else:
            yield content


def _value(column: Column, kind: FeastType, content: int | bytes) -> Any:
    if kind in _VARINTS:
        return _VARINTS[kind](column, _signed(content))
    return _BYTES[kind](column, _whole(content))


def _whole(content: int | bytes) -> bytes:
    """Return the content of a field that is bytes, not a varint."""
    if not isinstance(content, bytes):
        raise ValueError(content)  # noqa: TRY004 - the data is damaged
    return content


def _signed(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError(value)  # noqa: TRY004 - the data is damaged
    return value - (1 << 64) if value >> 63 else value


def _time(column: Column, seconds: int) -> Any:
    """Return the time as psycopg2 returns the column's values, to the second."""
    return _time_of(column)(seconds)


def _time_of(column: Column) -> Callable[[int], Any]:
    """Return a function that converts the seconds of a column's values."""
    as_given: Callable[[datetime], date] = _TIMES.get(column.type.removesuffix(ARRAY_SUFFIX), lambda instant: instant)
    return lambda seconds: None if seconds == NO_TIME else as_given(UNIX_EPOCH + timedelta(0, seconds))


def _text(_: Column, content: bytes) -> str:
    return content.decode()


def _json(column: Column, content: bytes) -> Any:
    return json.loads(content) if column.type in ("json", "jsonb") else content.decode()


def _decimal(column: Column, content: bytes) -> Any:
    is_number = column.type.removesuffix(ARRAY_SUFFIX) == "numeric"
    return Decimal(content.decode()) if is_number else content.decode()


_BY_NUMBER = {number: kind for kind, number in reversed(FIELD_NUMBER.items())}

_TIMES: dict[str, Callable[[datetime], date]] = {
    "date": datetime.date,
    "timestamp without time zone": lambda instant: instant.replace(tzinfo=None),
}

_VARINTS: dict[FeastType, Callable[[Column, int], Any]] = {
    FeastType.INT32: lambda _, number: number,
    FeastType.INT64: lambda _, number: number,
    FeastType.BOOL: lambda _, number: bool(number),
    FeastType.UNIX_TIMESTAMP: _time,
}

_BYTES: dict[FeastType, Callable[[Column, bytes], Any]] = {
    FeastType.FLOAT32: lambda _, content: struct.unpack("<f", content)[0],
    FeastType.FLOAT64: lambda _, content: struct.unpack("<d", content)[0],
    **dict.fromkeys((FeastType.BYTES, FeastType.PDF_BYTES, FeastType.IMAGE_BYTES), lambda _, content: content),
    **dict.fromkeys((FeastType.STRING, FeastType.UUID, FeastType.TIME_UUID), _text),
    FeastType.JSON: _json,
    FeastType.DECIMAL: _decimal,
}


def _key(kind: FeastType, wire_type: int) -> bytes:
    """Return the first byte of a message, for types whose number is below 16."""
    return bytes([FIELD_NUMBER[kind] << 3 | wire_type])


# How to read a message by its first byte; the first byte of a fixed number is skipped by "x".
_AT_ONCE: dict[bytes, Callable[[bytes], Any]] = {
    b"": lambda _: None,
    _key(FeastType.INT32, VARINT): _number,
    _key(FeastType.INT64, VARINT): _number,
    _key(FeastType.BOOL, VARINT): lambda message: bool(_number(message)),
    _key(FeastType.FLOAT64, FIXED64): lambda message: struct.unpack("<xd", message)[0],
    _key(FeastType.FLOAT32, FIXED32): lambda message: struct.unpack("<xf", message)[0],
    _key(FeastType.BYTES, LENGTH): _bytes,
    _key(FeastType.STRING, LENGTH): lambda message: _bytes(message).decode(),
}
