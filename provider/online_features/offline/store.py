"""The offline store: which rows of Postgres are newest, as Arrow record batches from one snapshot."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from adbc_driver_postgresql import dbapi
from psycopg2.extensions import parse_dsn
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import Select
from sqlalchemy.sql.selectable import GenerativeSelect

from online_features import arguments
from online_features.appending import AppendResult, append_rows
from online_features.concurrency import interruptibly
from online_features.errors import (
    ColumnNotFoundError,
    OfflineAccessError,
    OfflineStoreUnavailableError,
    OptionError,
    UnsupportedTypeError,
)
from online_features.feast_columns import FEATURE, feast_column
from online_features.feature_view import FeatureView
from online_features.offline import sql_files, statements
from online_features.offline.append import Appender, appending
from online_features.offline.failures import translated
from online_features.offline.listening import changed_tables
from online_features.offline.notifications import TRIGGER, quoted
from online_features.offline.reading import Reading, chosen_reading
from online_features.postgres_types import TIMESTAMP_TYPES, PostgresType
from online_features.rejection import SAMPLE_ROWS
from online_features.schema import Column, RowSchema
from online_features.window import Window

if TYPE_CHECKING:
    from online_features.online.store import PushableRows

log = logging.getLogger(__name__)

BATCH_BYTES = 2 * 1024 * 1024  # of Arrow data in a batch: large enough to encode by column, small enough for caches


# Sessions of this name only read: they do not hold back the horizon of other runs.
SNAPSHOT_NAME = "online_features snapshot"

STANDARD_STRINGS = "SET standard_conforming_strings = on"

# What a run's transaction is, and how values are printed in it, whatever server, database and role are set to.
SESSION = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
    f"SET LOCAL application_name = '{SNAPSHOT_NAME}'",
    "SET LOCAL TimeZone = 'UTC'",
    "SET LOCAL DateStyle = 'ISO, YMD'",
    "SET LOCAL IntervalStyle = 'iso_8601'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 1",
    STANDARD_STRINGS,
    "SET LOCAL client_encoding = 'UTF8'",
)

# Postgres ends the query of a process that was killed, instead of working for nobody until it has rows to send.
# Servers before 14 do not know the setting, and only Linux has it everywhere.
WATCH_CLIENT = """
    SELECT set_config(name, '1s', {is_local}) FROM pg_settings
    WHERE name = 'client_connection_check_interval' AND version() ~ 'linux'
