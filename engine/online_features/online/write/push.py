"""Pushes: a producer writes rows online directly, with the same guard as a materialization."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from online_features.common.concurrency import made_ahead
from online_features.common.retry_budget import RetryBudget
from online_features.counters import RowCounts
from online_features.errors import InvalidRowsError, SourceError
from online_features.event_times import EventTimes, warn_of_future
from online_features.feature_view import FeatureView
from online_features.online.generations.push_states import PushState, PushStates, push_command
from online_features.online.redis.deployment import Deployment
from online_features.online.redis.redis_failures import is_passing, lasting
from online_features.online.redis.replication import Replication
from online_features.online.redis.scripts import StateChangedError
from online_features.online.write._row_writer import RowWriter, write_rows_then
from online_features.producers.appending import AppendableSource, appended
from online_features.producers.given_rows import BATCH_ROWS, GivenBatch, batches
from online_features.producers.pushed_rows import PushedRows, pushed_rows, pushed_schema
from online_features.producers.transformation import Transformation, transformed
from online_features.rejection import Rejections
from online_features.resp.replies import text
from online_features.schema import RowSchema

if TYPE_CHECKING:
    from online_features.online.redis.row_calls import PackedCall

Given = TypeVar("Given")  # a batch, as the producer gave it or as it was appended
T = TypeVar("T")
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class PushResult(RowCounts):
    """What a push did.

    :param bytes_sent: of commands to Redis.
    :param seconds: wall time.
    :param max_event_timestamp: the newest among the rows pushed that is not in the future; ``None`` when there is none.
    :param rows_appended: to the offline store, where the push has one.
    """

    bytes_sent: int
    seconds: float
    max_event_timestamp: datetime | None
    rows_appended: int


def push_rows(
    deployment: Deployment,
    states: PushStates,
    view: FeatureView,
    rows: Any,
    *,
    now: datetime,
    retry_budget: RetryBudget,
    batch_rows: int = BATCH_ROWS,
) -> PushResult:
    """Write the rows; see :meth:`~online_features.OnlineStore.push`."""
    began = time.monotonic()

    def coerced(known: PushState, given: GivenBatch) -> tuple[RowSchema, PushedRows]:
        schema = pushed_schema(view, known.schema, given)
        return schema, pushed_rows(view, schema, given, now=now)

    push: _Push[GivenBatch] = _Push(deployment, states, view, retry_budget, coerced, now=now)
    push.send(transformed(view, given, number) for number, given in enumerate(batches(rows, batch_rows), 1))
    return push.result(began)


def append_and_push(
    deployment: Deployment,
    states: PushStates,
    view: FeatureView,
    rows: Any,
    *,
    source: AppendableSource,
    now: datetime,
    retry_budget: RetryBudget,
) -> PushResult:
    """Append the rows to the offline store, and write them when they are committed there.

    If writing fails, the rows stay in the table, and a retry or the next run takes them online.
    """
    began = time.monotonic()
    transformation = Transformation(view, source.describe(), in_texts=True)

    def coerced(known: PushState, given: PushedRows) -> tuple[RowSchema, PushedRows]:
        _check_types(view, known, transformation.schema)
        return transformation.schema, given

    with lasting(retry_budget):
        known = retry_budget.attempt(partial(states.read, view), is_passing)
    _check_types(view, known, transformation.schema)
    push: _Push[PushedRows] = _Push(deployment, states, view, retry_budget, coerced, now=now)
    with appended(source, view, transformation, rows) as (result, every):
        push.send(every)
    push.counts += RowCounts(rows_read=result.rows_rejected, rows_rejected=result.rows_rejected)
    return push.result(began, rows_appended=result.rows_appended)


def _check_types(view: FeatureView, known: PushState, schema: RowSchema) -> None:
    """Refuse to write values of the source's types beside those of other types that a run has written."""
    online = {column.name: column.type for column in known.schema.columns} if known.schema else {}
    for column in schema.columns:
        if known.is_materialized and online.get(column.name, column.type) != column.type:
            raise SourceError(
                f"feature view {view.name!r}: column {column.name!r} is {column.type} now, but "
                f"{online[column.name]} in what is online -> materialize the view, and push again"
            )


def _check_identity(view: FeatureView, known: PushState) -> None:
    """Refuse to write rows that readers would not find: what is online has other entities or another layout."""
    if known.schema is None:
        return
    if not known.schema.has_entities(view.entities):
        online = f"entities {[key.name for key in known.schema.keys]}"
    elif known.layout not in (None, view.layout):
        online = f"layout {known.layout!r}"
    else:
        return
    raise InvalidRowsError(f"feature view {view.name!r}: what is online has {online}; materialize it first")


@dataclass(frozen=True, kw_only=True)
class _ReadyBatch(Generic[Given]):
    """A batch ready for the wire.

    :param given: the rows as given, from which the batch may have to be made again.
    :param known: the state of the view under which it was made.
    """

    given: Given
    known: PushState
    schema: RowSchema
    pushed: PushedRows
    calls: Sequence[PackedCall]


