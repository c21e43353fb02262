"""Appending rows to the table of a feature view: COPY stages them, and an INSERT follows in the same transaction.

The rows are staged as texts in the encodings of the online store, and Postgres casts them to the table's types. So
every type that can go online can be appended, and a materialization writes online what was pushed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from secrets import token_hex
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from pyarrow import csv
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ColumnElement, FromClause

from online_features.errors import SourceError
from online_features.feature_view import FeatureView, PostgresSource
from online_features.offline.postgres.transactions import Transactions
from online_features.offline.sql.source_rows import literally, sql_text, table_of
from online_features.schema import Column, Encoding, RowSchema
from online_features.types.arrow.texts import texts

STAGE = "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS {}"

COPY = "COPY {} FROM STDIN WITH (FORMAT csv, ENCODING 'UTF8')"

CSV = csv.WriteOptions(include_header=False, quoting_style="all_valid")  # so that a NULL is not an empty text


class StagedAppender:
    """Appends rows of one feature view to its table.

    :param created_at: the beginning of the transaction, from which the horizon of a run is computed.
    """

    rows: int
    """Number of rows inserted; known when the transaction is committed."""

    def __init__(self, connection: sa.Connection, staged: str, created_at: datetime) -> None:
        self.created_at = created_at
        self.rows = 0
        self._connection = connection
        self._copy = COPY.format(staged)

    def add(self, batch: pa.RecordBatch) -> None:
        """Stage rows.

        :param batch: columns as :class:`RowSchema` orders them.
        """
        written = io.BytesIO()
        csv.write_csv(pa.record_batch(list(map(texts, batch.columns)), names=batch.schema.names), written, CSV)
        written.seek(0)
        cursor: Any = self._connection.connection.cursor()
        with cursor:
            cursor.copy_expert(self._copy, written)


@contextmanager
def appending(transactions: Transactions, view: FeatureView, schema: RowSchema) -> Iterator[StagedAppender]:
    """Append rows in one transaction, which leaving the context commits.

    :raises SourceError: when the source is a query, or the table refuses the rows.
    """
    if view.source.table is None:
        raise SourceError(
            f"feature view {view.name!r}: rows cannot be appended to its query -> push them online only, or read the "
            "view from a table="
        )
    names = dict.fromkeys(column.name for column in schema.columns)  # a feature may be a join key, too
    target = table_of(view.source.table, *(sa.column(literally(name)) for name in names))
    staged_name = f"online_features_{token_hex(8)}"  # random, so that it hides no table of the user
    with transactions.writing(view) as connection:
        shape = STAGE.format(staged_name, sql_text(_shape(target, schema)))
        connection.exec_driver_sql(shape, execution_options={"no_parameters": True})  # percent signs stay
        appender = StagedAppender(connection, staged_name, connection.execute(sa.select(sa.func.now())).scalar_one())
        yield appender
        appender.rows = connection.execute(_insertion(view.source, target, staged_name, schema)).rowcount


def _shape(target: sa.TableClause, schema: RowSchema) -> sa.Select[Any]:
    """Select the columns to stage, and no rows: typed as in the table where Postgres can cast our text directly."""
    columns = []
    for i, column in enumerate(schema.columns):
        kind = _staged_type(schema, column)
        value = target.c[column.name] if kind is None else sa.cast(sa.null(), kind)
        columns.append(value.label(f"c{i}"))
    return sa.select(*columns).select_from(target).limit(0)


def _staged_type(schema: RowSchema, column: Column) -> Any:
    """Return the type to stage a column in, or ``None`` for the table's own."""
    if column in (schema.event_timestamp, schema.created_timestamp):
        return sa.TIMESTAMP(timezone=True)
    return sa.Text() if column.encoding == Encoding.BASE64 or _is_structure(column) else None


def _insertion(source: PostgresSource, target: sa.TableClause, staged_name: str, schema: RowSchema) -> sa.Insert:
    staged = sa.table(staged_name, *(sa.column(f"c{i}") for i in range(len(schema.columns))))
    structures = {column.name: staged.c[f"c{i}"] for i, column in enumerate(schema.columns) if _is_structure(column)}
    populated = _populated(target, structures)
    read = sa.select().select_from(staged.join(populated, sa.true()) if structures else staged)

    def value(i: int, column: Column) -> ColumnElement[Any]:
        text: ColumnElement[Any] = staged.c[f"c{i}"]
        if column.name in structures:
            return populated.c[column.name]
        if column in (schema.event_timestamp, schema.created_timestamp):
            return _local(source, column, text)
        return sa.func.decode(text, "base64") if column.encoding == Encoding.BASE64 else text

    # A column may be a feature and a key or timestamp, too; then the latter counts.
    by_name = {column.name: value(i, column) for i, column in reversed(list(enumerate(schema.columns)))}
    # A retry appends the same rows again; where the table has a unique constraint, it skips those that are there.
    return (
        postgresql.insert(target)
        .from_select(list(by_name), read.add_columns(*by_name.values()))
        .on_conflict_do_nothing()
    )


def _populated(target: sa.TableClause, structures: Mapping[str, ColumnElement[Any]]) -> FromClause:
    """Cast arrays and composites from JSON to the table's types; Postgres looks the types up."""
    shape = target.alias("shape")
    no_row = sa.select(shape.table_valued()).limit(0).scalar_subquery()
    pairs = [part for name, text in structures.items() for part in (sa.literal(name), sa.cast(text, sa.JSON))]
    populated = sa.func.json_populate_record(no_row, sa.func.json_build_object(*pairs))
    return populated.table_valued(*(sa.column(literally(name)) for name in structures), name="populated").lateral()


def _local(source: PostgresSource, column: Column, instant: ColumnElement[Any]) -> ColumnElement[Any]:
    """Convert the instant to the type of the table's column, in the source's time zone."""
    if column.type == "timestamp with time zone":
        return instant
    local = sa.func.timezone(source.timezone, instant)
    return sa.cast(local, sa.Date) if column.type == "date" else local


def _is_structure(column: Column) -> bool:
    return column.encoding == Encoding.JSON and column.type not in ("json", "jsonb")
