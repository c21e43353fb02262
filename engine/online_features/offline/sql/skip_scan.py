"""The skip scan: the newest row of each entity by two steps through an index, without reading its history.

A recursive query walks the index from one entity to the next, and takes the newest row of each from one end of its
history. The result is the same as that of :mod:`online_features.offline.sql.statements`; the cost depends on the
number of entities, not of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement, FromClause, Select
from sqlalchemy.sql.selectable import CTE, CompoundSelect

from online_features.feature_view import PostgresSource
from online_features.offline._indexes import Index
from online_features.offline.sql.source_rows import column_of, own_prefix, rows_of
from online_features.offline.sql.statements import converted, parts, shown, tie_breakers
from online_features.offline.sql.time_conditions import first_and_last
from online_features.schema import Column, RowSchema


@dataclass(frozen=True, kw_only=True)
class SkipScan:
    """Statements that read a table, or a range of it, through an index.

    :param index: that :func:`~online_features.offline._indexes.suitable_index` has found.
    :param not_null: names of columns that hold no NULL.
    :param latest: rows with a later event timestamp are rejected.
    :param bounds: of the leading column of the index; by default all of the table is read.
    :param has_nulls: whether rows in which that column is NULL are read, too.
    """

    source: PostgresSource
    schema: RowSchema
    index: Index
    not_null: frozenset[str]
    latest: datetime
    bounds: ColumnElement[bool] = field(default_factory=sa.true)
    has_nulls: bool = True

    def newest_rows(self) -> Select[*tuple[Any, ...]]:
        """Select the newest row of each entity, in the form in which it goes online, and count rejected rows.

        The last column counts the entity's rows without a valid event timestamp. Where an entity has no other rows, all
        columns before it are NULL or false.
        """
        entity = self._walk(self._keys, self.schema.event_timestamp)
        newest = (
            parts(self.source, self.schema)
            .where(*self._is_of(entity), self._is_valid(self._timestamp))
            .order_by(self._newest_first(), *tie_breakers(self.source, self.schema))
            .limit(1)
            .lateral("newest")
        )
        count = (
            sa.select(sa.func.count())
            .select_from(rows_of(self.source))
            .where(*self._is_of(entity), self._is_rejected)
            .scalar_subquery()
        )
        rejected = sa.case((self._has_valid_ends(entity), 0), else_=count)
        return (
            converted(self.source, self.schema, newest)
            .add_columns(rejected.label(f"{self._own}rejected"))
            .select_from(entity.outerjoin(newest, sa.true()))
        )

    def rows_without_entity(self) -> CompoundSelect[*tuple[Any, ...]]:
        """Select, in the columns of :func:`shown`, the rows without an entity."""
        return sa.union_all(*self._without_key())

    def rejected_rows(self) -> CompoundSelect[*tuple[Any, ...]]:
        """Select, in the columns of :func:`shown`, the rows without an entity or a valid event timestamp."""
        entity = self._walk(self._keys, self.schema.event_timestamp)
        beyond = self._shown_of(entity, self._is_rejected).where(self._has_valid_ends(entity).is_not(sa.true()))
        return sa.union_all(*self._without_key(), beyond)

    def _without_key(self) -> Iterator[Select[*tuple[Any, ...]]]:
        """Yield a statement for each join key: the rows in which it is the first that is NULL."""
        leading, *others = self._keys
        is_read = column_of(leading).is_(None) if self.has_nulls else sa.false()
        yield shown(self.schema, rows_of(self.source)).where(is_read)
        for i, key in enumerate(others, 1):
            if self._is_nullable(key):
                yield self._shown_of(self._walk(self._keys[:i]), column_of(key).is_(None))

    def _is_valid(self, timestamp: ColumnElement[Any]) -> ColumnElement[bool]:
        return timestamp.between(*first_and_last(self.source, self.schema.event_timestamp, self.latest))

    @property
    def _is_rejected(self) -> ColumnElement[bool]:
        """Select whether the timestamp is not valid, by a condition that no index can answer.

        Otherwise the planner may use an index on the timestamp alone, and read the rejected rows of all entities once
        for each entity.
        """
        return self._is_valid(self._timestamp).is_not(sa.true())

    def _has_valid_ends(self, entity: CTE) -> ColumnElement[bool]:
        """Select whether the first and the last timestamp of a walked entity are valid; then all of its are."""
        *_, first = entity.c
        place = len(self._keys)
        backward = self._timestamp.asc() if self.index.descending[place] else self._timestamp.desc()
        last_is_valid = (
            sa.select(self._is_valid(self._timestamp))
            .select_from(rows_of(self.source))
            .where(*self._is_of(entity))
            .order_by(backward.nulls_last() if self.index.nulls_first[place] else backward.nulls_first())
            .limit(1)
            .scalar_subquery()
        )
        return sa.and_(self._is_valid(first), last_is_valid)

    def _shown_of(self, entity: CTE, condition: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
        """Select the rows of walked entities for which the condition holds."""
        rows = shown(self.schema, rows_of(self.source)).where(*self._is_of(entity), condition).lateral()
        return sa.select(*rows.c).select_from(entity.join(rows, sa.true()))

    def _walk(self, keys: Sequence[Column], *also: Column) -> CTE:
        """Walk the first entry of the index for each combination of values of its leading columns, without NULLs.

        :param also: further columns to select, which follow those in the index.
        """
        columns = [column_of(column) for column in (*keys, *also)]
        step = (
            sa.select(*(column.label(f"{self._own}walked_{i}") for i, column in enumerate(columns)))
            .select_from(rows_of(self.source))
            .where(*(column.is_not(None) for column in columns[: len(keys)]), self.bounds)
            .order_by(*(self.index.ordered(column, place) for place, column in enumerate(columns)))
            .limit(1)
        )
        entity = step.cte(f"{self._own}entity_{len(columns)}", recursive=True)
        there, here = sa.tuple_(*columns[: len(keys)]), sa.tuple_(*list(entity.c)[: len(keys)])
        following = step.where(there < here if self.index.descending[0] else there > here).lateral("following")
        return entity.union_all(sa.select(*following.c).select_from(entity.join(following, sa.true())))

    def _is_of(self, entity: FromClause) -> list[ColumnElement[bool]]:
        return [column_of(key) == value for key, value in zip(self._keys, entity.c, strict=False)]

    def _newest_first(self) -> ColumnElement[Any]:
        """Order descending, with NULLs as the index has them: there are none, but otherwise the planner would sort."""
        descending, place = self._timestamp.desc(), len(self._keys)
        has_nulls_first = self.index.nulls_first[place] == self.index.descending[place]
        return descending.nulls_first() if has_nulls_first else descending.nulls_last()

    @property
    def _keys(self) -> list[Column]:
        """The join keys in the order of the index."""
        return sorted(self.schema.keys, key=lambda key: self.index.columns.index(key.name))

    @property
    def _timestamp(self) -> ColumnElement[Any]:
        return column_of(self.schema.event_timestamp)

    @property
    def _own(self) -> str:
        return own_prefix(self.source, self.schema)

    def _is_nullable(self, column: Column) -> bool:
        return column.name not in self.not_null
