"""Base class of formats, which decode the rows of a layout without Arrow.

A format is made once for the columns to read and kept, so that what does not depend on the rows is decided once. Rows
are decoded a column at a time; if that fails, the values are decoded one by one to find the damaged one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

from online_features.errors import OnlineDataError
from online_features.resp.commands import CommandForm
from online_features.schema import Column
from online_features.types import values
from online_features.types.number_arrays import numpy_of
from online_features.types.registry import codec_of

# Decodes a column: at least one value, and no NULL.
Decoder: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]

# Makes the error for a damaged value.
Damage: TypeAlias = Callable[[Column, Any, Exception], OnlineDataError]

# The event timestamp of a row (None: no row) and its values by feature.
Row: TypeAlias = tuple[datetime | None, Mapping[str, Any]]

# Errors of decoders for a damaged reply; binary values raise the last two.
DAMAGE = (OnlineDataError, *values.DAMAGE, IndexError, struct.error)


class RowFormat:
    """Rows of one view in one layout, with the features to read.

    :param command: reads one row by its key.
    :param decoders: of the event timestamp, and of each column in turn.
    """

    def __init__(self, command: CommandForm, columns: Sequence[Column], decoders: Sequence[Decoder]) -> None:
        self.command = command
        self._as_dictionary = _dictionary_maker([column.name for column in columns])
        self._decoders = decoders

    def rows(self, replies: Sequence[Any]) -> Iterable[Row]:
        """Return event timestamps and values of many rows, all of them decoded when this returns.

        :raises Exception: one of :data:`DAMAGE`; an :class:`OnlineDataError` names the feature.
        """
        # Loops over columns, instead of one per row.
        stored = self._columns(replies)
        timestamps, *columns = [decode(column) for decode, column in zip(self._decoders, stored, strict=True)]
        values = map(self._as_dictionary, *columns) if columns else ({} for _ in timestamps)
        return list(zip(timestamps, values, strict=True))

    def row(self, reply: Any) -> Row:
        """Return event timestamp and values of one row; errors are those of :meth:`rows`."""
        if self._is_absent(reply):
            return None, {}
        (row,) = self.rows([reply])
        return row

    def _columns(self, replies: Sequence[Any]) -> Iterable[Sequence[Any]]:
        """Return the event timestamps, and the values of each feature in turn, as they are stored."""
        return zip(*map(self._parts, replies), strict=True)

    def _parts(self, reply: Any) -> Sequence[Any]:
        """Return event timestamp and values of a row, as they are stored: those that ``HMGET`` returns."""
        return reply  # type: ignore[no-any-return]

    def _is_absent(self, reply: Any) -> bool:
        return reply[0] is None  # fields without the timestamp are not a row


def _dictionary_maker(names: Sequence[str]) -> Callable[..., dict[str, Any]]:
    """Return a function from values to a dictionary by these names.

    It is compiled, as functions of named tuples are: it takes half of the time of ``dict(zip(names, values))``.
    """
    values = [f"value_{i}" for i in range(len(names))]
    items = (f"{name!r}: {value}" for name, value in zip(names, values, strict=True))
    made: Callable[..., dict[str, Any]] = eval(f"lambda {', '.join(values)}: {{{', '.join(items)}}}")  # noqa: S307
    return made


def each(decode: Callable[[Any], Any]) -> Decoder:
    """Return a decoder of a column from that of one value."""
    return lambda stored: list(map(decode, stored))


def column_decoders(
    columns: Sequence[Column], decoder_of: Callable[[Column], Decoder], damage: Damage, *, numpy_arrays: bool = False
) -> list[Decoder]:
    """Return the decoders of columns with NULLs, whose errors name the column and the damaged value.

    :param decoder_of: makes the decoder of a column, which returns arrays of numbers as lists.
    :param numpy_arrays: whether to return these as NumPy arrays.
    """
    made = ((column, decoder_of(column)) for column in columns)
    return [naming(column, _with_numpy(column, decode) if numpy_arrays else decode, damage) for column, decode in made]


def naming(column: Column, decode: Decoder, damage: Damage) -> Decoder:
    """Return a decoder of a column with NULLs, whose errors name the column and the damaged value."""
    return _finding_damage(decode, partial(damage, column))


def timestamps(decode: Decoder) -> Decoder:
    """Return a decoder of event timestamps, whose errors name the damaged one; an absent row has ``None``."""
    return _finding_damage(decode, _damaged_timestamp)


def _damaged_timestamp(stored: Any, error: Exception) -> OnlineDataError:  # noqa: ARG001
    return OnlineDataError(f"{repr(stored)[:50]} is not an event timestamp; materialize with full=True")


def _finding_damage(decode: Decoder, damage: Callable[[Any, Exception], OnlineDataError]) -> Decoder:
    def decoded(stored: Sequence[Any]) -> Sequence[Any]:
        try:
            return _around_nulls(decode, stored) if None in stored else decode(stored)
        except DAMAGE:
            for value in stored:
                try:
                    value is None or decode([value])
                except DAMAGE as error:
                    raise damage(value, error) from error
            raise

    return decoded


def _around_nulls(decode: Decoder, stored: Sequence[Any]) -> Sequence[Any]:
    present = [value for value in stored if value is not None]
    decoded = decode(present) if present else ()
    if decoded is present:  # values are stored as they are read
        return stored
    remaining = iter(decoded)
    return [None if value is None else next(remaining) for value in stored]


def _with_numpy(column: Column, decode: Decoder) -> Decoder:
    number_format = codec_of(column).array_format
    if number_format is None:
        return decode
    return lambda stored: [numpy_of(number_format, value) for value in decode(stored)]