"""


# What a time limit may be, as Postgres takes it: it knows no parts of milliseconds, and keeps them in 32 bits.
SHORTEST_TIMEOUT = timedelta(milliseconds=1)
LONGEST_TIMEOUT = timedelta(milliseconds=2**31 - 1)


class Snapshot:
    """The newest rows of a window, as of one instant.

    What is rejected is known when the batches have ended: it is counted last, while the rows before are written.

    :ivar rejected: rows without an entity or an event timestamp.
    :ivar rejected_sample: a few of them, join keys and event timestamp as text.
    """

    def __init__(self, view: FeatureView, cursor: dbapi.Cursor, reading: Reading) -> None:
        self.rejected = 0
        self.rejected_sample: list[tuple[str | None, ...]] = []
        self._view = view
        self._cursor = cursor
        self._reading = reading

    def batches(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The newest row of each entity; columns as :class:`RowSchema` orders them.

        :param batch_rows: the largest number of rows in a batch.
        """
        with translated(self._view):
            self._cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            self._cursor.execute(statements.sql(self._reading.newest))
            for received in self._received():
                batch = self._counted(received) if self._reading.counts_rejected else received
                for offset in range(0, batch.num_rows, batch_rows):
                    yield batch.slice(offset, batch_rows)
            self._check_intact()
            ((uncounted,),) = self._rows(statements.count(self._reading.uncounted))
            self.rejected += uncounted
            if self.rejected:
                self.rejected_sample = self._rows(self._reading.rejected.limit(SAMPLE_ROWS))

    def cancel(self) -> None:
        """End a query that another thread waits for."""
        self._cursor.adbc_cancel()

    def _received(self) -> Iterable[pa.RecordBatch]:
        # Not fetch_record_batch(), whose errors have lost the SQLSTATE and are Arrow's.
        received: Iterable[pa.RecordBatch] = self._cursor._results.reader  # noqa: SLF001
        return received

    def _counted(self, received: pa.RecordBatch) -> pa.RecordBatch:
        """The rows without their last column, which counts rejected ones, and without those that are there to count."""
        *columns, rejected = received.columns
        self.rejected += pc.sum(rejected, min_count=0).as_py()
        rows = pa.RecordBatch.from_arrays(columns, received.schema.names[:-1])
        key, *_ = columns
        return rows.filter(key.is_valid()) if key.null_count else rows

    def _check_intact(self) -> None:
        rewritten = [name for (name,) in self._fetched(sql_files.text("rewritten"))]
        if rewritten:
            raise OfflineStoreUnavailableError(
                f"feature view {self._view.name!r}: {' and '.join(rewritten)} was truncated, rewritten or replaced "
                "when the run began to read, which hides rows from it -> run again"
            )
        # Asked in this transaction: another session would wait behind whoever waits for this one to alter the table.
        if self._rows(self._reading.types) != [tuple(column.type for column in self._reading.schema.columns)]:
            raise OfflineStoreUnavailableError(
                f"feature view {self._view.name!r}: columns of {self._view.source.description} were altered as the run "
                "began -> run again"
            )

    def _rows(self, statement: GenerativeSelect) -> list[tuple[Any, ...]]:
        return self._fetched(statements.sql(statement))

    def _fetched(self, statement: str) -> list[tuple[Any, ...]]:
        self._cursor.execute(statement)
        return [tuple(row.values()) for row in self._cursor.fetch_arrow_table().to_pylist()]


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """How far a snapshot can be trusted to be complete, by the source's clock.

    :param claim: no transaction in flight can still commit rows stamped earlier, as far as can be seen.
    :param cursor: where the next incremental run may begin; ``None`` when a prepared transaction, whose beginning
        Postgres does not tell, forbids to move on.
    :param is_blind: whether transactions in flight cannot be seen, so that runs have to look back.
    """

    claim: datetime
    cursor: datetime | None
    is_blind: bool


