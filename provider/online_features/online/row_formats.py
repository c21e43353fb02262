"""How rows of each layout are asked for and read, one round trip for any number of them; no Arrow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from online_features.errors import OnlineDataError
from online_features.feature_view import FeatureView
from online_features.instants import to_text
from online_features.online import feast_format, feast_values, keyspace, values
from online_features.online.conversation import Command
from online_features.online.replies import optional_text
from online_features.online.row_keys import Key
from online_features.postgres_types import Encoding
from online_features.schema import Column


class RowFormat(Protocol):
    """One layout's reading side."""

    def command(self, view: FeatureView, key: Key, columns: Sequence[Column]) -> Command:
        """The command that reads one row."""
        ...

    def read(self, reply: Any, columns: Sequence[Column]) -> tuple[str | None, Mapping[str, Any]]:
        """The event timestamp as text, ``None`` when there is no row, and the values by feature.

        :raises OnlineDataError: when the row is not what this package writes.
        """
        ...


class HashFormat:
    """Layout ``hash``."""

    def command(self, view: FeatureView, key: Key, columns: Sequence[Column]) -> Command:  # noqa: ARG002
        """The command that reads one row."""
        return ("HMGET", key, keyspace.TIMESTAMP_FIELD, *(column.name for column in columns))

    def read(self, reply: Any, columns: Sequence[Column]) -> tuple[str | None, Mapping[str, Any]]:
        """The event timestamp and the values."""
        timestamp, *texts = map(optional_text, reply)
        read = {
            column.name: None if text is None else values.decode(column, text)
            for column, text in zip(columns, texts, strict=True)
            if timestamp is not None
        }
        return timestamp, read


class JsonFormat:
    """Layout ``json``."""

    def command(self, view: FeatureView, key: Key, columns: Sequence[Column]) -> Command:  # noqa: ARG002
        """The command that reads one row."""
        return ("GET", key)

    def read(self, reply: Any, columns: Sequence[Column]) -> tuple[str | None, Mapping[str, Any]]:
        """The event timestamp and the values."""
        if reply is None:
            return None, {}
        try:
            stored = json.loads(reply, parse_int=_integer)
            exact = json.loads(reply, parse_float=Decimal) if any(map(_is_exact, columns)) else stored
            # A producer that does not know a feature yet has left it out, which is NULL, as in the other layouts.
            return stored[keyspace.TIMESTAMP_FIELD], {
                column.name: values.from_json(column, (exact if _is_exact(column) else stored).get(column.name))
                for column in columns
            }
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise OnlineDataError(f"{reply[:50]!r} is no row of layout json; materialize with full=True") from error


class FeastFormat:
    """Layout ``feast``."""

    def command(self, view: FeatureView, key: Key, columns: Sequence[Column]) -> Command:
        """The command that reads one row."""
        fields = (feast_format.feature_field(view.name, column.name) for column in columns)
        return ("HMGET", key, feast_format.timestamp_field(view.name), *fields)

    def read(self, reply: Any, columns: Sequence[Column]) -> tuple[str | None, Mapping[str, Any]]:
        """The event timestamp and the values."""
        timestamp, *messages = reply
        if timestamp is None:
            return None, {}
        return to_text(feast_values.decode_timestamp(timestamp)), {
            column.name: feast_values.decode(column, message or b"")
            for column, message in zip(columns, messages, strict=True)
        }


ROW_FORMATS: Mapping[str, RowFormat] = {"hash": HashFormat(), "json": JsonFormat(), "feast": FeastFormat()}


def _integer(digits: str) -> int | float:
    # A float without a fraction; Python has no integer for it.
    return -0.0 if digits == "-0" else int(digits)


def _is_exact(column: Column) -> bool:
    return column.encoding == Encoding.JSON and column.type.startswith("numeric[")
