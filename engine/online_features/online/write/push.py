"""Pushes: a producer writes rows online directly, with the same guard as a materialization."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
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
from online_features.layouts.layout_registry import LAYOUTS, layout_of
from online_features.online.generations.push_states import (
    PushState,
    PushStates,
    PushTarget,
    push_command,
    version_command,
)
from online_features.online.redis.deployment import Deployment
from online_features.online.redis.redis_failures import lasting
from online_features.online.redis.replication import Replication
from online_features.online.write._row_writer import RowWriter, row_counts
from online_features.producers.appending import AppendableSource, appended
from online_features.producers.given_rows import BATCH_ROWS, GivenBatch, batches
from online_features.producers.pushed_rows import PushedRows, aligned, pushed_rows, pushed_schema
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

    def coerced(target: PushTarget, given: GivenBatch) -> tuple[RowSchema, PushedRows]:
        schema = pushed_schema(view, target.schema, given)
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

    def coerced(target: PushTarget, given: PushedRows) -> tuple[RowSchema, PushedRows]:
        _check_types(view, target, transformation.schema)
        return transformation.schema, given

    with lasting(retry_budget):
        known = retry_budget.attempt(partial(states.read, view), deployment.may_pass)
    _check_types(view, known.published, transformation.schema)
    push: _Push[PushedRows] = _Push(deployment, states, view, retry_budget, coerced, now=now)
    with appended(source, view, transformation, rows) as (result, every):
        push.send(every)
    push.counts += RowCounts(rows_read=result.rows_rejected, rows_rejected=result.rows_rejected)
    return push.result(began, rows_appended=result.rows_appended)


def _check_types(view: FeatureView, target: PushTarget, schema: RowSchema) -> None:
    """Refuse to write values of the source's types beside those of other types that a run has written."""
    online = {column.name: column.type for column in target.schema.columns} if target.schema else {}
    for column in schema.columns:
        if target.is_materialized and online.get(column.name, column.type) != column.type:
            raise SourceError(
                f"feature view {view.name!r}: column {column.name!r} is {column.type} now, but "
                f"{online[column.name]} in what is online -> materialize the view, and push again"
            )


def _check_identity(view: FeatureView, target: PushTarget) -> None:
    """Refuse to write rows that readers would not find: what is online has other entities, or is not Feast's."""
    if target.schema is None:
        return
    if not target.schema.has_entities(view.entities):
        online = f"entities {[key.name for key in target.schema.keys]}"
    elif target.view.layout != view.layout and "feast" in (target.view.layout, view.layout):
        online = f"layout {target.view.layout!r}"
    else:
        return
    raise InvalidRowsError(f"feature view {view.name!r}: what is online has {online}; materialize it first")


@dataclass(frozen=True, kw_only=True)
class _ReadyBatch(Generic[Given]):
    """A batch ready for the wire.

    :param given: the rows as given, from which the batch may have to be made again.
    :param known: the generations for which it was made.
    :param schema: of the rows in the published generation.
    :param pushed: the rows for the published generation.
    :param calls: of each generation, in the order of ``known``; empty where ``missed`` has the generation.
    :param missed: generation to the number of rows that it cannot hold.
    """

    given: Given
    known: PushState
    schema: RowSchema
    pushed: PushedRows
    calls: Sequence[Sequence[PackedCall]]
    missed: Mapping[str, int]


