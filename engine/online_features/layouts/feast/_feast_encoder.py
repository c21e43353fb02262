"""Rows of layout ``feast``: byte for byte what Feast's Redis online store holds, so that Feast reads it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.errors import InvalidRowsError
from online_features.layouts.encoder import Columns, Encoder
from online_features.layouts.feast import _protobuf as protobuf
from online_features.layouts.feast import feast_format
from online_features.layouts.feast.feast_types import FIELD_NUMBER, INTEGERS, NO_TIME, FeastType
from online_features.resp.commands import word
from online_features.resp.word_columns import Piece, joined, words
from online_features.schema import Column
from online_features.types.arrow.texts import instants

MICROSECONDS = 1_000_000  # in a second

VARINTS = (*INTEGERS, FeastType.BOOL, FeastType.UNIX_TIMESTAMP)
FLOATS = {FeastType.FLOAT32: protobuf.FIXED32, FeastType.FLOAT64: protobuf.FIXED64}


class FeastEncoder(Encoder):
    """Encodes rows as fields of the hash that Feast has for an entity.

    A row has a field for every feature; that of a NULL is empty. Rows past the view's ttl are written like all others.
    """

    def check(self, batch: pa.RecordBatch) -> None:
        """Refuse arrays of integers with a NULL inside."""
        for feature, column in zip(self._schema.features, self._columns(batch).features, strict=True):
            self._refuse_null_elements(feature, column)

    def _row(self, columns: Columns) -> tuple[list[Piece], np.ndarray]:
        created = columns.created_timestamp
        guard = [
            *words(instants(columns.event_timestamp)),
            *([word("")] if created is None else words(instants(created).fill_null(""))),
        ]
        timestamp, *features = self._fields(columns)
        values = words(timestamp)
        for feature in features:
            values += words(feature)
        return [*guard, *values], np.full(len(columns.event_timestamp), len(columns.features) + 3)

    def _replies(self, columns: Columns) -> Sequence[list[bytes | None]]:
        timestamp, *features = (field.to_pylist() for field in self._fields(columns))
        return list(map(list, zip(timestamp, [None] * len(timestamp), *features, strict=True)))

    def _fields(self, columns: Columns) -> list[pa.BinaryArray]:
        """Return the event timestamp and the features."""
        pairs = zip(self._schema.features, columns.features, strict=True)
        return [_timestamps(columns.event_timestamp), *(_values(feature, column) for feature, column in pairs)]

    def _refuse_null_elements(self, feature: Column, column: pa.Array) -> None:
        assert feature.feast is not None
        if feature.feast.is_list and feature.feast.element in INTEGERS and column.flatten().null_count:
            raise InvalidRowsError(
                f"feature view {self._view.name!r}: column {feature.name!r} holds arrays of integers with a NULL "
                "inside, which Feast does not; replace it in a query="
            )

    def _key(self, keys: Sequence[pa.Array]) -> pa.Array:
        named = sorted(zip(self._schema.keys, keys, strict=True), key=lambda pair: pair[0].name)
        pieces: list[Piece] = [feast_format.key_prefix(self._view.entities)]
        for column, values in named:
            assert column.feast is not None
            encoded = _key_bytes(column.feast, values)
            lengths = protobuf.fixed(pc.binary_length(encoded).to_numpy(zero_copy_only=False).astype(np.uint32))
            pieces += [feast_format.value_header(column.feast), lengths, encoded]
        return joined([*pieces, self._view.project])


def _key_bytes(kind: FeastType, values: pa.Array) -> pa.Array:
    match kind:
        case FeastType.INT32 | FeastType.INT64:
            return protobuf.fixed(values.to_numpy(zero_copy_only=False))
        case FeastType.UNIX_TIMESTAMP:
            return protobuf.fixed(_microseconds(values) // MICROSECONDS)
    return values


def _timestamps(column: pa.TimestampArray) -> pa.BinaryArray:
    """Return each instant as a ``google.protobuf.Timestamp``: seconds and nanoseconds, without those that are zero."""
    seconds, rest = np.divmod(_microseconds(column), MICROSECONDS)
    return joined([_field_unless_zero(1, seconds), _field_unless_zero(2, rest * 1000)])


def _field_unless_zero(number: int, values: np.ndarray) -> pa.BinaryArray:
    fields = joined([protobuf.tag(number, protobuf.VARINT), protobuf.varints(values)])
    return pc.if_else(pa.array(values != 0), fields, b"")


def _values(feature: Column, column: pa.Array) -> pa.BinaryArray:
    """Return each value as a ``feast.types.Value``; a NULL has no bytes."""
    assert feature.feast is not None
    if feature.feast == FeastType.UNIX_TIMESTAMP:
        # Feast has a number that means "not a time"; a NULL of another type is an empty Value.
        seconds = np.where(column.is_null().to_numpy(zero_copy_only=False), NO_TIME, _seconds(column))
        return _scalar(FeastType.UNIX_TIMESTAMP, pa.array(seconds))
    if feature.feast in FLOATS:
        column = pc.if_else(pc.is_nan(column), None, column)
    values = _list(feature.feast, column) if feature.feast.is_list else _scalar(feature.feast, column)
    return values if column.null_count == 0 else pc.if_else(column.is_valid(), values, b"")


def _scalar(kind: FeastType, column: pa.Array) -> pa.BinaryArray:
    number = FIELD_NUMBER[kind]
    if kind in FLOATS:
        return joined([protobuf.tag(number, FLOATS[kind]), protobuf.fixed(_numbers(column))])
    if kind in VARINTS:
        return joined([protobuf.tag(number, protobuf.VARINT), protobuf.varints(_numbers(column))])
    return joined([protobuf.tag(number, protobuf.LENGTH), *protobuf.length_first(_bytes(column))])


def _list(kind: FeastType, column: pa.ListArray) -> pa.BinaryArray:
    offsets = np.concatenate(([0], np.cumsum(pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False))))
    payload = protobuf.packed(_elements(kind.element, column.flatten()), offsets)
    if kind.element in (*VARINTS, *FLOATS):
        # All numbers are one field, or none if there are no numbers; other elements are a field each.
        whole = joined([protobuf.tag(1, protobuf.LENGTH), *protobuf.length_first(payload)])
        payload = pc.if_else(pa.array(np.diff(offsets) > 0), whole, b"")
    return joined([protobuf.tag(FIELD_NUMBER[kind], protobuf.LENGTH), *protobuf.length_first(payload)])


def _elements(kind: FeastType, elements: pa.Array) -> pa.BinaryArray:
    """Return the elements of a list; a NULL becomes what Feast writes for it."""
    if kind == FeastType.UNIX_TIMESTAMP:
        # In lists, Feast rounds fractions of a second towards zero; elsewhere it rounds them down.
        microseconds = _microseconds(elements)
        seconds = np.sign(microseconds) * (np.abs(microseconds) // MICROSECONDS)
        return protobuf.varints(np.where(elements.is_null().to_numpy(zero_copy_only=False), NO_TIME, seconds))
    if kind in FLOATS:
        return protobuf.fixed(_numbers(elements.fill_null(float("nan"))))
    if kind in VARINTS:
        return protobuf.varints(_numbers(elements))
    return joined([protobuf.tag(1, protobuf.LENGTH), *protobuf.length_first(_bytes(elements))])


def _bytes(column: pa.Array) -> pa.BinaryArray:
    """Return text or bytes as bytes; empty in place of NULLs."""
    return column.cast(pa.binary()).fill_null(b"")


def _numbers(column: pa.Array) -> np.ndarray:
    """Return numbers or booleans as they are in memory; zero in place of NULLs."""
    zero = pa.scalar(0).cast(column.type)
    numbers: np.ndarray = column.fill_null(zero).to_numpy(zero_copy_only=False)
    return numbers


def _microseconds(column: pa.TimestampArray) -> np.ndarray:
    """Return microseconds since the epoch; zero in place of NULLs."""
    return _numbers(column.cast(pa.int64()))


def _seconds(column: pa.TimestampArray) -> np.ndarray:
    return _microseconds(column) // MICROSECONDS
