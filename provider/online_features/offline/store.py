"""The offline store: which rows of Postgres are newest, as Arrow record batches from one snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2
import pyarrow as pa
import sqlalchemy as sa
from adbc_driver_postgresql import dbapi
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import Select

from online_features.errors import ColumnNotFoundError, UnsupportedTypeError
from online_features.feature_view import FeatureView
from online_features.offline import statements
from online_features.offline.failures import translated
from online_features.postgres_types import TIMESTAMP_TYPES, encoding_of
from online_features.schema import Column, RowSchema
from online_features.window import Window

BATCH_BYTES = 4 * 1024 * 1024  # of Arrow data in a batch: large enough to encode by column, small enough for caches
REJECTED_SAMPLE_ROWS = 5  # shown in the log: enough to recognize the cause, few enough to read


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The newest rows of a window, as of one instant.

    :param rejected: rows without an entity or an event timestamp.
    :param rejected_sample: a few of them, join keys and event timestamp as text.
    :param batches: the newest row of each other entity; columns as :class:`RowSchema` orders them.
    """

    rejected: int
    rejected_sample: list[tuple[str | None, ...]]
    batches: Iterator[pa.RecordBatch]


class OfflineStore:
    """Reads feature views from Postgres.

    :param uri: a libpq URI, https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._engine = sa.create_engine(
            "postgresql+psycopg2://", creator=lambda: psycopg2.connect(uri), poolclass=NullPool
        ).execution_options(isolation_level="AUTOCOMMIT")

    def describe(self, view: FeatureView) -> RowSchema:
        """The columns of the view's rows and their types.

        :raises SourceNotFoundError: the table does not exist.
        :raises ColumnNotFoundError: a named column does not exist.
        :raises UnsupportedTypeError: a column's type cannot go online.
        """
        with translated(view), self._engine.connect() as connection:
            types = _column_types(connection, statements.no_rows(view.source))
        return row_schema(view, types)

    def horizon(self, view: FeatureView) -> datetime:
        """The instant, by the source's clock, before which every transaction that may write rows has ended.

        Rows stamped earlier are visible to any snapshot taken after this call.
        """
        with translated(view), self._engine.connect() as connection:
            now: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return now

    def expected_rows(self, view: FeatureView, schema: RowSchema, window: Window) -> int:
        """How many rows Postgres's planner expects a snapshot of the window to hold."""
        statement = statements.sql(statements.newest_rows(view.source, schema, window))
        with translated(view), self._engine.connect() as connection:
            # Without parameters, so that the driver leaves percent signs in the statement alone.
            verbatim = connection.execution_options(no_parameters=True)
            plan = verbatim.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}").scalar_one()
        return int(plan[0]["Plan"]["Plan Rows"])

    @contextmanager
    def snapshot(self, view: FeatureView, schema: RowSchema, window: Window, *, batch_rows: int) -> Iterator[Snapshot]:
        """Read one window in one read-only, repeatable-read transaction.

        :param batch_rows: the largest number of rows in a batch.
        """
        with translated(view), dbapi.connect(self._uri) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute("SET LOCAL TimeZone = 'UTC'")
            cursor.execute("SET LOCAL DateStyle = 'ISO, YMD'")
            cursor.execute("SET LOCAL standard_conforming_strings = on")
            ((rejected,),) = _rows(cursor, statements.count_rejected(view.source, schema, window))
            sample = (
                _rows(cursor, statements.sample_rejected(view.source, schema, window, REJECTED_SAMPLE_ROWS))
                if rejected
                else []
            )
            yield Snapshot(
                rejected=rejected,
                rejected_sample=sample,
                batches=_batches(view, cursor, statements.newest_rows(view.source, schema, window), batch_rows),
            )


def row_schema(view: FeatureView, types: dict[str, str]) -> RowSchema:
    """Assign the source's columns to their parts in the view's rows.

    :param types: column name to Postgres type, in the order of the source.
    :raises ColumnNotFoundError: a named column does not exist.
    :raises UnsupportedTypeError: a column's type cannot play its part.
    """
    source = view.source
    reserved = {*view.entities, source.timestamp_field, source.created_timestamp_column, source.deleted_field}
    features = view.features if view.features is not None else [name for name in types if name not in reserved]
    view.check_feature_names(features)

    def column(part: str, name: str, allowed: tuple[str, ...] | None = None) -> Column:
        if name not in types:
            raise ColumnNotFoundError(
                f"feature view {view.name!r}: {part} {name!r} is no column of {source.description}, "
                f"which has {', '.join(map(repr, types))}"
            )
        type_name = types[name]
        if allowed is not None and type_name not in allowed:
            raise UnsupportedTypeError(
                f"feature view {view.name!r}: {part} {name!r} has type {type_name!r} but must have "
                f"{' or '.join(map(repr, allowed))}; convert it in a query="
            )
        if encoding_of(type_name) is None:
            raise UnsupportedTypeError(
                f"feature view {view.name!r}: {part} {name!r} has type {type_name!r}, which cannot go online; "
                "leave it out of features=, or convert it in a query="
            )
        return Column(name, type_name)

    return RowSchema(
        keys=tuple(column("join key", name) for name in view.entities),
        event_timestamp=column("timestamp_field", source.timestamp_field, TIMESTAMP_TYPES),
        created_timestamp=column("created_timestamp_column", source.created_timestamp_column, TIMESTAMP_TYPES)
        if source.created_timestamp_column is not None
        else None,
        deleted=column("deleted_field", source.deleted_field, ("boolean",))
        if source.deleted_field is not None
        else None,
        features=tuple(column("feature", name) for name in features),
    )


def _column_types(connection: sa.Connection, no_rows: Select[*tuple[Any, ...]]) -> dict[str, str]:
    # Each is a name, the oid of a type, and what else PEP 249 asks for.
    described = connection.execute(no_rows).cursor.description or ()
    oids = {oid for _, oid, *_ in described}
    names: dict[object, str] = dict(
        connection.execute(
            sa.select(sa.column("oid"), sa.func.format_type(sa.column("oid"), None))
            .select_from(sa.table("pg_type", schema="pg_catalog"))
            .where(sa.column("oid").in_(oids))
        ).all()
    )
    return {name: names[oid] for name, oid, *_ in described}


def _rows(cursor: dbapi.Cursor, statement: Select[*tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    cursor.execute(statements.sql(statement))
    return [tuple(row.values()) for row in cursor.fetch_arrow_table().to_pylist()]


def _batches(
    view: FeatureView, cursor: dbapi.Cursor, statement: Select[*tuple[Any, ...]], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    with translated(view):
        cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
        cursor.execute(statements.sql(statement))
        for batch in cursor.fetch_record_batch():
            for offset in range(0, batch.num_rows, batch_rows):
                yield batch.slice(offset, batch_rows)