class _Push(Generic[Given]):
    """One push: batches in, acknowledgements counted."""

    def __init__(
        self,
        deployment: Deployment,
        states: PushStates,
        view: FeatureView,
        retry_budget: RetryBudget,
        coerced: Callable[[PushTarget, Given], tuple[RowSchema, PushedRows]],
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
                return self._retry_budget.attempt(partial(do, what), self._deployment.may_pass)

        return steady

    def _ready(self, given: Given) -> _ReadyBatch[Given]:
        known = self._states.known(self._view)
        try:
            return self._made_for(known, given)
        except InvalidRowsError:
            current = self._states.read(self._view)
            if current == known:
                raise
            return self._made_for(current, given)

    def _made_for(self, known: PushState, given: Given) -> _ReadyBatch[Given]:
        schema, pushed = self._fitted(known.published, given)
        known = self._states.with_features(self._view, known, schema)
        calls, missed = [], {}
        for target in known.targets[:-1]:
            try:
                calls.append(self._calls(target, *self._fitted(target, given)))
            except (InvalidRowsError, SourceError):
                calls.append([])
                missed[target.generation] = pushed.batch.num_rows
        calls.append(self._calls(known.published, schema, pushed))
        return _ReadyBatch(given=given, known=known, schema=schema, pushed=pushed, calls=calls, missed=missed)

    def _fitted(self, target: PushTarget, given: Given) -> tuple[RowSchema, PushedRows]:
        """Return the rows with the columns of a generation.

        :raises InvalidRowsError: when the generation cannot hold them.
        """
        _check_identity(self._view, target)
        schema, pushed = self._coerced(target, given)
        wanted = wanted_schema(target, schema)
        return wanted, replace(pushed, batch=aligned(schema, pushed.batch, wanted))

    def _calls(self, target: PushTarget, schema: RowSchema, pushed: PushedRows) -> Sequence[PackedCall]:
        layout = layout_of(target.view, target.generation)
        return RowWriter(self._deployment, layout, schema, target.features, is_pushed=True).calls(pushed.batch)

    def _write(self, ready: _ReadyBatch[Given]) -> None:
        *keys, instants = ready.pushed.batch.columns[: len(ready.schema.keys) + 1]
        times = EventTimes.of(keys, instants, self._now)
        counts = self._sent(ready, times.newest)
        while counts is None:
            # A generation has been registered, published or removed, another producer's first push has recorded other
            # types, or Redis was flushed. The rows are written again, to the generations that there are now: rows with
            # equal timestamps overwrite each other.
            self._states.read(self._view)
            ready = self._ready(ready.given)
            counts = self._sent(ready, times.newest)
        rejected = ready.pushed.rejected
        self.counts += counts + RowCounts(rows_read=rejected, rows_rejected=rejected)
        self._rejections.add(rejected, ready.pushed.rejected_sample)
        self._times += times

    def _sent(self, ready: _ReadyBatch[Given], newest: datetime | None) -> RowCounts | None:
        """Return the outcomes of the rows in the published generation; ``None`` if the generations have changed."""
        known = ready.known
        if not known.published.is_materialized and known.published.schema != ready.schema:
            known = self._states.record(self._view, known, ready.schema)
            # Another generation may have been registered meanwhile, for which there are no calls.
            if known.published.schema != ready.schema or known.generations != ready.known.generations:
                return None
        # The published generation is written last: a reader never sees a row that a switch could take away.
        calls = [call for of_target in ready.calls for call in of_target]
        command = push_command(self._view, known, newest, ready.missed)
        with self._deployment.session(self._retry_budget, self._replication) as session:
            if not LAYOUTS[known.published.view.layout].has_generations:
                # Its types change in place, so a row of the types before must not be written.
                current = session.command(*version_command(self._view, known))
                if text(current) != known.version:
                    return None
            *replies, version = session.send(calls, command)
            self._bytes_sent += session.bytes_sent
        if text(version) != known.version:
            return None
        of_published = replies[len(replies) - len(ready.calls[-1]) :]
        return row_counts(ready.pushed.batch.num_rows, of_published)


def wanted_schema(target: PushTarget, schema: RowSchema) -> RowSchema:
    """Return the columns of a generation's rows: those of its run, or all that have been pushed so far.

    :param schema: of the rows that are pushed.
    """
    stored = target.schema
    if stored is None or stored == schema:
        return schema
    if target.is_materialized:
        return stored
    # Rows are read by the places of their features, so new ones come last.
    names = {feature.name for feature in stored.features}
    pushed = {feature.name: feature for feature in schema.features}
    return replace(
        schema,
        features=(
            *(pushed.get(feature.name, feature) for feature in stored.features),
            *(feature for feature in schema.features if feature.name not in names),
        ),
    )


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