class OfflineStore:
    """Reads feature views from Postgres.

    :param uri: a libpq URI, https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
    :param statement_timeout: how long each statement of a run may take, the reading of all its rows included;
        ``None``: as server, role and URI say.
    :raises OfflineAccessError: when the URI is none.
    :raises OptionError: when the time-out is not one that Postgres takes.
    """

    def __init__(self, uri: str, *, statement_timeout: timedelta | None = None) -> None:
        arguments.check(uri=uri)
        arguments.check_given(statement_timeout=statement_timeout)
        check_uri(uri)
        self._uri = uri
        self._limits = _limits(statement_timeout)
        # Read-only as a snapshot is, because the user's query is part of what is asked here, too.
        self._engine = _engine(uri, self._limits, readonly=True, autocommit=True)
        self._writing = _engine(uri, self._limits)

    def describe(self, view: FeatureView) -> RowSchema:
        """The columns of the view's rows in the source and their types: all of them where the view has a transform.

        :raises SourceNotFoundError: the table does not exist.
        :raises ColumnNotFoundError: a named column does not exist.
        :raises UnsupportedTypeError: a column's type cannot go online.
        """
        arguments.check(view=view)
        if view.source.query is not None:
            self._check_single(view, statements.alone(view.source.query))
        with translated(view), self._engine.connect() as connection:
            types, resolutions = _column_types(connection, statements.no_rows(view.source))
        schema = row_schema(view.before_transform, types)
        created = schema.created_timestamp
        return schema if created is None else replace(schema, created_resolution=resolutions[created.name])

    def _check_single(self, view: FeatureView, query: str) -> None:
        """Have Postgres parse the query by itself, as one statement: what closes our parenthesis around it is refused.

        The protocol that takes one statement at a time is ADBC's; psycopg2 would execute whatever came behind.
        """
        with translated(view), dbapi.connect(self._uri) as connection, connection.cursor() as cursor:
            for setting in (*SESSION, *self._limits):
                cursor.execute(setting)
            cursor.adbc_execute_schema(query)

    def has_rows_before(self, view: FeatureView, schema: RowSchema, instant: datetime) -> bool:
        """Whether the source has history before ``instant``."""
        return self.has_rows(view, schema, Window(end=instant))

    def has_rows(self, view: FeatureView, schema: RowSchema, window: Window) -> bool:
        """Whether the source has any row in the window that can go online."""
        with translated(view), self._engine.connect() as connection:
            return bool(connection.execute(statements.any_rows(view.source, schema, window)).scalar_one())

    def announces_changes(self, view: FeatureView, table: str) -> bool:
        """Whether Postgres tells when the table has changed."""
        parameters = {"table": quoted(table), "trigger": TRIGGER}
        with translated(view), self._engine.connect() as connection:
            return bool(connection.execute(sql_files.statement("announced"), parameters).scalar_one())

    def changed_tables(self) -> AsyncGenerator[frozenset[str], None]:
        """Yield the tables that have changed; see :func:`~online_features.offline.listening.changed_tables`."""
        return changed_tables(self._uri)

    def horizon(self, view: FeatureView) -> Horizon:
        """How far a snapshot taken after this call can be trusted to be complete."""
        with translated(view), self._engine.connect() as connection:
            now, oldest, oldest_prepared, is_blind = connection.execute(
                sql_files.statement("horizon"), {"snapshot": SNAPSHOT_NAME}
            ).one()
        if is_blind:
            log.warning(
                "Feature view %r: the Postgres role may not see other sessions, or the server is a standby, so late "
                "rows are found by reading back over the last run -> GRANT pg_read_all_stats to the role",
                view.name,
            )
        if oldest_prepared is not None:
            log.warning("Feature view %r: a prepared transaction of %s holds back the cursor of incremental runs",
                        view.name, oldest_prepared.isoformat())  # fmt: skip
        claim = min(instant for instant in (now, oldest, oldest_prepared) if instant is not None)
        return Horizon(claim=claim, cursor=claim if oldest_prepared is None else None, is_blind=is_blind)

    @contextmanager
    def lookup(self, view: FeatureView, schema: RowSchema) -> Iterator[Callable[[Sequence[Sequence[str]]], set[int]]]:
        """Yield a function from entities, as texts of their join keys, to the indexes of those the source has."""
        with translated(view), self._engine.connect() as connection:
            yield lambda entities: {
                place - 1
                for (place,) in connection.execute(statements.existing_entities(view.source, schema, entities))
            }

    def reading(self, view: FeatureView, schema: RowSchema, window: Window) -> Reading:
        """How a window is best read, and how many rows Postgres's planner expects of it."""
        with translated(view), self._engine.connect() as connection:
            return chosen_reading(connection, view.source, schema, window)

    @contextmanager
    def snapshot(self, view: FeatureView, reading: Reading) -> Iterator[Snapshot]:
        """Read in one read-only, repeatable-read transaction."""
        with translated(view), dbapi.connect(self._uri) as connection, connection.cursor() as cursor:
            for setting in (*SESSION, *self._limits, WATCH_CLIENT.format(is_local=True)):
                cursor.execute(setting)
            yield Snapshot(view, cursor, reading)

    def append(self, view: FeatureView, rows: PushableRows) -> AppendResult:
        """Append a producer's rows to the table of the view, in one transaction; the next run takes them online.

        :param rows: as for :meth:`~online_features.OnlineStore.push`; columns that the table has beside the view's get
            their defaults, and the created timestamp, where the view declares one and the rows lack it, is the
            beginning of the transaction.
        :raises InvalidRowsError: when columns are missing or unknown, or a value does not fit; nothing is appended.
        :raises TransformError: when the view's transform fails on the rows; nothing is appended.
        :raises SourceError: when the source is a query, or the table refuses the rows.
        """
        arguments.check(view=view)
        return append_rows(self, view, rows)

    @contextmanager
    def appending(self, view: FeatureView, schema: RowSchema) -> Iterator[Appender]:
        """A transaction that appends rows; leaving it commits them."""
        with appending(self._writing, view, schema) as appender:
            yield appender


class InterruptibleCursor(psycopg2.extensions.cursor):
    """Waits for Postgres as :func:`~online_features.concurrency.interruptibly` does."""

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's name
        """Execute a statement; an exception that a signal's handler raises cancels it."""
        interruptibly(partial(super().execute, query, vars), self.connection.cancel)


