"""Convert values of a column to text and back, with errors that name the column, without Arrow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.schema import Column
from online_features.types.codec import MisfitError
from online_features.types.registry import codec_of, typed_column

# What decoding raises when this package has not written the text.
DAMAGE = (ValueError, KeyError, ArithmeticError, TypeError, AttributeError, RecursionError)


def decode(column: Column, text: str) -> Any:
    """Return the Python value of a text.

    :raises OnlineDataError: when this package does not write such a text for the column's type.
    """
    try:
        return codec_of(column).decode(text)
    except DAMAGE as error:
        raise damage(column, text, error) from error


def parse(column: Column, text: str) -> Any:
    """Return the Python value of a text that a person has typed.

    :raises InvalidRowsError: when it is not of the column's type.
    """
    try:
        return decode(column, text)
    except OnlineDataError:
        raise misfit(column, text) from None


def encode(column: Column, value: Any) -> str:
    """Return the text of a Python value, as a materialization of the same value would write it.

    :raises InvalidRowsError: when the value does not fit the column's type.
    """
    return _encoded(column, value, codec_of(column).encode)


def encode_key(column: Column, value: Any) -> str:
    """Return the text of a join key's value: one text for all values that Postgres holds equal.

    :raises InvalidRowsError: when the value does not fit the column's type.
    """
    # Feast keeps the padding of type "character".
    keeps_padding = column.type == "character" and column.feast is not None
    text = _encoded(column, value, codec_of(column).encode if keeps_padding else codec_of(column).encode_key)
    if not has_utf8(text):
        raise misfit(column, value)
    return text


def check(column: Column, value: Any) -> None:
    """Refuse a Python value of a kind that the column's type does not hold.

    :raises InvalidRowsError: naming the column.
    """
    if not codec_of(column).accepts(value):
        raise misfit(column, value)


def has_utf8(text: str) -> bool:
    """Tell whether the text can be encoded as UTF-8, which a lone surrogate cannot."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def is_value(column: Column, text: str) -> bool:
    """Tell whether the text is one that :func:`encode_key` returns for the column."""
    try:
        return encode_key(column, decode(column, text)) == text
    except (OnlineDataError, InvalidRowsError):
        return False


def inferred_column(name: str, value: Any) -> Column:
    """Infer a column from one of its values, when the source's types are not known yet.

    :raises InvalidRowsError: when Postgres has no type for the value.
    """
    for kinds, type_name in _TYPE_BY_VALUE:
        if isinstance(value, kinds):
            is_naive = isinstance(value, datetime) and value.tzinfo is None
            return typed_column(name, "timestamp without time zone" if is_naive else type_name)
    raise InvalidRowsError(f"column {name!r}: values of type {type(value).__name__} cannot go online")


def misfit(column: Column, value: Any) -> InvalidRowsError:
    """Return the error for a value that does not fit its column's type."""
    return InvalidRowsError(f"column {column.name!r}: {_shown(value)} is not of type {column.type}")


def damage(column: Column, value: Any, error: Exception) -> OnlineDataError:
    """Return the error for a value in Redis that this package has not written."""
    shown = repr(value[:50]) if isinstance(value, (str, bytes)) else _shown(value)[:50]
    what = "nested too deeply for Python" if isinstance(error, RecursionError) else f"not of type {column.type}"
    return OnlineDataError(
        f"feature {column.name!r} holds {shown}, which is {what}; "
        "materialize the view with full=True, or push or erase the entity where it is not in the source"
    )


def _encoded(column: Column, value: Any, encode_as: Callable[[Any], str]) -> str:
    check(column, value)
    try:
        return encode_as(value)
    except MisfitError as error:
        raise InvalidRowsError(
            f"column {column.name!r}: {_shown(error.value)} is not of type {error.type_name}"
        ) from error
    except RecursionError as error:
        raise InvalidRowsError(f"column {column.name!r} holds a value that is nested too deeply for Python") from error
    except (ValueError, ArithmeticError, TypeError) as error:
        raise misfit(column, value) from error


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer with thousands of digits, or deeply nested lists
        return f"a value of type {type(value).__name__}"


# The first match counts: bool is an int, and datetime a date.
_TYPE_BY_VALUE: tuple[tuple[Any, str], ...] = (
    (bool, "boolean"),
    (int, "bigint"),
    (float, "double precision"),
    (Decimal, "numeric"),
    (str, "text"),
    (UUID, "uuid"),
    (datetime, "timestamp with time zone"),
    (date, "date"),
    (time, "time without time zone"),
    (timedelta, "interval"),
    ((bytes, bytearray, memoryview), "bytea"),
    ((dict, list, tuple), "jsonb"),
)
