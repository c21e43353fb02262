"""The schema of a source: its columns, their types and their parts in the view's rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

import sqlalchemy as sa

from online_features.errors import ColumnNotFoundError, UnsupportedTypeError
from online_features.feature_view import FeatureView
from online_features.layouts.feast.feast_columns import FEATURE, KEY, feast_column
from online_features.offline.postgres import sql_files
from online_features.offline.sql import statements
from online_features.schema import Column, RowSchema
from online_features.types.registry import TIMESTAMP_TYPES, PostgresType


def read_schema(connection: sa.Connection, view: FeatureView) -> RowSchema:
    """Read the types of the source's columns and assign them to their parts in the view's rows.

    :raises ColumnNotFoundError: a named column does not exist.
    :raises UnsupportedTypeError: the type of a column does not fit its part.
    """
    types, resolutions = _column_types(connection, view)
    schema = row_schema(view, types)
    created = schema.created_timestamp
    return replace(
        schema,
        created_resolution=resolutions[created.name] if created is not None else timedelta(0),
        event_resolution=resolutions[schema.event_timestamp.name],
    )


def row_schema(view: FeatureView, types: dict[str, PostgresType]) -> RowSchema:
    """Assign the source's columns to their parts in the view's rows.

    :param types: column name to type, in the order of the source.
    :raises ColumnNotFoundError: a named column does not exist.
    :raises UnsupportedTypeError: the type of a column does not fit its part.
    """
    source = view.source
    reserved = {*view.entities, source.timestamp_field, source.created_timestamp_column, source.deleted_field}
    features = view.features if view.features is not None else [name for name in types if name not in reserved]
    view.check_feature_names(features)

    def column(part: str, name: str, allowed: Collection[str] | None = None) -> Column:
        if name not in types:
            raise ColumnNotFoundError(
                f"feature view {view.name!r}: {part} {name!r} is not a column of {source.description}, "
                f"which has {', '.join(map(repr, types))} -> {_near(name, types)}"
            )
        kind = types[name]
        if allowed is not None and kind.name not in allowed:
            raise UnsupportedTypeError(
                f"feature view {view.name!r}: {part} {name!r} has type {kind.name!r} but must have "
                f"{' or '.join(map(repr, sorted(allowed)))}; convert it in a query="
            )
        if part == KEY and not kind.can_be_key:
            raise UnsupportedTypeError(
                f"feature view {view.name!r}: {part} {name!r} has type {kind.name!r}, of which equal values may print "
                "differently; convert it to text or numeric in a query="
            )
        if kind.encoding is None:
            raise UnsupportedTypeError(
                f"feature view {view.name!r}: {part} {name!r} has type {kind.name!r}, which cannot go online; "
                "leave it out of features=, or convert it in a query="
            )
        found = Column(name, kind.name, kind.encoding)
        # The input of a transform may have columns that Feast cannot hold.
        return found if view.transform is not None and part == FEATURE else feast_column(view, part, found)

    return RowSchema(
        keys=tuple(column(KEY, name) for name in view.entities),
        event_timestamp=column("timestamp_field", source.timestamp_field, TIMESTAMP_TYPES),
        created_timestamp=column("created_timestamp_column", source.created_timestamp_column, TIMESTAMP_TYPES)
        if source.created_timestamp_column is not None
        else None,
        deleted=column("deleted_field", source.deleted_field, {"boolean"})
        if source.deleted_field is not None
        else None,
        features=tuple(column(FEATURE, name) for name in features),
    )


def _column_types(connection: sa.Connection, view: FeatureView) -> tuple[dict[str, PostgresType], dict[str, timedelta]]:
    """Return type and resolution in time of each column; of a domain, its base type."""
    described: Any = connection.execute(statements.no_rows(view.source)).cursor.description or ()
    rows = connection.execute(sql_files.statement("types"), {"oids": [column.type_code for column in described]})
    types = {oid: PostgresType(*rest) for oid, *rest in rows}
    places = [(column.table_oid or 0, column.table_column or 0) for column in described]
    modifiers = {
        (table, column): modifier
        for table, column, modifier in connection.execute(
            sql_files.statement("modifiers"), {"tables": [table for table, _ in places]}
        )
    }
    resolutions = {
        column.name: _resolution(types[column.type_code].name, modifiers.get(place))
        for column, place in zip(described, places, strict=True)
    }
    return {column.name: types[column.type_code] for column in described}, resolutions


def _resolution(type_name: str, modifier: int | None) -> timedelta:
    """Return how much earlier than an instant its value in a column may be.

    :param modifier: digits of a second that the column keeps, -1 for all; ``None`` for an expression, which may cut
        them off.
    """
    if type_name == "date":
        return timedelta(hours=25)  # the longest day
    if modifier is None:
        return timedelta(seconds=1)
    return timedelta(0) if modifier in (-1, 6) else timedelta(seconds=10.0**-modifier)


def _near(name: str, known: Collection[str]) -> str:
    """Return what to do about an unknown name."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "name one of these"
