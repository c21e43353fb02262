"""Indexes of a table that find the history of an entity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement

from online_features.feature_view import PostgresSource
from online_features.offline.postgres import sql_files
from online_features.offline.sql.source_rows import name_of, table_of
from online_features.offline.sql.time_conditions import is_in_order
from online_features.schema import RowSchema


@dataclass(frozen=True, kw_only=True)
class Index:
    """A btree index on all rows of a table.

    :param columns: names of its columns; ``None`` for an expression, or if it compares differently than the column.
    :param descending: for each column, whether it is in descending order.
    :param nulls_first: for each column, whether NULLs come first.
    """

    name: str
    columns: tuple[str | None, ...]
    descending: tuple[bool, ...]
    nulls_first: tuple[bool, ...]

    def ordered(self, column: ColumnElement[Any], place: int) -> ColumnElement[Any]:
        """Return the ``ORDER BY`` expression for the order of the column at that place."""
        directed = column.desc() if self.descending[place] else column.asc()
        return directed.nulls_first() if self.nulls_first[place] else directed.nulls_last()


@dataclass(frozen=True, kw_only=True)
class IndexedTable:
    """A table as described by Postgres's catalog.

    :param not_null: names of columns that hold no NULL.
    """

    not_null: frozenset[str]
    indexes: tuple[Index, ...]


def indexed_table(connection: sa.Connection, source: PostgresSource, schema: RowSchema) -> IndexedTable | None:
    """Read the indexes of the source's table; return ``None`` if no index could serve.

    No index serves a query, a table without statistics, or an event timestamp in local times, which are not in the
    order of the instants.
    """
    if source.table is None or not is_in_order(source, schema.event_timestamp):
        return None
    columns = [column.name for column in (*schema.keys, schema.event_timestamp)]
    rows = connection.execute(
        sql_files.statement("indexes"), {"table": name_of(table_of(source.table)), "columns": columns}
    ).all()
    if not rows:
        return None
    indexes = (
        Index(name=name, columns=tuple(columns), descending=tuple(descending), nulls_first=tuple(nulls_first))
        for _, name, columns, descending, nulls_first in rows
        if name is not None
    )
    return IndexedTable(not_null=frozenset(rows[0].not_null), indexes=tuple(indexes))


def suitable_index(schema: RowSchema, indexes: Iterable[Index]) -> Index | None:
    """Return the first index that begins with the join keys, in any order, and then has the event timestamp."""
    return next((index for index in indexes if _suits(schema, index)), None)


def _suits(schema: RowSchema, index: Index) -> bool:
    count = len(schema.keys)
    return (
        {key.name for key in schema.keys} == set(index.columns[:count])
        and index.columns[count : count + 1] == (schema.event_timestamp.name,)
        # Otherwise no comparison of rows follows the order of the keys.
        and len(set(index.descending[:count])) == 1
    )
