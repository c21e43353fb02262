"""Texts of the documented keyspace as Python values, and back: what a reader needs, without Arrow."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.instants import from_text, to_text
from online_features.postgres_types import Encoding, encoding_of
from online_features.schema import Column

_BOOLEANS = {"true": True, "false": False}


def _finite(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Dates and timestamps that Python cannot hold (infinity, BC) stay text."""
    return lambda text: text if text.endswith(("infinity", "BC")) else parse(text)


_DECODE: dict[Encoding, Callable[[str], Any]] = {
    Encoding.BOOLEAN: _BOOLEANS.__getitem__,
    Encoding.INTEGER: int,
    Encoding.FLOAT: float,
    Encoding.TEXT: str,
    Encoding.NUMERIC: Decimal,
    Encoding.DATE: _finite(date.fromisoformat),
    Encoding.TIMESTAMP: _finite(datetime.fromisoformat),
    Encoding.INSTANT: _finite(from_text),
    Encoding.BASE64: lambda text: base64.b64decode(text, validate=True),
    Encoding.JSON: json.loads,
}


def decode(column: Column, text: str) -> Any:
    """The Python value that psycopg2 gives for the same value of the column.

    :raises OnlineDataError: when the text is not what this package writes for the column's type.
    """
    encoding = encoding_of(column.type) or Encoding.TEXT
    try:
        return _DECODE[encoding](text)
    except (ValueError, KeyError, ArithmeticError) as error:
        raise OnlineDataError(
            f"feature {column.name!r} holds {text[:50]!r}, which is no {column.type}; "
            "materialize the view with full=True"
        ) from error


def encode(column: Column, value: Any) -> str:
    """The text of a Python value given for a join key.

    :raises InvalidRowsError: when the value does not fit the column's type.
    """
    encoding = encoding_of(column.type) or Encoding.TEXT
    try:
        match encoding, value:
            case Encoding.BOOLEAN, bool():
                return "true" if value else "false"
            case Encoding.INTEGER, int() | str():
                return str(int(value))
            case Encoding.NUMERIC, Decimal() | int():
                return str(value)
            case ((Encoding.TEXT | Encoding.NUMERIC), str()):
                return value
            case Encoding.TEXT, _ if column.type == "uuid":
                return str(value)
            case Encoding.INSTANT, datetime():
                return to_text(value)
            case Encoding.DATE, date():
                return value.isoformat()
    except ValueError as error:
        raise InvalidRowsError(f"join key {column.name!r} = {value!r} is no {column.type}") from error
    raise InvalidRowsError(f"join key {column.name!r} = {value!r} is no {column.type}")
