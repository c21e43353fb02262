"""Rows of layout ``msgpack``, made value by value: what the columnar encoder is compared with."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgpack
import pyarrow as pa
from online_features.schema import Column, Encoding
from online_features.types.registry import codec_of

FIRST = datetime(1, 1, 1)
EXTENSION_TYPES = {"h": 1, "i": 2, "q": 3, "e": 4, "f": 5, "d": 6}


def packed_row(
    features: Sequence[Column],
    values: Sequence[Any],
    timestamp: datetime,
    created: datetime | None = None,
    flags: int = 0,
) -> bytes:
    """Return a row.

    :param values: as the source returns them.
    """
    stamps = [0 if moment is None else microseconds(moment) + 1 for moment in (timestamp, created)]
    head = struct.pack(">BHBQBQB", 0xDC, 3 + len(values), 0xCF, stamps[0], 0xCF, stamps[1], flags)
    return head + b"".join(map(packed_value, features, values))


def packed_value(feature: Column, value: Any) -> bytes:
    """Return a value, which the source returns as its Arrow type or as text."""
    number_format = codec_of(feature).number_format
    match feature.encoding:
        case _ if value is None:
            pass
        case Encoding.FLOAT:
            # As the text layouts print it: 0.1 for 0.1 in 32 bits.
            is_real = feature.type == "real"
            number = float(pa.scalar(value, pa.float32()).cast(pa.string()).as_py()) if is_real else value
            number = float("nan") if math.isnan(number) else number
            return bytes(msgpack.packb(number, use_single_float=is_single(number)))
        case Encoding.DATE | Encoding.TIMESTAMP | Encoding.INSTANT:
            value = time_count(feature, value)
        case Encoding.BASE64:
            value = base64.b64decode(value) if isinstance(value, str) else value
        case Encoding.TEXT if feature.type == "uuid":
            value = UUID(value).bytes
        case Encoding.JSON | Encoding.VECTOR if number_format is not None:
            return packed_numbers(value, number_format)
    return bytes(msgpack.packb(value))


def microseconds(moment: datetime) -> int:
    """Return the microseconds since the beginning of the year 1."""
    return (moment.replace(tzinfo=None) - FIRST) // timedelta(microseconds=1)


def time_count(feature: Column, value: Any) -> Any:
    """Return days or microseconds since the beginning of the year 1; the text of a time that Python does not have."""
    if not isinstance(value, str):
        return microseconds(value) if isinstance(value, datetime) else value.toordinal() - 1
    with suppress(ValueError):
        if feature.encoding == Encoding.DATE:
            return date.fromisoformat(value).toordinal() - 1
        return microseconds(datetime.fromisoformat(value))
    return value


def packed_numbers(text: str, number_format: str) -> bytes:
    """Return a flat array without NULLs as raw numbers; any other as its text."""
    as_number = float if number_format in "efd" else int
    numbers = json.loads(text, parse_int=as_number)  # -0 has a sign
    if any(isinstance(number, list) or number is None for number in numbers):
        return bytes(msgpack.packb(text))
    payload = struct.pack(f"<{len(numbers)}{number_format}", *map(as_number, numbers))
    form = next(form for form, bits in (("BBB", 8), ("BHB", 16), ("BIB", 32)) if len(payload) < 1 << bits)
    head = {"BBB": 0xC7, "BHB": 0xC8, "BIB": 0xC9}[form]
    return struct.pack(f">{form}", head, len(payload), EXTENSION_TYPES[number_format]) + payload


def is_single(number: float) -> bool:
    """Return whether 32 bits hold the number exactly."""
    try:
        return number != number or struct.unpack("<f", struct.pack("<f", number))[0] == number  # noqa: PLR0124
    except OverflowError:
        return False
