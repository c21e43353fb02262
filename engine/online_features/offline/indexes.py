"""The indexes of a table that an entity's history can be found by."""

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

    :param columns: names of its columns; ``None`` where it is on an expression, or compares as the column does not.
    :param descending: of each column, whether it is in descending order.
    :param nulls_first: of each column, where NULLs are.
    """

    name: str
    columns: tuple[str | None, ...]
    descending: tuple[bool, ...]
    nulls_first: tuple[bool, ...]

    def ordered(self, column: ColumnElement[Any], place: int) -> ColumnElement[Any]:
        """The column at that place as ``ORDER BY`` names the order that it is in."""
        directed = column.desc() if self.descending[place] else column.asc()
        return directed.nulls_first() if self.nulls_first[place] else directed.nulls_last()


@dataclass(frozen=True, kw_only=True)
class IndexedTable:
    """What Postgres's catalog tells of a table.

    :param not_null: names of columns that hold no NULL.
    """

    not_null: frozenset[str]
    indexes: tuple[Index, ...]


def indexed_table(connection: sa.Connection, source: PostgresSource, schema: RowSchema) -> IndexedTable | None:
    """The table of the source; ``None`` where no index could serve.

    That is where it is no table of its own, where it has no statistics, and where the event timestamp is kept in local
    times of a zone, which are not in the order of the instants.
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
    """The first index that begins with the join keys, in any order, and then has the event timestamp."""
    return next((index for index in indexes if _suits(schema, index)), None)


def _suits(schema: RowSchema, index: Index) -> bool:
    count = len(schema.keys)
    return (
        {key.name for key in schema.keys} == set(index.columns[:count])
        and index.columns[count : count + 1] == (schema.event_timestamp.name,)
        # Else no comparison of rows follows the order of the keys.
        and len(set(index.descending[:count])) == 1
    )
