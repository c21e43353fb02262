"""A producer's rows appended to the offline store: on their own, or before they are pushed online."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from online_features.errors import SourceError
from online_features.layouts.layout_registry import layout_of
from online_features.producers.given_rows import BATCH_ROWS, batches
from online_features.producers.pushed_rows import PushedRows, naming, pushed_rows, pushed_schema
from online_features.producers.transformation import Transformation
from online_features.rejection import Rejections

if TYPE_CHECKING:
    from online_features.feature_view import FeatureView
    from online_features.schema import RowSchema

SPOOLED_BYTES = 64 * 1024 * 1024  # of appended rows in memory before they wait in a file for their push


class Appender(Protocol):
    """Appends batches in one transaction; see :class:`online_features.offline.appender.StagedAppender`."""

    rows: int
    created_at: datetime

    def add(self, batch: pa.RecordBatch) -> None:
        """Append rows."""


class AppendableSource(Protocol):
    """A source that rows can be appended to; see :class:`online_features.offline.source_access.SourceAccess`."""

    def describe(self) -> RowSchema:
        """Return its columns."""

    def generated_columns(self) -> frozenset[str]:
        """Return the columns whose values only Postgres makes."""

    def appending(self, schema: RowSchema) -> AbstractContextManager[Appender]:
        """Append rows in one transaction, which leaving the context commits."""


@dataclass(frozen=True, kw_only=True)
class AppendResult:
    """Counts of rows that were appended.

    :param rows_read: all that were given.
    :param rows_appended: now in the table; fewer than were read where some were rejected or, by a constraint of the
        table, there already.
    :param rows_rejected: without an entity or an event timestamp.
    :param seconds: wall time.
    """

    rows_read: int
    rows_appended: int
    rows_rejected: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON-serializable values."""
        return asdict(self)


def append_rows(source: AppendableSource, view: FeatureView, rows: Any) -> AppendResult:
    """Append the rows; see :meth:`~online_features.OfflineStore.append`."""
    described = source.describe()
    if view.features is None and (generated := source.generated_columns()):
        given = tuple(feature for feature in described.features if feature.name not in generated)
        described = replace(described, features=given)
    return _append(source, view, Transformation(view, described, in_texts=True), rows, lambda _: None)


@contextmanager
def appended(
    source: AppendableSource, view: FeatureView, transformation: Transformation, rows: Any
) -> Iterator[tuple[AppendResult, Iterator[PushedRows]]]:
    """Append the rows, and give what of them goes online, each kept meanwhile: the producer's may be a generator.

    :raises SourceError: when Postgres makes values that go online, which nobody knows before a run reads them.
    """
    served = {feature.name for feature in transformation.source.features}
    if generated := sorted(served & source.generated_columns()):
        raise SourceError(
            f"feature view {view.name!r}: Postgres makes the values of column {generated[0]!r}, so that they cannot be "
            "pushed -> append the rows alone, and let the next run take them online; or name features= without it"
        )
    with SpooledTemporaryFile(max_size=SPOOLED_BYTES) as file:
        spool = _Spool(file)
        yield _append(source, view, transformation, rows, spool.add), spool.batches()


def _append(
    source: AppendableSource,
    view: FeatureView,
    transformation: Transformation,
    rows: Any,
    keep: Callable[[pa.RecordBatch], None],
) -> AppendResult:
    began = time.monotonic()
    schema, encoder = transformation.source, layout_of(view).encoder(transformation.schema)
    stored = view.before_transform
    rows_read, rejections = 0, Rejections(view)
    with rejections, source.appending(schema) as appender:
        for given in batches(rows, BATCH_ROWS):
            # The types are the source's own, and no column of it is unknown.
            pushed = pushed_rows(view, pushed_schema(stored, schema, given), given, now=appender.created_at)
            appender.add(pushed.batch)
            # Before the rows are committed, because what cannot go online would break every later run.
            with naming(view):
                made = transformation.apply(pushed.batch)
            encoder.check(made)
            keep(made)
            rows_read += given.num_rows
            rejections.add(pushed.rejected, pushed.rejected_sample)
    return AppendResult(
        rows_read=rows_read,
        rows_appended=appender.rows,
        rows_rejected=rejections.rows,
        seconds=time.monotonic() - began,
    )


class _Spool:
    """Record batches that wait for their push in a temporary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: pa.RecordBatchStreamWriter | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        self._writer = self._writer or pa.ipc.new_stream(self._file, batch.schema)
        self._writer.write_batch(batch)

    def batches(self) -> Iterator[PushedRows]:
        if self._writer is not None:
            self._writer.close()
            self._file.seek(0)
            for batch in pa.ipc.open_stream(self._file):
                yield PushedRows(batch=batch, rejected=0, rejected_sample=())
