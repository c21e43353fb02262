"""Casts of values to the types that Feast holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ColumnElement

from online_features.layouts.feast.feast_types import FeastType
from online_features.offline.sql.time_conditions import literal_naive
from online_features.schema import ARRAY_SUFFIX, Column
from online_features.window import FIRST_INSTANT, LAST_INSTANT

# Postgres types for which the driver returns the Arrow types of Feast types.
FEAST_SQL_TYPES: dict[FeastType, Any] = {
    FeastType.BYTES: postgresql.BYTEA, FeastType.PDF_BYTES: postgresql.BYTEA, FeastType.IMAGE_BYTES: postgresql.BYTEA,
    FeastType.INT32: sa.Integer, FeastType.INT64: sa.BigInteger, FeastType.FLOAT32: sa.REAL,
    FeastType.FLOAT64: postgresql.DOUBLE_PRECISION, FeastType.BOOL: sa.Boolean,
    FeastType.UNIX_TIMESTAMP: sa.TIMESTAMP,
}  # fmt: skip

TEXT_SQL_TYPES: dict[str, Any] = {"text": sa.Text, "character varying": sa.VARCHAR, "character": sa.CHAR}

FEAST_INTEGERS = (FeastType.INT32, FeastType.INT64)

FRACTIONAL = ("real", "double precision", "numeric")


def as_feast(column: Column, kind: FeastType, value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Cast the value so that the driver returns the Arrow type from which Feast's type is encoded."""
    converted = _cast_to_feast(column.type.removesuffix(ARRAY_SUFFIX), kind, value)
    refused = [(is_unfit, _refused(column, what, value, converted)) for what, is_unfit in _unfit(kind, value)]
    return sa.case(*refused, else_=converted) if refused else converted


def _cast_to_feast(element_type: str, kind: FeastType, value: ColumnElement[Any]) -> ColumnElement[Any]:
    if element_type in TEXT_SQL_TYPES:
        # Without a cast, which would remove the padding of character(n).
        sql_type = TEXT_SQL_TYPES[element_type]()
        return sa.type_coerce(value, postgresql.ARRAY(sql_type) if kind.is_list else sql_type)
    if kind in FEAST_INTEGERS and element_type in FRACTIONAL:
        # Truncate as Python's int() does; NaN becomes NULL.
        value = sa.func.trunc(sa.func.nullif(value, sa.literal_column("'NaN'")))
    sql_type = FEAST_SQL_TYPES.get(kind.element, sa.Text)()
    if element_type == "timestamp with time zone":
        sql_type = sa.TIMESTAMP(timezone=True)
    return sa.cast(value, postgresql.ARRAY(sql_type) if kind.is_list else sql_type)


def _unfit(kind: FeastType, value: ColumnElement[Any]) -> Iterator[tuple[str, ColumnElement[bool]]]:
    """Yield kinds of values that Feast cannot hold, in words, each with its condition."""
    if kind.is_list:
        yield "arrays of several dimensions", sa.func.array_ndims(value) > 1
    if kind.element == FeastType.UNIX_TIMESTAMP:
        first, last = literal_naive(FIRST_INSTANT), literal_naive(LAST_INSTANT)
        beyond = (
            sa.or_(first > sa.any_(value), last < sa.any_(value))
            if kind.is_list
            else sa.or_(value < first, value > last)
        )
        yield "times that are infinite, before our era or after the year 9999", beyond


def _refused(column: Column, what: str, value: ColumnElement[Any], converted: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return an expression of the type of ``converted`` that fails with our message when it is evaluated.

    SQL cannot raise an error of its own, but a failing cast quotes its argument. The message contains an empty part of
    the value, so that Postgres cannot evaluate the cast while it plans the query.
    """
    nothing = sa.func.left(sa.cast(value, sa.Text), 0)
    words = sa.func.concat(f"column {column.name!r} holds {what}, which Feast does not", nothing)
    return sa.cast(sa.cast(sa.cast(words, sa.Integer), sa.Text), converted.type)
