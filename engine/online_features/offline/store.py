"""The offline store: which rows of Postgres are newest, as Arrow record batches from one snapshot."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from adbc_driver_postgresql import dbapi
from sqlalchemy.sql import Select
from sqlalchemy.sql.selectable import GenerativeSelect

from online_features.common import arguments
from online_features.common.log_lines import say
from online_features.errors import (
    ColumnNotFoundError,
    OfflineStoreUnavailableError,
    SourceNotFoundError,
    UnsupportedTypeError,
)
from online_features.feature_view import FeatureView, PostgresSource
from online_features.layouts.feast.feast_columns import FEATURE, feast_column
from online_features.offline import statements
from online_features.offline.append import Appender, appending
from online_features.offline.listening import changed_tables
from online_features.offline.notifications import TRIGGER, quoted
from online_features.offline.postgres import sql_files
from online_features.offline.postgres.conninfo import completed
from online_features.offline.postgres.postgres_failures import translated
from online_features.offline.postgres.sqlstates import UNTRANSLATABLE
from online_features.offline.postgres.transactions import READER_NAME, Transactions
from online_features.offline.query_plan import QueryPlan, chosen_reading
from online_features.offline.relations import Relation, SourceRelations
from online_features.offline.statements import literally
from online_features.producers.appending import AppendResult, append_rows
from online_features.rejection import SAMPLE_ROWS
from online_features.schema import Column, RowSchema
from online_features.types.registry import TIMESTAMP_TYPES, PostgresType
from online_features.window import Arrivals, Window

if TYPE_CHECKING:
    from online_features.online.store import PushableRows

log = logging.getLogger(__name__)

BATCH_BYTES = 2 * 1024 * 1024  # of Arrow data in a batch: large enough to encode by column, small enough for caches


SAMPLE_BYTES = 8 * 1024 * 1024  # of a table, looked through for rows that changed unseen: some ten milliseconds


class Snapshot:
    """The newest rows of a window, as of one instant.

    What is rejected is known when the batches have ended: it is counted last, while the rows before are written.

    :ivar rejected: rows without an entity or an event timestamp.
    :ivar rejected_sample: a few of them, join keys and event timestamp as text.
    """

    def __init__(self, view: FeatureView, cursor: dbapi.Cursor, reading: QueryPlan) -> None:
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
class OpenTransaction:
    """A transaction that holds back what runs may claim.

    :param since: when it began, or was prepared.
    :param age: how long before the horizon was taken, by the source's clock.
    :param user: whose it is.
    :param pid: of its session; ``None`` of a prepared one.
    :param application: the name that its session goes by.
    :param prepared: the identifier of a prepared one.
    """

    since: datetime
    age: timedelta
    user: str | None
    pid: int | None = None
    application: str | None = None
    prepared: str | None = None

    def __str__(self) -> str:
        if self.prepared is not None:
            return f"prepared transaction {self.prepared!r} of user {self.user!r}"
        return f"session {self.pid} of user {self.user!r}, application {self.application!r}"


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """How far a snapshot can be trusted to be complete, by the source's clock.

    :param claim: no transaction in flight can still commit rows stamped earlier, as far as can be seen.
    :param cursor: where the next incremental run may begin; ``None`` when a prepared transaction, whose beginning
        Postgres does not tell, forbids to move on.
    :param is_blind: whether transactions in flight cannot be seen, so that runs have to look back.
    :param oldest: the transaction whose beginning is the claim; ``None`` when the claim is the present.
    """

    claim: datetime
    cursor: datetime | None
    is_blind: bool
    oldest: OpenTransaction | None = None


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
        self._conninfo = completed(uri)
        self._transactions = Transactions(self._conninfo, statement_timeout)

    def ping(self) -> None:
        """See whether Postgres answers.

        :raises OfflineAccessError: when it refuses the login.
        :raises OfflineStoreUnavailableError: when it cannot be reached.
        """
        self._transactions.ping()

    def describe(self, view: FeatureView) -> RowSchema:
        """The columns of the view's rows in the source and their types: all of them where the view has a transform.

        :raises SourceNotFoundError: the table does not exist.
        :raises ColumnNotFoundError: a named column does not exist.
        :raises UnsupportedTypeError: a column's type cannot go online.
        """
        arguments.check(view=view)
        self._check_single(view)
        try:
            with self._transactions.reading(view) as connection:
                types, resolutions = _column_types(connection, statements.no_rows(view.source))
        except SourceNotFoundError as error:
            raise SourceNotFoundError(f"{error}{self._near_tables(view)}") from error
        schema = row_schema(view.before_transform, types)
        created = schema.created_timestamp
        return replace(
            schema,
            created_resolution=resolutions[created.name] if created is not None else timedelta(0),
            event_resolution=resolutions[schema.event_timestamp.name],
        )

    def _check_single(self, view: FeatureView) -> None:
        """Have Postgres parse the view's query by itself, as one statement.

        It refuses a query that closes our parenthesis around it. ADBC's protocol takes one statement at a time;
        psycopg2 would execute all of them.
        """
        if view.source.query is not None:
            with self._transactions.streaming(view) as cursor:
                cursor.adbc_execute_schema(statements.alone(view.source.query))

    def _near_tables(self, view: FeatureView) -> str:
        """Return a hint at tables whose names differ only in case, dots or schema, or an empty text."""
        with self._transactions.reading(view) as connection:
            found = connection.execute(sql_files.statement("near_tables"), {"name": view.source.table}).all()
        names = " or ".join(repr(f"{schema}.{name}") for schema, name in found)
        return f"; there is {names} (case counts, and the first dot ends the schema)" if found else ""

    def generated_columns(self, view: FeatureView) -> frozenset[str]:
        """Return the columns of the view's table whose values only Postgres makes: identity and generated ones."""
        if view.source.table is None:
            return frozenset()
        with self._transactions.reading(view) as connection:
            found = connection.execute(sql_files.statement("generated"), {"table": quoted(view.source.table)})
            return frozenset(found.scalars())

    def has_rows_before(self, view: FeatureView, schema: RowSchema, instant: datetime) -> bool:
        """Whether the source has history before ``instant``."""
        return self.has_rows(view, schema, Window(end=instant))

    def has_rows(self, view: FeatureView, schema: RowSchema, window: Window | Arrivals) -> bool:
        """Whether the source has any row in the window that can go online."""
        self._check_single(view)  # a trigger's look is not preceded by describe()
        with self._transactions.reading(view) as connection:
            return bool(connection.execute(statements.any_rows(view.source, schema, window)).scalar_one())

    def relations(self, view: FeatureView, schema: RowSchema) -> SourceRelations:
        """Return the relations behind the view's source, as far as locks tell: what a function reads stays hidden."""
        table = quoted(view.source.table) if view.source.table is not None else None
        timestamps = [column.name for column in (schema.event_timestamp, schema.created_timestamp) if column]
        parameters = {"table": table, "keys": [key.name for key in schema.keys], "timestamps": timestamps}
        with self._transactions.reading(view) as connection:
            connection.execute(statements.no_rows(view.source))
            found = connection.execute(sql_files.statement("relations"), parameters).mappings().all()
            snapshot = connection.exec_driver_sql("SELECT pg_current_snapshot()::text").scalar_one()
        return SourceRelations(relations=[Relation(**fields) for fields in found], snapshot=snapshot)

    def has_rows_outside(
        self, view: FeatureView, schema: RowSchema, parts: Sequence[Relation], arrivals: Arrivals
    ) -> bool:
        """Return whether any of these partitions has a row that an increment would not read."""
        with self._transactions.reading(view) as connection:
            return any(
                connection.execute(_any_outside(view.source, schema, part, arrivals)).scalar_one() for part in parts
            )

    def changed_unseen(
        self, view: FeatureView, schema: RowSchema, relations: SourceRelations, arrivals: Arrivals, snapshot: str
    ) -> tuple[int, int]:
        """Count, in a sample of a table, rows that changed since a snapshot and that an increment does not read.

        :returns: how many are up to now, and how many of the future.
        """
        percent = 100 * min(1.0, SAMPLE_BYTES / max(relations.size, 1))
        with self._transactions.reading(view) as connection:
            sampled = statements.changed_unseen(view.source, schema, arrivals, snapshot, percent)
            past, future = connection.execute(sampled).one()
            return past, future

    def announces_changes(self, view: FeatureView, table: str) -> bool:
        """Whether Postgres tells when the table has changed."""
        parameters = {"table": quoted(table), "trigger": TRIGGER}
        with self._transactions.reading(view) as connection:
            return bool(connection.execute(sql_files.statement("announced"), parameters).scalar_one())

    def changed_tables(self) -> AsyncGenerator[frozenset[str], None]:
        """Yield the tables that have changed; see :func:`~online_features.offline.listening.changed_tables`."""
        return changed_tables(self._conninfo)

    def horizon(self, view: FeatureView) -> Horizon:
        """How far a snapshot taken after this call can be trusted to be complete."""
        with self._transactions.reading(view) as connection:
            now, session, prepared, is_blind = connection.execute(
                sql_files.statement("horizon"), {"snapshot": READER_NAME}
            ).one()
        if is_blind:
            say(
                log.warning,
                f"Feature view {view.name!r}: the Postgres role may not see other sessions, or the server is a "
                "standby, so late rows are found by reading back over the last run "
                "-> GRANT pg_read_all_stats to the role",
            )
        transactions = [_open_transaction(now, found) for found in (session, prepared) if found is not None]
        oldest = min(transactions, key=lambda transaction: transaction.since, default=None)
        if prepared is not None:
            log.warning("Feature view %r: a prepared transaction holds back the cursor of incremental runs", view.name)
            since = transactions[-1].since.isoformat(timespec="seconds")
            say(log.warning, f"It is {transactions[-1]}, of {since} -> COMMIT PREPARED it, or ROLLBACK PREPARED")
        claim = now if oldest is None else min(now, oldest.since)
        return Horizon(claim=claim, cursor=claim if prepared is None else None, is_blind=is_blind, oldest=oldest)

    @contextmanager
    def lookup(self, view: FeatureView, schema: RowSchema) -> Iterator[Callable[[Sequence[Sequence[str]]], set[int]]]:
        """Yield a function from entities, as texts of their join keys, to the indexes of those the source has."""
        with self._transactions.reading(view) as connection:
            yield partial(_existing, connection, view, schema)

    def reading(self, view: FeatureView, schema: RowSchema, window: Window | Arrivals) -> QueryPlan:
        """How a window is best read, and how many rows Postgres's planner expects of it."""
        with self._transactions.reading(view) as connection:
            return chosen_reading(connection, view.source, schema, window)

    @contextmanager
    def snapshot(self, view: FeatureView, reading: QueryPlan) -> Iterator[Snapshot]:
        """Read in one read-only, repeatable-read transaction."""
        with self._transactions.streaming(view) as cursor:
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
        with appending(self._transactions, view, schema) as appender:
            yield appender


