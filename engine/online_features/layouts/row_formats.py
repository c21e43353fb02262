"""How rows of each layout are read, one round trip for any number of them; no Arrow.

A format is made for the columns that are wanted, and kept: what does not depend on the rows is decided once. Rows are
decoded a column at a time; where that fails, the value that is damaged is looked for.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any, TypeAlias

from online_features.common.instants import from_text
from online_features.errors import OnlineDataError
from online_features.layouts import keyspace
from online_features.layouts.feast import feast_format, feast_values
from online_features.resp.commands import CommandForm
from online_features.resp.replies import text
from online_features.schema import Column
from online_features.types import values
from online_features.types.codec import EXACT_JSON
from online_features.types.registry import codec_of

# Decodes a column: at least one value, and no NULL.
Decoder: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]

# Makes the error for a damaged value.
Damage: TypeAlias = Callable[[Column, Any, Exception], OnlineDataError]

# The event timestamp of a row, None when there is none, and its values by feature.
Row: TypeAlias = tuple[datetime | None, Mapping[str, Any]]

# What reading rows raises when a reply is not a row, or not what this package writes.
DAMAGE = (OnlineDataError, *values.DAMAGE, *feast_values.DAMAGE)


class RowFormat(ABC):
    """Rows of one view and one layout, with the features that are wanted.

    :param command: reads one row by its key.
    :param decoders: of the event timestamp, and of each column in turn.
    """

    def __init__(self, command: CommandForm, columns: Sequence[Column], decoders: Sequence[Decoder]) -> None:
        self.command = command
        self._names = [column.name for column in columns]
        self._decoders = decoders

    def rows(self, replies: Sequence[Any]) -> Iterable[Row]:
        """Return event timestamps and values of many rows, all of them decoded when this returns.

        :raises Exception: one of :data:`DAMAGE`; an :class:`OnlineDataError` names the feature.
        """
        parts = zip(*map(self._parts, replies), strict=True)
        timestamps, *columns = [decode(column) for decode, column in zip(self._decoders, parts, strict=True)]
        # Loops over columns, instead of one per row.
        by_row = zip(*columns, strict=True) if columns else [()] * len(timestamps)
        return list(zip(timestamps, map(dict, map(zip, repeat(self._names), by_row)), strict=True))

    def row(self, reply: Any) -> Row:
        """Return event timestamp and values of one row; errors are those of :meth:`rows`."""
        if self._is_absent(reply):
            return None, {}
        (row,) = self.rows([reply])
        return row

    @abstractmethod
    def _parts(self, reply: Any) -> Sequence[Any]:
        """Return event timestamp and values of a row, as they are stored."""

    def _is_absent(self, reply: Any) -> bool:
        return reply[0] is None  # fields without the timestamp are not a row


class HashFormat(RowFormat):
    """Layout ``hash``."""

    def __init__(self, view_name: str, columns: Sequence[Column]) -> None:  # noqa: ARG002
        command = CommandForm("HMGET", (keyspace.TIMESTAMP_FIELD, *(column.name for column in columns)))
        decoders = (_named(column, _from_replies(codec_of(column).decode_all), values.damage) for column in columns)
        super().__init__(command, columns, [_timestamps(lambda stored: from_text(text(stored))), *decoders])

    def _parts(self, reply: Any) -> Sequence[Any]:
        return reply  # type: ignore[no-any-return]


class JsonFormat(RowFormat):
    """Layout ``json``."""

    def __init__(self, view_name: str, columns: Sequence[Column]) -> None:  # noqa: ARG002
        decoders = (_named(column, _each(codec_of(column).decode_json), values.damage) for column in columns)
        super().__init__(CommandForm("GET"), columns, [_timestamps(from_text), *decoders])
        self._exact = [column.name for column in columns if codec_of(column).needs_exact_json]
        self._nothing = [None] * len(self._decoders)

    def _parts(self, reply: Any) -> Sequence[Any]:
        if reply is None:
            return self._nothing
        try:
            document = text(reply)
            row = _parsed(ROW, document)
            if self._exact:
                exact = _parsed(EXACT_JSON, document)
                row |= {name: exact.get(name) for name in self._exact}
            # A producer that does not know a feature yet has left it out, which is NULL, as in the other layouts.
            return [row[keyspace.TIMESTAMP_FIELD], *map(row.get, self._names)]
        except values.DAMAGE as error:
            raise OnlineDataError(f"{reply[:50]!r} is no row of layout json; materialize with full=True") from error

    def _is_absent(self, reply: Any) -> bool:
        return reply is None


class FeastFormat(RowFormat):
    """Layout ``feast``."""

    def __init__(self, view_name: str, columns: Sequence[Column]) -> None:
        fields = (feast_format.feature_field(view_name, column.name) for column in columns)
        command = CommandForm("HMGET", (feast_format.timestamp_field(view_name), *fields))
        decoders = (_named(column, feast_values.decoder(column), feast_values.damage) for column in columns)
        super().__init__(command, columns, [_timestamps(feast_values.decode_timestamp), *decoders])

    def _parts(self, reply: Any) -> Sequence[Any]:
        return reply  # type: ignore[no-any-return]


def _named(column: Column, decode: Decoder, damage: Damage) -> Decoder:
    """Decode a column with NULLs; name the column, and the value that is damaged, when that fails."""

    def decoded(stored: Sequence[Any]) -> Sequence[Any]:
        try:
            return _around_nulls(decode, stored) if None in stored else decode(stored)
        except DAMAGE:
            for value in stored:
                try:
                    value is None or decode([value])
                except DAMAGE as error:
                    raise damage(column, value, error) from error
            raise

    return decoded


def _from_replies(decode: Decoder) -> Decoder:
    """Decode texts that the user's client has left as bytes, or has made ``str`` of (``decode_responses``)."""
    return lambda stored: decode(list(map(bytes.decode, stored)) if isinstance(stored[0], bytes) else stored)


def _around_nulls(decode: Decoder, stored: Sequence[Any]) -> Sequence[Any]:
    present = [value for value in stored if value is not None]
    decoded = iter(decode(present) if present else ())
    return [None if value is None else next(decoded) for value in stored]


def _timestamps(decode: Callable[[Any], datetime]) -> Decoder:
    """Decode event timestamps; a row that is not there has none."""
    return lambda stored: (
        [None if value is None else decode(value) for value in stored] if None in stored else list(map(decode, stored))
    )


def _each(decode: Callable[[Any], Any]) -> Decoder:
    return lambda stored: list(map(decode, stored))


def _integer(digits: str) -> int | float:
    # A float without a fraction; Python has no integer for it.
    return -0.0 if digits == "-0" else int(digits)


ROW = json.JSONDecoder(parse_int=_integer)


def _parsed(decoder: json.JSONDecoder, document: str) -> Any:
    """The value of a document without white space around it, for which ``decode`` would search twice."""
    value, end = decoder.raw_decode(document)
    if end != len(document):
        raise ValueError(document)
    return value
