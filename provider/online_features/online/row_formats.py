"""How rows of each layout are asked for and read, one round trip for any number of them; no Arrow.

A format is made for the columns that are wanted, and kept: whatever does not depend on the row is decided then. What
its quick way to the values stumbles over is read again column by column, which names the one that is damaged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from online_features.errors import OnlineDataError
from online_features.instants import from_text
from online_features.online import feast_format, feast_values, keyspace, values
from online_features.online.commands import CommandForm
from online_features.online.replies import text
from online_features.postgres_types import Encoding
from online_features.schema import Column


class RowFormat(Protocol):
    """Rows of one view and one layout, with the features that are wanted.

    :param command: reads one row by its key.
    """

    command: CommandForm

    def read(self, reply: Any) -> tuple[datetime | None, Mapping[str, Any]]:
        """The event timestamp, ``None`` when there is no row, and the values by feature.

        :raises OnlineDataError: when a value is not what this package writes.
        :raises ValueError: when the event timestamp is not.
        """
        ...


class HashFormat:
    """Layout ``hash``."""

    def __init__(self, view_name: str, columns: Sequence[Column]) -> None:  # noqa: ARG002
        self.command = CommandForm("HMGET", (keyspace.TIMESTAMP_FIELD, *(column.name for column in columns)))
        self._columns = columns
        # By the type of replies: the user's client decodes them, or does not.
        self._decoders: Mapping[type, Sequence[tuple[str, Callable[[Any], Any]]]] = {
            bytes: [(column.name, values.decoder_of_bytes(column)) for column in columns],
            str: [(column.name, values.decoder(column)) for column in columns],
        }

    def read(self, reply: Any) -> tuple[datetime | None, Mapping[str, Any]]:
        """The event timestamp and the values."""
        timestamp, *found = reply
        if timestamp is None:
            return None, {}
        try:
            read = {
                name: None if value is None else decode(value)
                for (name, decode), value in zip(self._decoders[type(timestamp)], found, strict=True)
            }
        except values.DAMAGE:
            read = {
                column.name: None if value is None else values.decode(column, text(value))
                for column, value in zip(self._columns, found, strict=True)
            }
        return from_text(text(timestamp)), read


class JsonFormat:
    """Layout ``json``."""

    def __init__(self, view_name: str, columns: Sequence[Column]) -> None:  # noqa: ARG002
        self.command = CommandForm("GET")
        self._columns = columns
        self._has_exact = any(map(_is_exact, columns))
        self._decoders = [(column.name, _is_exact(column), values.decoder_of_json(column)) for column in columns]

    def read(self, reply: Any) -> tuple[datetime | None, Mapping[str, Any]]:
        """The event timestamp and the values."""
        if reply is None:
            return None, {}
        try:
            timestamp, read = self._quickly(text(reply))
        except (*values.DAMAGE, AttributeError):
            timestamp, read = self._carefully(reply)
        return None if timestamp is None else from_text(timestamp), read

    def _quickly(self, document: str) -> tuple[Any, Mapping[str, Any]]:
        row = _parsed(ROW, document)
        exact = _parsed(values.EXACT_JSON, document) if self._has_exact else row
        read = {}
        for name, is_exact, decode in self._decoders:
            # A producer that does not know a feature yet has left it out, which is NULL, as in the other layouts.
            value = (exact if is_exact else row).get(name)
            read[name] = None if value is None else decode(value)
        return row[keyspace.TIMESTAMP_FIELD], read

    def _carefully(self, reply: Any) -> tuple[Any, Mapping[str, Any]]:
        try:
            row = json.loads(reply, parse_int=_integer)
            exact = json.loads(reply, parse_float=Decimal)
            return row[keyspace.TIMESTAMP_FIELD], {
                column.name: values.from_json(column, (exact if _is_exact(column) else row).get(column.name))
                for column in self._columns
            }
        except (*values.DAMAGE, AttributeError) as error:
            raise OnlineDataError(f"{reply[:50]!r} is no row of layout json; materialize with full=True") from error


class FeastFormat:
    """Layout ``feast``."""

    def __init__(self, view_name: str, columns: Sequence[Column]) -> None:
        fields = (feast_format.feature_field(view_name, column.name) for column in columns)
        self.command = CommandForm("HMGET", (feast_format.timestamp_field(view_name), *fields))
        self._columns = columns
        self._decoders = [(column.name, feast_values.decoder(column)) for column in columns]

    def read(self, reply: Any) -> tuple[datetime | None, Mapping[str, Any]]:
        """The event timestamp and the values."""
        timestamp, *messages = reply
        if timestamp is None:
            return None, {}
        try:
            read = {
                name: decode(message) if message else None
                for (name, decode), message in zip(self._decoders, messages, strict=True)
            }
        except feast_values.DAMAGE:
            read = {
                column.name: feast_values.decode(column, message or b"")
                for column, message in zip(self._columns, messages, strict=True)
            }
        return feast_values.decode_timestamp(timestamp), read


ROW_FORMATS: Mapping[str, Callable[[str, Sequence[Column]], RowFormat]] = {
    "hash": HashFormat, "json": JsonFormat, "feast": FeastFormat,
}  # fmt: skip


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