class _Push(Generic[Given]):
    """One push: batches in, acknowledgements counted."""

    def __init__(
        self,
        deployment: Deployment,
        states: PushStates,
        view: FeatureView,
        retry_budget: RetryBudget,
        coerced: Callable[[PushState, Given], tuple[RowSchema, PushedRows]],
        *,
        now: datetime,
    ) -> None:
        self.counts = RowCounts()
        self._bytes_sent = 0
        self._times = EventTimes()
        self._now = now
        self._deployment = deployment
        self._states = states
        self._view = view
        self._retry_budget = retry_budget
        self._replication = Replication(what=f"feature view {view.name!r}")
        self._coerced = coerced
        self._rejections = Rejections(view)

    def send(self, given: Iterator[Given]) -> None:
        """Write the batches, each encoded while the one before is being written."""
        sent = 0
        try:
            with self._rejections, closing(_ready_batches(self._steadily(self._ready), given)) as ready_batches:
                for ready in ready_batches:
                    self._steadily(self._write)(ready)
                    sent += 1
        except InvalidRowsError as error:
            if sent == 0:
                raise
            raise InvalidRowsError(
                f"{error} (in batch {sent + 1}; {self.counts.rows_written} rows of earlier ones are online, each valid "
                "and guarded by itself, so that all may be pushed again)"
            ) from error

    def result(self, began: float, *, rows_appended: int = 0) -> PushResult:
        """Return what the push did since ``began``, by the monotonic clock."""
        warn_of_future(self._view, self._times)
        return PushResult(
            **asdict(replace(self.counts, rows_future=self._times.future_rows)),
            bytes_sent=self._bytes_sent,
            seconds=time.monotonic() - began,
            max_event_timestamp=self._times.newest,
            rows_appended=rows_appended,
        )

    def _steadily(self, do: Callable[[T], Made]) -> Callable[[T], Made]:
        def steady(what: T) -> Made:
            with lasting(self._retry_budget):
                return self._retry_budget.attempt(partial(do, what), is_passing)

        return steady

    def _ready(self, given: Given) -> _ReadyBatch[Given]:
        known = self._states.known(self._view)
        try:
            return self._made_under(known, given)
        except InvalidRowsError:
            current = self._states.read(self._view)
            if current == known:
                raise
            return self._made_under(current, given)

    def _made_under(self, known: PushState, given: Given) -> _ReadyBatch[Given]:
        _check_identity(self._view, known)
        schema, pushed = self._coerced(known, given)
        known = self._states.with_features(self._view, known, schema)
        version = self._states.expected_version(known, schema)
        writer = RowWriter(self._deployment, self._view, schema, known.features, version=version)
        return _ReadyBatch(given=given, known=known, schema=schema, pushed=pushed, calls=writer.calls(pushed.batch))

    def _write(self, ready: _ReadyBatch[Given]) -> None:
        *keys, instants = ready.pushed.batch.columns[: len(ready.schema.keys) + 1]
        times = EventTimes.of(keys, instants, self._now)
        counts = self._sent(ready, times.newest)
        while counts is None:
            # The view's state has changed: a run with another definition has ended, another producer's first push has
            # recorded other types, or Redis was flushed. The rows are validated again under the new state. Calls that
            # were carried out may be made again, because rows with equal timestamps overwrite each other.
            self._states.read(self._view)
            ready = self._ready(ready.given)
            counts = self._sent(ready, times.newest)
        rejected = ready.pushed.rejected
        self.counts += counts + RowCounts(rows_read=rejected, rows_rejected=rejected)
        self._rejections.add(rejected, ready.pushed.rejected_sample)
        self._times += times

    def _sent(self, ready: _ReadyBatch[Given], newest: datetime | None) -> RowCounts | None:
        """Return the outcomes of the rows; ``None`` if they were encoded under a state that is no longer there."""
        known = ready.known
        if not known.is_materialized and known.schema != ready.schema:
            known = self._states.record(self._view, known, ready.schema)
            if known.schema != ready.schema:
                return None
        # A script that cannot reach the state does not check it with every call, so it is checked before and after.
        is_apart = not self._deployment.state_is_beside_rows
        try:
            with self._deployment.session(self._retry_budget, self._replication) as session:
                if is_apart and text(session.command(*push_command(self._view, known.version))) != known.version:
                    return None
                command = push_command(self._view, known.version, newest)
                counts, version = write_rows_then(session, ready.pushed.batch.num_rows, ready.calls, command)
                self._bytes_sent += session.bytes_sent
        except StateChangedError:
            return None
        return None if is_apart and text(version) != known.version else counts


def _ready_batches(
    make: Callable[[Given], _ReadyBatch[Given]], given: Iterator[Given]
) -> Generator[_ReadyBatch[Given], None, None]:
    """Yield the batches ready for the wire, each made in a thread while the one before is written."""
    first, second = list(islice(given, 1)), list(islice(given, 1))
    if second:
        every = chain(first, second, given)
        del first, second  # so that each batch is freed when it is written
        yield from made_ahead(make, every)
    else:  # most pushes are a single batch, which is not worth a thread
        yield from map(make, first)
