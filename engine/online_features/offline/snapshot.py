"""The rows of a window, as of one instant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_postgresql import dbapi
from sqlalchemy.sql.selectable import GenerativeSelect

from online_features.errors import OfflineStoreUnavailableError
from online_features.feature_view import FeatureView
from online_features.offline.postgres import sql_files
from online_features.offline.postgres.postgres_failures import translated
from online_features.offline.query_plan import QueryPlan
from online_features.offline.sql import source_rows, statements
from online_features.rejection import SAMPLE_ROWS

# Of Arrow data in a batch: small enough for caches, and of enough rows to encode by column, however many those are.
BATCH_BYTES, COLUMN_BYTES = 2 * 1024 * 1024, 64 * 1024


class Snapshot:
    """The newest rows of a window, as of one instant.

    :param plans: read one after the other.

    Rejected rows are counted after the last batch, while earlier batches are being written.

    :ivar rejected: rows without an entity or an event timestamp.
    :ivar rejected_sample: a few of them, join keys and event timestamp as text.
    """

    def __init__(self, view: FeatureView, cursor: dbapi.Cursor, *plans: QueryPlan) -> None:
        self.rejected = 0
        self.rejected_sample: list[tuple[str | None, ...]] = []
        self._view = view
        self._cursor = cursor
        self._plans = plans

    def batches(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the newest row of each entity; columns as :class:`RowSchema` orders them.

        :param batch_rows: the largest number of rows in a batch.
        """
        with translated(self._view):
            for plan in self._plans:
                yield from self._batches_of(plan, batch_rows)

    def cancel(self) -> None:
        """Cancel the query of another thread."""
        self._cursor.adbc_cancel()

    def _batches_of(self, plan: QueryPlan, batch_rows: int) -> Iterator[pa.RecordBatch]:
        size = max(BATCH_BYTES, COLUMN_BYTES * len(plan.newest.selected_columns))
        self._cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(size)})
        self._cursor.execute(source_rows.sql_text(plan.newest))
        before = self.rejected
        for received in self._received():
            batch = self._counted(received) if plan.counts_rejected else received
            for offset in range(0, batch.num_rows, batch_rows):
                yield batch.slice(offset, batch_rows)
        self._check_intact(plan)
        ((uncounted,),) = self._rows(statements.count(plan.uncounted))
        self.rejected += uncounted
        more = SAMPLE_ROWS - len(self.rejected_sample)
        if self.rejected > before and more:
            self.rejected_sample += self._rows(plan.rejected.limit(more))

    def _received(self) -> Iterable[pa.RecordBatch]:
        # Not fetch_record_batch(): it raises errors of Arrow, which lack the SQLSTATE.
        received: Iterable[pa.RecordBatch] = self._cursor._results.reader  # noqa: SLF001
        return received

    def _counted(self, received: pa.RecordBatch) -> pa.RecordBatch:
        """Add up the last column, which counts rejected rows, and drop it and the rows that exist only to count."""
        *columns, rejected = received.columns
        self.rejected += pc.sum(rejected, min_count=0).as_py()
        rows = pa.RecordBatch.from_arrays(columns, received.schema.names[:-1])
        key, *_ = columns
        return rows.filter(key.is_valid()) if key.null_count else rows

    def _check_intact(self, plan: QueryPlan) -> None:
        rewritten = [name for (name,) in self._fetched(sql_files.text("rewritten"))]
        if rewritten:
            raise OfflineStoreUnavailableError(
                f"feature view {self._view.name!r}: {' and '.join(rewritten)} was truncated, rewritten or replaced "
                "when the run began to read, which hides rows from it -> run again"
            )
        # In this transaction: another session would queue behind one that waits for this one to alter the table.
        if self._rows(plan.types) != [tuple(column.type for column in plan.schema.columns)]:
            raise OfflineStoreUnavailableError(
                f"feature view {self._view.name!r}: columns of {self._view.source.description} were altered when the "
                "run began -> run again"
            )

    def _rows(self, statement: GenerativeSelect) -> list[tuple[Any, ...]]:
        return self._fetched(source_rows.sql_text(statement))

    def _fetched(self, statement: str) -> list[tuple[Any, ...]]:
        self._cursor.execute(statement)
        return [tuple(row.values()) for row in self._cursor.fetch_arrow_table().to_pylist()]
