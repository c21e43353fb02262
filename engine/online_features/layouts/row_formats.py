"""How rows of each layout are asked for and read, one round trip for any number of them; no Arrow.

A format is made for the columns that are wanted, and kept: what does not depend on the rows is decided once. Many rows
are read a column at a time, which does not tell what is damaged; :meth:`RowFormat.row` reads a row again and does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import repeat
from typing import Any, Protocol, TypeAlias

from online_features.common.instants import from_text
from online_features.errors import OnlineDataError
from online_features.layouts import keyspace
from online_features.layouts.feast import feast_format, feast_values
from online_features.resp.commands import CommandForm
from online_features.resp.replies import optional_text, text
from online_features.schema import Column
from online_features.types import values
from online_features.types.postgres_types import Encoding

# Gives the values of a column, as long as what stands in for them.
Decoder: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]

# The event timestamp of a row, None when there is none, and its values by feature.
Row: TypeAlias = tuple[datetime | None, Mapping[str, Any]]

# What reading rows raises when a reply is none, or not what this package writes.
DAMAGE = (OnlineDataError, *values.DAMAGE, *feast_values.DAMAGE)


class RowFormat(Protocol):
    """Rows of one view and one layout, with the features that are wanted.

    :param command: reads one row by its key.
    """

    command: CommandForm

    def rows(self, replies: Sequence[Any]) -> Iterable[Row]:
        """Event timestamps and values of many rows, all of them read when this returns.

        :raises Exception: one of :data:`DAMAGE`; :meth:`row` tells which row and which feature it is.
        """
        ...

    def row(self, reply: Any) -> Row:
        """Event timestamp and values of one row.

        :raises OnlineDataError: when a value is not what this package writes.
        :raises ValueError: when the event timestamp is not.
        """
        ...


class HashFormat:
    """Layout ``hash``."""

    def __init__(self, view_name: str, columns: Sequence[Column]) -> None:  # noqa: ARG002
        self.command = CommandForm("HMGET", (keyspace.TIMESTAMP_FIELD, *(column.name for column in columns)))
        self._columns = columns
        self._names = [column.name for column in columns]
        # By the type of replies: the user's client decodes them, or does not.
        self._decoders: Mapping[type, Sequence[Decoder]] = {
            bytes: [_each(_instant), *(_of_texts(column, values.decoder_of_bytes) for column in columns)],
            str: [_each(from_text), *(_of_texts(column, values.decoder) for column in columns)],
        }

    def rows(self, replies: Sequence[Any]) -> Iterable[Row]:
        """Event timestamps and values of many rows."""
        kind = next((type(reply[0]) for reply in replies if reply[0] is not None), bytes)
        return _by_column(self._names, self._decoders[kind], replies)

    def row(self, reply: Any) -> Row:
        """Event timestamp and values of one row."""
        timestamp, *texts = map(optional_text, reply)
        if timestamp is None:
            return None, {}
        read = {
            column.name: None if text is None else values.decode(column, text)
            for column, text in zip(self._columns, texts, strict=True)
        }
        return from_text(timestamp), read


class JsonFormat:
    """Layout ``json``."""

    def __init__(self, view_name: str, columns: Sequence[Column]) -> None:  # noqa: ARG002
        self.command = CommandForm("GET")
        self._columns = columns
        self._names = [column.name for column in columns]
        self._exact = [column.name for column in columns if _is_exact(column)]
        self._decoders = [_each(from_text), *(_each(values.decoder_of_json(column)) for column in columns)]

    def rows(self, replies: Sequence[Any]) -> Iterable[Row]:
        """Event timestamps and values of many rows."""
        return _by_column(self._names, self._decoders, map(self._parts, replies))

    def _parts(self, reply: Any) -> Sequence[Any]:
        if reply is None:
            return [None] * len(self._decoders)
        document = text(reply)
        row = _parsed(ROW, document)
        if self._exact:
            exact = _parsed(values.EXACT_JSON, document)
            row |= {name: exact.get(name) for name in self._exact}
        # A producer that does not know a feature yet has left it out, which is NULL, as in the other layouts.
        return [row[keyspace.TIMESTAMP_FIELD], *map(row.get, self._names)]

    def row(self, reply: Any) -> Row:
        """Event timestamp and values of one row."""
        if reply is None:
            return None, {}
        try:
            row = json.loads(reply, parse_int=_integer)
            exact = json.loads(reply, parse_float=Decimal) if self._exact else row
            timestamp = row[keyspace.TIMESTAMP_FIELD]
            read = {
                column.name: values.from_json(column, (exact if _is_exact(column) else row).get(column.name))
                for column in self._columns
            }
            return from_text(timestamp), read
        except values.DAMAGE as error:
            raise OnlineDataError(f"{reply[:50]!r} is no row of layout json; materialize with full=True") from error


class FeastFormat:
    """Layout ``feast``."""

    def __init__(self, view_name: str, columns: Sequence[Column]) -> None:
        fields = (feast_format.feature_field(view_name, column.name) for column in columns)
        self.command = CommandForm("HMGET", (feast_format.timestamp_field(view_name), *fields))
        self._columns = columns
        self._names = [column.name for column in columns]
        self._decoders = [_each(feast_values.decode_timestamp), *map(feast_values.decoder, columns)]

    def rows(self, replies: Sequence[Any]) -> Iterable[Row]:
        """Event timestamps and values of many rows."""
        return _by_column(self._names, self._decoders, replies)

    def row(self, reply: Any) -> Row:
        """Event timestamp and values of one row."""
        timestamp, *messages = reply
        if timestamp is None:
            return None, {}
        return feast_values.decode_timestamp(timestamp), {
            column.name: feast_values.decode(column, message or b"")
            for column, message in zip(self._columns, messages, strict=True)
        }


def _by_column(names: Sequence[str], decoders: Sequence[Decoder], rows: Iterable[Sequence[Any]]) -> Iterable[Row]:
    """Rows from what stands in for their event timestamps and values: ten loops, instead of one per row."""
    timestamps, *columns = [decode(column) for decode, column in zip(decoders, zip(*rows, strict=True), strict=True)]
    by_row = zip(*columns, strict=True) if columns else [()] * len(timestamps)
    return list(zip(timestamps, map(dict, map(zip, repeat(names), by_row)), strict=True))


def _each(decode: Callable[[Any], Any]) -> Decoder:
    """One value after the other; NULL stays NULL, and a column without any takes no loop in Python."""
    return lambda column: (
        [None if value is None else decode(value) for value in column] if None in column else list(map(decode, column))
    )


def _of_texts(column: Column, decoder: Callable[[Column], Callable[[Any], Any]]) -> Decoder:
    """What Python takes for a number is more than what Postgres writes; all at once, that costs little to find out."""
    match column.encoding:
        case Encoding.INTEGER:
            return partial(_integers, values.INTEGERS[column.type])
        case Encoding.FLOAT:
            return _floats
    return _each(decoder(column))


def _integers(bounds: range, texts: Sequence[Any]) -> Sequence[int | None]:
    if None in texts:
        return _around_nulls(partial(_integers, bounds), texts)
    numbers = list(map(int, _made_of(values.INTEGER_CHARACTERS, texts)))
    if min(numbers) not in bounds or max(numbers) not in bounds:
        raise ValueError(texts)
    return numbers


def _floats(texts: Sequence[Any]) -> Sequence[float | None]:
    if None in texts:
        return _around_nulls(_floats, texts)
    numbers = list(map(float, _made_of(values.FLOAT_CHARACTERS, texts)))
    if not math.isfinite(sum(numbers)):
        for told in texts:
            values.floating(text(told))
    return numbers


def _around_nulls(decode: Decoder, texts: Sequence[Any]) -> Sequence[Any]:
    present = [told for told in texts if told is not None]
    decoded = iter(decode(present) if present else ())
    return [None if told is None else next(decoded) for told in texts]


def _made_of(characters: bytes, texts: Sequence[Any]) -> Sequence[Any]:
    together = b"".join(texts) if isinstance(texts[0], bytes) else "".join(texts).encode()
    if together.translate(None, characters):
        raise ValueError(texts)
    return texts


def _instant(text: bytes) -> datetime:
    return from_text(text.decode())


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


def _is_exact(column: Column) -> bool:
    return column.encoding == Encoding.JSON and column.type.startswith("numeric[")
