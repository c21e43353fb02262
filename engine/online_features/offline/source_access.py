"""Access of the engine to the source of one view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement, Select

from online_features.errors import SourceNotFoundError
from online_features.feature_view import FeatureView
from online_features.offline._appender import StagedAppender, appending
from online_features.offline._source_schema import read_schema
from online_features.offline.division.division import Division, collation_of, divide
from online_features.offline.division.part import KeyRange, Part, PartitionGroup
from online_features.offline.horizon import Horizon
from online_features.offline.notifications import TRIGGER, quoted
from online_features.offline.postgres import sql_files
from online_features.offline.postgres.sqlstates import UNTRANSLATABLE
from online_features.offline.postgres.transactions import READER_NAME, Transactions
from online_features.offline.query_plan import QueryPlan, choose_query, query_of_part
from online_features.offline.relations import Relation, SourceRelations
from online_features.offline.snapshot import Snapshot
from online_features.offline.sql import source_rows, statements
from online_features.offline.sql.skip_scan import SkipScan
from online_features.schema import RowSchema
from online_features.window import Arrivals, Window

SAMPLE_BYTES = 8 * 1024 * 1024  # of a table, in which to look for rows that increments missed: some ten milliseconds
ENTITY_SAMPLE_BYTES = 64 * 1024 * 1024  # of a table, from which a sample of entities is drawn: some hundred thousands


class SourceAccess:
    """Reads and appends rows of one view's source."""

    def __init__(self, transactions: Transactions, view: FeatureView) -> None:
        self._transactions = transactions
        self._view = view
        self._source = view.source

    def describe(self) -> RowSchema:
        """Return the columns of the source; see :meth:`~online_features.OfflineStore.describe`."""
        self._check_single()
        try:
            with self._transactions.reading(self._view) as connection:
                return read_schema(connection, self._view.before_transform)
        except SourceNotFoundError as error:
            raise SourceNotFoundError(f"{error}{self._near_tables()}") from error

    def generated_columns(self) -> frozenset[str]:
        """Return the columns of the view's table whose values only Postgres makes: identity and generated ones."""
        if self._source.table is None:
            return frozenset()
        with self._transactions.reading(self._view) as connection:
            found = connection.execute(sql_files.statement("generated"), {"table": quoted(self._source.table)})
            return frozenset(found.scalars())

    def has_rows(self, schema: RowSchema, window: Window | Arrivals) -> bool:
        """Return whether the source has any row in the window that can go online."""
        self._check_single()  # a trigger calls this without calling describe() first
        with self._transactions.reading(self._view) as connection:
            return bool(connection.execute(statements.any_rows(self._source, schema, window)).scalar_one())

    def relations(self, schema: RowSchema) -> SourceRelations:
        """Return the relations behind the source, by their locks; those that only functions read are not found."""
        table = quoted(self._source.table) if self._source.table is not None else None
        timestamps = [column.name for column in (schema.event_timestamp, schema.created_timestamp) if column]
        parameters = {"table": table, "keys": [key.name for key in schema.keys], "timestamps": timestamps}
        with self._transactions.reading(self._view) as connection:
            connection.execute(statements.no_rows(self._source))
            found = connection.execute(sql_files.statement("relations"), parameters).mappings().all()
            snapshot = connection.exec_driver_sql("SELECT pg_current_snapshot()::text").scalar_one()
        return SourceRelations(relations=[Relation(**fields) for fields in found], snapshot=snapshot)

    def has_rows_outside(self, schema: RowSchema, parts: Sequence[Relation], arrivals: Arrivals) -> bool:
        """Return whether any of these partitions has a row that is not among the arrivals."""
        with self._transactions.reading(self._view) as connection:
            return any(connection.execute(self._any_outside(schema, part, arrivals)).scalar_one() for part in parts)

    def changed_unseen(
        self, schema: RowSchema, relations: SourceRelations, arrivals: Arrivals, snapshot: str
    ) -> tuple[int, int]:
        """Count, in a sample of a table, rows that changed since a snapshot and that an increment does not read.

        :returns: how many are up to now, and how many of the future.
        """
        percent = 100 * min(1.0, SAMPLE_BYTES / max(relations.size, 1))
        with self._transactions.reading(self._view) as connection:
            sampled = statements.changed_unseen(self._source, schema, arrivals, snapshot, percent)
            past, future = connection.execute(sampled).one()
            return past, future

    def announces_changes(self, table: str) -> bool:
        """Return whether Postgres notifies when the table has changed."""
        parameters = {"table": quoted(table), "trigger": TRIGGER}
        with self._transactions.reading(self._view) as connection:
            return bool(connection.execute(sql_files.statement("announced"), parameters).scalar_one())

    def horizon(self) -> Horizon:
        """Return how far a snapshot taken after this call is complete."""
        with self._transactions.reading(self._view) as connection:
            row = connection.execute(sql_files.statement("horizon"), {"snapshot": READER_NAME}).one()
        horizon = Horizon.of(*row)
        horizon.warn(self._view)
        return horizon

    @contextmanager
    def lookup(self, schema: RowSchema) -> Iterator[Callable[[Sequence[Sequence[str]]], set[int]]]:
        """Yield a function from entities, as texts of their join keys, to the indexes of those the source has."""
        with self._transactions.reading(self._view) as connection:
            yield partial(self._existing, connection, schema)

    def query_plan(self, schema: RowSchema, window: Window | Arrivals) -> QueryPlan:
        """Choose how to read a window."""
        with self._transactions.reading(self._view) as connection:
            return choose_query(connection, self._source, schema, window)

    def plan_of_entities(self, schema: RowSchema, latest: datetime, entities: Sequence[Sequence[str]]) -> QueryPlan:
        """Return how to read the newest rows of some entities.

        :param latest: rows with a later event timestamp are left out.
        :param entities: the texts of join keys, as they go online; all of them are in the source.
        """
        return self._partial_plan(schema, latest, statements.is_among(self._source, schema, entities))

    def plan_of_sample(self, schema: RowSchema, latest: datetime, size: int, relations: SourceRelations) -> QueryPlan:
        """Return how to read the newest rows of a random sample of the entities.

        Of a large table, only some pages are read to find them; of any other source, all rows.
        """
        is_large = relations.is_one_table and relations.size > ENTITY_SAMPLE_BYTES
        percent = 100 * ENTITY_SAMPLE_BYTES / relations.size if is_large else None
        sampled = statements.is_sampled(self._source, schema, latest, size=size, percent=percent)
        return self._partial_plan(schema, latest, sampled)

    def divide(self, schema: RowSchema, query_plan: QueryPlan, parts: int) -> Division:
        """Divide the source into parts of about as many rows.

        :param query_plan: by which the whole source would be read.
        :param parts: how many to make; fewer where there are fewer entities.
        """
        with self._transactions.reading(self._view) as connection:
            return divide(connection, self._source, schema, parts, scan=query_plan.scan)

    def collation(self, schema: RowSchema, column: str) -> tuple[str, str | None] | None:
        """Return the collation of a join key, and its version on this server; ``None`` if it has none."""
        with self._transactions.reading(self._view) as connection:
            return collation_of(connection, self._source, schema, column)

    def plans_of_part(
        self, schema: RowSchema, window: Window | Arrivals, part: Part, scan: SkipScan | None
    ) -> list[QueryPlan]:
        """Return how to read a part.

        :param scan: by which the whole source would be read; a range is read by it if its index begins with the key.
        """
        if not isinstance(part, PartitionGroup):
            if scan is not None and not (isinstance(part, KeyRange) and scan.index.columns[0] == part.column):
                scan = None
            return [query_of_part(self._source, schema, window, part, scan)]
        with self._transactions.reading(self._view) as connection:
            sources = (replace(self._source, table=table) for table in part.tables)
            return [choose_query(connection, source, schema, window) for source in sources]

    @contextmanager
    def snapshot(self, *plans: QueryPlan, imported: str | None = None) -> Iterator[Snapshot]:
        """Read in one read-only, repeatable-read transaction.

        :param imported: the id of a snapshot that another process exports.
        """
        with self._transactions.streaming(self._view, snapshot=imported) as cursor:
            yield Snapshot(self._view, cursor, *plans)

    def exported_snapshot(self) -> AbstractContextManager[str]:
        """Yield the id of a snapshot, which other processes can import while the context is open."""
        return self._transactions.exporting(self._view)

    @contextmanager
    def appending(self, schema: RowSchema) -> Iterator[StagedAppender]:
        """Append rows in one transaction, which leaving the context commits."""
        with appending(self._transactions, self._view, schema) as appender:
            yield appender

    def _partial_plan(self, schema: RowSchema, latest: datetime, among: ColumnElement[bool]) -> QueryPlan:
        """Return how to read the newest rows of the entities for which a condition holds; rejected rows don't count."""
        nothing = sa.select(sa.literal(1)).where(sa.false())
        return QueryPlan(
            schema=schema,
            types=statements.types(self._source, schema),
            newest=statements.newest_rows(self._source, schema, Window(latest=latest), among),
            rejected=nothing,
            uncounted=nothing,
            expected_rows=0,
        )

    def _check_single(self) -> None:
        """Have Postgres parse the view's query by itself, as one statement.

        This refuses a query that closes our parenthesis around it. ADBC's protocol takes one statement at a time;
        psycopg2 would execute all of them.
        """
        if self._source.query is not None:
            with self._transactions.streaming(self._view) as cursor:
                cursor.adbc_execute_schema(source_rows.alone(self._source.query))

    def _near_tables(self) -> str:
        """Return a hint at tables whose names differ only in case, dots or schema, or an empty text."""
        with self._transactions.reading(self._view) as connection:
            found = connection.execute(sql_files.statement("near_tables"), {"name": self._source.table}).all()
        names = " or ".join(repr(f"{schema}.{name}") for schema, name in found)
        return f"; there is {names} (case counts, and the first dot ends the schema)" if found else ""

    def _any_outside(self, schema: RowSchema, part: Relation, arrivals: Arrivals) -> Select[Any]:
        """Select from a partition by its own name where the role may, else through its table."""
        if part.is_readable:
            table = sa.table(source_rows.literally(part.name), schema=source_rows.literally(part.schema))
            return statements.any_outside(self._source, schema, table, sa.true(), arrivals)
        condition = statements.of_part(part.oid, part.bound)
        return statements.any_outside(self._source, schema, source_rows.rows_of(self._source), condition, arrivals)

    def _existing(self, connection: sa.Connection, schema: RowSchema, entities: Sequence[Sequence[str]]) -> set[int]:
        try:
            found = connection.execute(statements.existing_entities(self._source, schema, entities)).all()
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "pgcode", None) != UNTRANSLATABLE:
                raise
            found = None
        finally:
            connection.rollback()  # no transaction stays open during calls to Redis
        if found is not None:
            return {place - 1 for (place,) in found}
        # The source lacks entities that the encoding of the database cannot write: bisect to find them.
        if len(entities) == 1:
            return set()
        half = len(entities) // 2
        first, second = (self._existing(connection, schema, part) for part in (entities[:half], entities[half:]))
        return first | {half + place for place in second}