def _limits(statement_timeout: timedelta | None) -> tuple[str, ...]:
    """Statements that set the limits of a session.

    :raises OptionError: when it is no time-out that Postgres takes.
    """
    if statement_timeout is None:
        return ()
    if not SHORTEST_TIMEOUT <= statement_timeout <= LONGEST_TIMEOUT:
        raise OptionError(
            f"statement_timeout={statement_timeout!r} is none that Postgres takes -> give one millisecond to 24 days, "
            "or None to leave it to the server"
        )
    return (f"SET statement_timeout = {statement_timeout // SHORTEST_TIMEOUT}",)


def _engine(uri: str, settings: Iterable[str] = (), **session: bool) -> sa.Engine:
    """An engine on sessions with these settings, of Postgres and of psycopg2.

    Strings are read as ADBC's sessions read them, so that a query that is one statement there is one here.
    """

    def connect() -> Any:
        connection = psycopg2.connect(uri, cursor_factory=InterruptibleCursor)
        # Together: psycopg2 does not enforce what is set as read-only before it is set to autocommit.
        connection.set_session(**session)
        with connection.cursor() as cursor:
            for setting in (STANDARD_STRINGS, *settings, WATCH_CLIENT.format(is_local=not connection.autocommit)):
                cursor.execute(setting)
        return connection

    return sa.create_engine("postgresql+psycopg2://", creator=connect, poolclass=NullPool)


def check_uri(uri: str) -> None:
    """Refuse a URI that libpq would refuse, without repeating any of it: parts of a password may be anywhere in it.

    :raises OfflineAccessError: when it is no libpq URI.
    """
    try:
        port = parse_dsn(uri).get("port", "")
    except psycopg2.ProgrammingError:
        port = "unreadable"
    if not re.fullmatch(r"[\d,]*", port):
        raise OfflineAccessError(
            "the Postgres URI is not one that libpq reads -> write postgresql://user:password@host:port/database, with "
            "special characters in user and password percent-encoded"
        ) from None


def row_schema(view: FeatureView, types: dict[str, PostgresType]) -> RowSchema:
    """Assign the source's columns to their parts in the view's rows.

    :param types: column name to type, in the order of the source.
    :raises ColumnNotFoundError: a named column does not exist.
    :raises UnsupportedTypeError: a column's type cannot play its part.
    """
    source = view.source
    reserved = {*view.entities, source.timestamp_field, source.created_timestamp_column, source.deleted_field}
    features = view.features if view.features is not None else [name for name in types if name not in reserved]
    view.check_feature_names(features)

    def column(part: str, name: str, allowed: Collection[str] | None = None) -> Column:
        if name not in types:
            raise ColumnNotFoundError(
                f"feature view {view.name!r}: {part} {name!r} is no column of {source.description}, "
                f"which has {', '.join(map(repr, types))}"
            )
        kind = types[name]
        if allowed is not None and kind.name not in allowed:
            raise UnsupportedTypeError(
                f"feature view {view.name!r}: {part} {name!r} has type {kind.name!r} but must have "
                f"{' or '.join(map(repr, sorted(allowed)))}; convert it in a query="
            )
        if part == "join key" and not kind.can_be_key:
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
        # What a transform is given need not be what Feast can hold.
        return found if view.transform is not None and part == FEATURE else feast_column(view, part, found)

    return RowSchema(
        keys=tuple(column("join key", name) for name in view.entities),
        event_timestamp=column("timestamp_field", source.timestamp_field, TIMESTAMP_TYPES),
        created_timestamp=column("created_timestamp_column", source.created_timestamp_column, TIMESTAMP_TYPES)
        if source.created_timestamp_column is not None
        else None,
        deleted=column("deleted_field", source.deleted_field, {"boolean"})
        if source.deleted_field is not None
        else None,
        features=tuple(column("feature", name) for name in features),
    )


def _column_types(
    connection: sa.Connection, no_rows: Select[*tuple[Any, ...]]
) -> tuple[dict[str, PostgresType], dict[str, timedelta]]:
    """Type and resolution in time of each column; of a domain, its base type."""
    described: Any = connection.execute(no_rows).cursor.description or ()
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
    """How far apart two values of a column of time are at least.

    :param modifier: digits of a second that the column keeps, -1 for all; ``None`` for an expression, which may have
        cut them off.
    """
    if type_name == "date":
        return timedelta(hours=25)  # the longest day
    if modifier is None:
        return timedelta(seconds=1)
    return timedelta(0) if modifier in (-1, 6) else timedelta(seconds=10.0**-modifier)
