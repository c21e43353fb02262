"""Rows of layout ``msgpack``, read without Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any

import msgpack

from online_features.common.instants import from_microseconds
from online_features.errors import OnlineDataError
from online_features.layouts import keyspace
from online_features.layouts.row_format import DAMAGE, Decoder, RowFormat, column_decoders, timestamps
from online_features.resp.commands import CommandForm
from online_features.schema import Column
from online_features.types import values
from online_features.types.codec import Codec, all_of
from online_features.types.number_arrays import NumberArray, as_numpy
from online_features.types.registry import codec_of

# Items before the features: event timestamp, created timestamp and flags.
HEADER, FLAGS = 3, 2

# Flags of rows that are not tombstones; None stands for a key that holds nothing.
LIVE = frozenset({None, 0, keyspace.PUSHED})


class MsgpackFormat(RowFormat):
    """Reads a row as one MessagePack array.

    :param features: all that rows have, in their order.
    :param columns: the features to read.
    :param numpy_arrays: see :meth:`.RowLayout.row_format`.
    """

    def __init__(self, features: Sequence[Column], columns: Sequence[Column], *, numpy_arrays: bool = False) -> None:
        decoders = column_decoders(columns, partial(_decoder, numpy_arrays=numpy_arrays), values.damage)
        super().__init__(CommandForm("GET"), columns, [timestamps(_instants), *decoders])
        place_of = {feature.name: place for place, feature in enumerate(features, HEADER)}
        places = [place_of[column.name] for column in columns]
        self._chosen = itemgetter(0, *places) if places else lambda row: row[:1]
        self._length = HEADER + len(features)
        self._absent = [None] * self._length

    def _columns(self, replies: Sequence[Any]) -> Iterable[Sequence[Any]]:
        """Return the columns: all at once if the rows have one length and none is a tombstone, else row by row."""
        unpack = msgpack.unpackb
        with suppress(*DAMAGE):
            rows = [self._absent if reply is None else unpack(reply, ext_hook=NumberArray) for reply in replies]
            columns = tuple(zip(*rows, strict=True))
            if LIVE.issuperset(columns[FLAGS]):
                return self._chosen(columns)  # type: ignore[no-any-return]
        return super()._columns(replies)

    def _parts(self, reply: Any) -> Sequence[Any]:
        if reply is None:
            return self._chosen(self._absent)  # type: ignore[no-any-return]
        try:
            row = msgpack.unpackb(reply, ext_hook=NumberArray)
            if row[FLAGS] & keyspace.TOMBSTONE:
                return self._chosen(self._absent)  # type: ignore[no-any-return]
            if len(row) < self._length:
                # A producer with an older definition leaves newer features out, which are NULL, as in other layouts.
                row += [None] * (self._length - len(row))
            return self._chosen(row)  # type: ignore[no-any-return]
        except DAMAGE as error:
            raise OnlineDataError(
                f"{reply[:50]!r} is not a row of layout msgpack; materialize with full=True"
            ) from error

    def _is_absent(self, reply: Any) -> bool:
        return reply is None


def _instants(stamps: Sequence[Any]) -> Sequence[datetime]:
    return from_microseconds([stamp - 1 for stamp in all_of(int, stamps)])


def _decoder(column: Column, *, numpy_arrays: bool) -> Decoder:
    codec = codec_of(column)
    if codec.array_format is None or not numpy_arrays:
        return codec.decode_msgpack
    return partial(_numpy_arrays, codec, codec.array_format)


def _numpy_arrays(codec: Codec, number_format: str, stored: Sequence[Any]) -> Sequence[Any]:
    """Read arrays of numbers as NumPy arrays; those that NumPy does not hold remain lists."""
    return [codec.decode(value) if type(value) is str else as_numpy(number_format, value) for value in stored]