def _open_transaction(now: datetime, found: dict[str, Any]) -> OpenTransaction:
    since = datetime.fromisoformat(found.pop("since"))
    return OpenTransaction(since=since, age=max(now - since, timedelta(0)), **found)


def _near(name: str, known: Collection[str]) -> str:
    """Return what to do about a name that is not known."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "name one of these"


def _any_outside(source: PostgresSource, schema: RowSchema, part: Relation, arrivals: Arrivals) -> Select[Any]:
    """Ask a partition by its own name where the role may, else by way of its table."""
    if part.is_readable:
        table = sa.table(literally(part.name), schema=literally(part.schema))
        return statements.any_outside(source, schema, table, sa.true(), arrivals)
    condition = statements.of_part(part.oid, part.bound)
    return statements.any_outside(source, schema, statements.rows_of(source), condition, arrivals)


def _existing(
    connection: sa.Connection, view: FeatureView, schema: RowSchema, entities: Sequence[Sequence[str]]
) -> set[int]:
    try:
        found = connection.execute(statements.existing_entities(view.source, schema, entities)).all()
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != UNTRANSLATABLE:
            raise
        found = None
    finally:
        connection.rollback()  # no transaction is open while Redis is asked
    if found is not None:
        return {place - 1 for (place,) in found}
    # An entity that the database's encoding cannot write is not in the source; which ones, only Postgres can say.
    if len(entities) == 1:
        return set()
    half = len(entities) // 2
    first, second = (_existing(connection, view, schema, part) for part in (entities[:half], entities[half:]))
    return first | {half + place for place in second}


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
                f"which has {', '.join(map(repr, types))} -> {_near(name, types)}"
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
