"""Keys and fields of Feast's Redis online store (entity key serialization version 3).

Sources: ``docs/specs/online_store_format.md`` and ``infra/key_encoding_utils.py`` of Feast.

A key is the number of join keys, then each join key's type (a string) and name, then each value's type and text, in
the order of the names, then the project. Numbers are little-endian; names and values follow their length. All
feature views of the same entities share a key, a Redis hash with a field for every feature, named by a hash of
``<view>:<feature>``, and a field ``_ts:<view>`` for every view.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import mmh3

from online_features.common.instants import to_text
from online_features.errors import InvalidRowsError
from online_features.layouts.feast.feast_types import KEY_NUMBER, FeastType
from online_features.schema import Column

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp_field(view_name: str) -> bytes:
    """Return the field that holds the event timestamp of a view's row."""
    return f"_ts:{view_name}".encode()


def tombstone_field(view_name: str) -> bytes:
    """Return the field that marks the entity as deleted from a view; Feast ignores it."""
    return f"@online_features:gone:{view_name}".encode()


def feature_field(view_name: str, feature: str) -> bytes:
    """Return the field that holds a feature."""
    return mmh3.hash(f"{view_name}:{feature}", signed=False).to_bytes(4, "little")


def key_prefix(names: Sequence[str]) -> bytes:
    """Return the prefix of the keys of all entities with these join keys."""
    encoded = (_length_first(KEY_NUMBER[FeastType.STRING], name.encode()) for name in sorted(names))
    return struct.pack("<I", len(names)) + b"".join(encoded)


def value_header(kind: FeastType) -> bytes:
    """Return the bytes before the length of a join key's value."""
    return struct.pack("<I", KEY_NUMBER[kind])


def entity_key(columns: Sequence[Column]) -> Callable[[Sequence[str]], bytes]:
    """Return a function that returns the key of an entity, without the project.

    It takes the texts of the join keys, as :func:`~online_features.types.values.encode_key` returns them, and raises
    :class:`InvalidRowsError` when a value does not fit Feast's type.
    """
    prefix = key_prefix([column.name for column in columns])
    places = sorted(range(len(columns)), key=lambda i: columns[i].name)
    parts = [(i, columns[i], KEY_NUMBER[_feast(columns[i])]) for i in places]
    return lambda texts: (
        prefix + b"".join([_length_first(number, _encoded(column, texts[i])) for i, column, number in parts])
    )


def entity_texts(columns: Sequence[Column], key: bytes) -> tuple[list[str], bytes]:
    """Return the texts of the values in a key, in the order of ``columns``, and the rest of the key: the project.

    :raises ValueError: when it is not a key of these columns.
    """
    at = len(key_prefix([column.name for column in columns]))
    texts = {}
    for column in sorted(columns, key=lambda column: column.name):
        if len(key) < at + 8:
            raise ValueError(key)
        number, length = struct.unpack_from("<II", key, at)
        value = key[at + 8 : at + 8 + length]
        at += 8 + length
        if number != KEY_NUMBER[_feast(column)] or len(key) < at:
            raise ValueError(key)
        texts[column.name] = _decoded(column, value)
    return [texts[column.name] for column in columns], key[at:]


def _length_first(number: int, value: bytes) -> bytes:
    return struct.pack("<II", number, len(value)) + value


def _encoded(column: Column, text: str) -> bytes:
    try:
        return _ENCODE[_feast(column)](text)
    except (struct.error, ValueError, OverflowError) as error:
        raise InvalidRowsError(f"column {column.name!r}: {text!r} is not of Feast's type {column.feast}") from error


def _decoded(column: Column, value: bytes) -> str:
    try:
        if column.feast == FeastType.UNIX_TIMESTAMP:
            return _time_text(column, struct.unpack("<q", value)[0])
        return _DECODE[_feast(column)](value)
    except (struct.error, OverflowError) as error:
        raise ValueError(value) from error


def _time_text(column: Column, seconds: int) -> str:
    text = to_text(UNIX_EPOCH + timedelta(seconds=seconds))
    match column.type:
        case "date":
            return text[:10]
        case "timestamp without time zone":
            return text.removesuffix("Z")
    return text


def _feast(column: Column) -> FeastType:
    assert column.feast is not None
    return column.feast


def _seconds(text: str) -> bytes:
    instant = datetime.fromisoformat(text)
    # Feast reads a time without a zone as UTC.
    aware = instant.replace(tzinfo=instant.tzinfo or UTC)
    return struct.pack("<q", (aware - UNIX_EPOCH) // timedelta(seconds=1))


_ENCODE: dict[FeastType, Callable[[str], bytes]] = {
    FeastType.STRING: str.encode,
    FeastType.BYTES: base64.b64decode,
    FeastType.INT32: lambda text: struct.pack("<i", int(text)),
    FeastType.INT64: lambda text: struct.pack("<q", int(text)),
    FeastType.UNIX_TIMESTAMP: _seconds,
}

_DECODE: dict[FeastType, Callable[[bytes], str]] = {
    FeastType.STRING: bytes.decode,
    FeastType.BYTES: lambda value: base64.b64encode(value).decode(),
    FeastType.INT32: lambda value: str(struct.unpack("<i", value)[0]),
    FeastType.INT64: lambda value: str(struct.unpack("<q", value)[0]),
}
