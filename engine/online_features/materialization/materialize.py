"""The engine: plan a run, read Postgres, write Redis, and only then move the watermark."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from online_features.common import arguments
from online_features.common.concurrency import prefetch
from online_features.common.instants import to_text
from online_features.common.log_lines import say
from online_features.common.retry_budget import RETRY_FOR, RetryBudget
from online_features.counters import RowCounts
from online_features.errors import (
    OfflineStoreUnavailableError,
    OnlineAccessError,
    OnlineDataError,
    OnlineDataLostError,
    OnlineFeaturesError,
    OnlineStoreUnavailableError,
    QueryCanceledError,
    WindowError,
)
from online_features.event_times import EventTimes, warn_of_future
from online_features.feature_view import FeatureView
from online_features.materialization.definition_changes import describe_alternation, describe_changes
from online_features.materialization.run_warnings import run_warnings
from online_features.materialization.source_check import SourceCheck, warn_of_late_rows
from online_features.online.redis.redis_failures import DRIVER_ERRORS, named, translation
from online_features.online.redis.replication import REPLICA_TIMEOUT, Replication
from online_features.online.state.view_state import DAMAGE, ViewState, changes_since, definition, definition_fingerprint
from online_features.online.write.erasure import check_prunable
from online_features.producers.transformation import Transformation
from online_features.rejection import log_rejected
from online_features.schema import RowSchema
from online_features.source_note import SourceNote
from online_features.window import FUTURE_TOLERANCE, LAST_INSTANT, Arrivals, Window, default_lookback

if TYPE_CHECKING:
    import pyarrow as pa

    from online_features.offline.query_plan import QueryPlan
    from online_features.offline.store import Horizon, OfflineStore, Snapshot
    from online_features.online.store import OnlineStore
    from online_features.online.write.online_run import EncodedRows, OnlineRun

log = logging.getLogger(__name__)

BATCH_ROWS = 50_000  # of ordinary width about 4 MiB: encoded by column at full speed, and memory stays flat
BATCHES_AHEAD = 2  # between stages: one in the making while one waits

# After these, a run is repeated from its beginning: its snapshot is gone, or rows that it had written are.
BEGUN_ANEW = (OfflineStoreUnavailableError, OnlineStoreUnavailableError, OnlineDataLostError)

# How old a transaction must be for a run to tell that it holds back the watermark: most end within a second.
TOLD_TRANSACTION_AGE = timedelta(seconds=10)

ERROR_CHARACTERS = 1000  # of an error's message in the run history
LOGIN_IN_URL = re.compile(r"://[^@/\s]*@")

PROGRESS_SECONDS = 10.0  # between two lines of progress in the log: a human pace


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come.

    :param rows: rows read and written so far.
    :param expected_rows: the planner's estimate of all of them.
    :param seconds: since the run began.
    :param seconds_left: estimated by the pace since the first rows came; ``None`` when nothing can be said.
    """

    rows: int
    expected_rows: int
    seconds: float
    seconds_left: float | None = None

    @property
    def rows_per_second(self) -> float:
        """Mean rate since the run began."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def share(self) -> float:
        """Part of the expected rows, from 0 to 1."""
        return min(1.0, self.rows / self.expected_rows) if self.expected_rows else 1.0

    def in_words(self, now: datetime) -> str:
        """The progress as a line for people.

        :param now: an aware datetime; the estimated end is told in its time zone.
        """
        rows, rate = f"{self.rows:,}", f"{self.rows_per_second:,.0f} rows/s"
        if self.seconds_left is None:
            return f"{rows} rows, {rate}"
        end = now + timedelta(seconds=self.seconds_left)
        return (
            f"{rows} of about {self.expected_rows:,} rows ({self.share:.0%}), {rate}, done at about {end:%H:%M:%S %Z}"
        )


@dataclass(frozen=True, kw_only=True)
class MaterializationResult(RowCounts):
    """What a run did.

    :param entities_pruned: online entities removed because the source no longer had them.
    :param bytes_sent: of commands to Redis.
    :param seconds: wall time.
    :param start: start of the window; ``None`` when open.
    :param end: end of the window; of a full or incremental run, the instant up to which it is complete.
    :param watermark: of the view after the run; ``None`` when no run has set one yet.
    :param max_event_timestamp: the newest event timestamp among the rows read that is not in the future.
    :param run_id: of this run, also in the view's run history.
    """

    entities_pruned: int
    bytes_sent: int
    seconds: float
    start: datetime | None
    end: datetime | None
    watermark: datetime | None
    max_event_timestamp: datetime | None
    run_id: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run reads, and what it may claim afterwards.

    :param kind: ``full`` reads all of history, ``incremental`` what came since the cursor, ``window`` what was asked.
    :param reason: why this kind, in words, where it is not what was asked for.
    :param covered: the part of history that is online after the run, or ``None`` when nothing can be claimed.
    :param cursor: where the next incremental run begins; ``None`` leaves that as it is.
    :param clears: whether what is online goes before the run writes.
    :param noted: what an earlier run noted of the source and an increment goes on from.
    """

    kind: Literal["full", "incremental", "window"]
    window: Window | Arrivals
    covered: tuple[datetime | None, datetime] | None
    cursor: datetime | None = None
    reason: str = ""
    clears: bool = False
    noted: SourceNote | None = None

    @property
    def end(self) -> datetime | None:
        """Where the window ends, or how far an open one claims to be complete."""
        if isinstance(self.window, Window) and self.kind == "window":
            return self.window.end
        return self.covered[1] if self.covered is not None else None

    def from_the_beginning(self) -> Plan:
        """The same plan, with nothing known to lie before what it covers."""
        return self if self.covered is None else replace(self, covered=(None, self.covered[1]))


def materialize(
    view: FeatureView,
    offline: OfflineStore,
    online: OnlineStore,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    full: bool = False,
    prune: bool = False,
    lookback: timedelta | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    batch_rows: int = BATCH_ROWS,
    retry_for: timedelta = RETRY_FOR,
    wait_for_replicas: int = 0,
    replica_timeout: timedelta = REPLICA_TIMEOUT,
    origin: Mapping[str, str | int] | None = None,
) -> MaterializationResult:
    """Copy the newest row of each entity from Postgres to Redis.

    Without ``start``, ``end`` and ``full`` the run is incremental: it reads what came since the last one, or all of
    history where there was none. Running it again, or beside another run, is safe: no row replaces a newer one.

    :param start: read rows with an event timestamp from here on (aware).
    :param end: read rows with an event timestamp before this (aware).
    :param full: read all of history.
    :param prune: with ``full``, also remove online entities that the source no longer has; those with an event
        timestamp after the beginning of the run stay, because a push may be ahead of the source.
    :param lookback: how far an incremental run reads back over the last one; by default nothing where the source
        declares a created timestamp and shows its transactions in flight, else one hour.
    :param on_progress: called after every batch.
    :param batch_rows: the largest number of rows in memory per batch.
    :param retry_for: how long to try again, all in all, when a store is away or breaks off: Redis goes on from the
        last call that it has acknowledged, Postgres and a Redis that has lost data begin anew. Zero gives up at once.
    :param wait_for_replicas: how many replicas of Redis must have the rows before the watermark moves.
    :param replica_timeout: how long to wait for them.
    :param origin: what asked for the run, told in the run history: of an Airflow task ``dag_id``, ``run_id``,
        ``task_id`` and ``try_number``.
    :raises WindowError: when the window is naive, empty or contradicts ``full``.
    :raises OptionError: when an option is out of its range.
    :raises SourceError: when the view does not fit the database.
    :raises TransformError: when the view's transform fails, or what it returns does not fit.
    :raises NotReplicatedError: when too few replicas have the rows in time.
    :raises TransientError: when a store cannot be reached or broke off, for longer than ``retry_for``.
    :raises TerminalError: for what else needs a change by hand.
    """
    arguments.check(view=view, offline=offline, online=online, full=full, prune=prune, batch_rows=batch_rows,
                    wait_for_replicas=wait_for_replicas, replica_timeout=replica_timeout)  # fmt: skip
    arguments.check_given(lookback=lookback, on_progress=on_progress, origin=origin)
    asked = _asked(start, end, full, prune, lookback)
    replication = Replication(what=f"feature view {view.name!r}", replicas=wait_for_replicas, timeout=replica_timeout)
    retry_budget = RetryBudget(retry_for)
    history = _History(origin)
    run = partial(
        _run, view, offline, online, asked, full=full, prune=prune, lookback=lookback, on_progress=on_progress,
        batch_rows=batch_rows, replication=replication, retry_budget=retry_budget, history=history,
    )  # fmt: skip
    try:
        return retry_budget.attempt(run, _is_begun_anew)
    except BaseException as error:
        if not history.is_recorded and not isinstance(error, OnlineStoreUnavailableError):
            online.record_failed_run(view, history.failed(error))
        raise


def _is_begun_anew(failure: BaseException) -> bool:
    # What took too long would take as long again, and what somebody cancelled is not wanted.
    return isinstance(failure, BEGUN_ANEW) and not isinstance(failure, QueryCanceledError)


def _run(
    view: FeatureView,
    offline: OfflineStore,
    online: OnlineStore,
    asked: Window,
    *,
    full: bool,
    prune: bool,
    lookback: timedelta | None,
    on_progress: Callable[[Progress], None] | None,
    batch_rows: int,
    replication: Replication,
    retry_budget: RetryBudget,
    history: _History,
) -> MaterializationResult:
    """One run, from the plan to the watermark."""
    began = time.monotonic()
    run_id = history.begin()
    transformation = Transformation(view, offline.describe(view))
    source, schema = transformation.source, transformation.schema
    if prune:
        check_prunable(view, schema.keys)
    with online.run(view, schema, run_id, retry_budget, replication) as run:
        # Read when the run is marked in Redis: state that is lost from here on makes the commit fail.
        state = online.state(view)
        now = datetime.now(UTC)
        horizon = offline.horizon(view)
        relations = offline.relations(view, source)
        horizon = replace(horizon, is_blind=horizon.is_blind or bool(relations.late))
        check = SourceCheck(
            view=view, offline=offline, schema=source, relations=relations, note=state.source, now=now,
            lookback=default_lookback(lookback, is_blind=source.created_timestamp is None or horizon.is_blind),
        )  # fmt: skip
        data_loss_reason = run.data_loss_reason(state) or check.data_loss_reason()
        plan = plan_run(
            view, schema, state, asked, full=full, lookback=lookback, horizon=horizon, now=now,
            data_loss_reason=data_loss_reason,
        )  # fmt: skip
        if plan.covered and plan.covered[0] and not state.watermark:
            # A first window claims everything up to its end only if there is nothing before it.
            plan = plan if offline.has_rows_before(view, source, plan.covered[0]) else plan.from_the_beginning()
        if plan.kind == "incremental":
            warn_of_late_rows(view, relations.late)
            check.warn_of_unseen_changes()
        reading = offline.reading(view, source, plan.window)
        say(log.info, f"Materializing feature view {view.name!r} from {view.source.description}: {plan.kind} run")
        if plan.reason:
            say(log.info, f"Because {plan.reason}")
        say(log.info, f"It reads {_in_words(plan, reading)}")
        say(log.info, f"Postgres expects about {reading.expected_rows:,} rows")
        tally = _Tally(view, reading.expected_rows, on_progress, began, now)
        fingerprint = definition_fingerprint(view, schema)
        _warn_of_changes(view, schema, state, fingerprint, partial(online.runs, view))
        history.note(plan, tally, state, definition=fingerprint, **_held_back(view, plan, horizon))
        try:
            with offline.snapshot(view, reading) as snapshot:
                run.prepare(state, clears=plan.clears)
                _transfer(snapshot, transformation, run, tally, batch_rows)
            if prune:
                with offline.lookup(view, source) as existing:
                    tally.entities_pruned = run.prune(horizon.claim, existing)
            watermark = run.commit(
                run=history.succeeded(),
                fingerprint_before=None if plan.clears else state.fingerprint,
                covered=plan.covered,
                cursor=plan.cursor,
                source=relations.note(plan.cursor, plan.noted) if plan.cursor is not None else None,
                max_event_timestamp=tally.times.newest,
                materialized_at=datetime.now(UTC),
            )
        except BaseException as error:
            run.abandon(history.failed(translation(error, named(view)) if isinstance(error, DRIVER_ERRORS) else error))
            history.is_recorded = True
            raise
        warn_of_future(view, tally.times)
        result = MaterializationResult(
            **asdict(tally.counts),
            entities_pruned=tally.entities_pruned,
            bytes_sent=run.bytes_sent,
            seconds=tally.seconds,
            start=plan.window.start,
            end=plan.end,
            watermark=watermark,
            max_event_timestamp=tally.times.newest,
            run_id=run_id,
        )
    for line in tally.in_words():
        log.info("Materialized feature view %r: %s", view.name, line)
    for warning in run_warnings(view, tally.counts, kind=plan.kind, had_rows=state.max_event_timestamp is not None):
        say(log.warning, f"Feature view {view.name!r}: {warning}")
    return result


def plan_run(
    view: FeatureView,
    schema: RowSchema,
    state: ViewState,
    asked: Window,
    *,
    full: bool,
    lookback: timedelta | None,
    horizon: Horizon,
    now: datetime,
    data_loss_reason: str = "",
) -> Plan:
    """Decide what a run reads and what it may claim; no I/O.

    :param state: what Redis records of the view.
    :param asked: the window that the caller named; open for incremental and full runs.
    :param horizon: how far the source can be trusted to show everything.
    :param now: by our clock; neither a watermark nor a cursor is ever after it.
    :param doubt: why rows that were online may no longer be.
    """
    limit = min(horizon.claim, now)
    cursor = min(horizon.cursor, now) if horizon.cursor is not None else None
    latest = now + FUTURE_TOLERANCE if view.source.future_rows == "reject" else LAST_INSTANT
    everything = Plan(kind="full", window=Window(latest=latest), covered=(None, limit), cursor=cursor)
    if changes := changes_since(state, view, schema):
        # Keys of other entities, and values of another layout, would not be overwritten but left behind.
        clears = not {"entities", "layout"}.isdisjoint(changes)
        return replace(everything, reason=f"the view has changed in {' and '.join(changes)}", clears=clears)
    if full:
        return everything
    if data_loss_reason:
        return replace(everything, reason=data_loss_reason)
    if not asked.is_open:
        covered_end = min(asked.end, limit) if asked.end else limit
        begins_in_future = asked.start is not None and asked.start >= covered_end
        window = replace(asked, latest=latest)
        return Plan(kind="window", window=window, covered=None if begins_in_future else (asked.start, covered_end))
    if state.cursor is None:
        return replace(everything, reason="no earlier run has covered all of history")
    lookback = default_lookback(lookback, is_blind=schema.created_timestamp is None or horizon.is_blind)
    # Without an end: rows beyond the horizon are as welcome as any, they are only not claimed.
    arrivals = replace(Arrivals.since(state.cursor, schema, lookback=lookback, now=now), latest=latest)
    return Plan(kind="incremental", window=arrivals, covered=(None, limit), cursor=cursor, noted=state.source)


def _asked(
    start: datetime | None, end: datetime | None, full: bool, prune: bool, lookback: timedelta | None
) -> Window:  # fmt: skip
    asked = Window(start=start, end=end)
    if prune and not full:
        raise WindowError("prune=True compares with all of history: give full=True with it")
    if full and not asked.is_open:
        raise WindowError("full=True reads all of history: give it, or start= and end=, not both")
    if lookback is not None and lookback < timedelta(0):
        raise WindowError(f"lookback={lookback!r} must not be negative")
    if lookback is not None and (full or not asked.is_open):
        raise WindowError("lookback= widens an incremental run: leave it out with full=True, start= or end=")
    return asked


def _transfer(
    snapshot: Snapshot, transformation: Transformation, run: OnlineRun, tally: _Tally, batch_rows: int
) -> None:  # fmt: skip
    """Read, transform and encode, and write, each ahead of the next."""
    event_timestamp = len(transformation.schema.keys)  # stands behind the join keys

    def encode(batch: pa.RecordBatch) -> tuple[EventTimes, EncodedRows]:
        made = transformation.apply(batch)
        *keys, instants = made.columns[: event_timestamp + 1]
        return EventTimes.of(keys, instants, tally.now), run.encode(made)

    with (
        closing(prefetch(snapshot.batches(batch_rows), BATCHES_AHEAD, snapshot.cancel)) as batches,
        closing(prefetch(map(encode, batches), BATCHES_AHEAD, snapshot.cancel)) as encoded,
    ):
        for times, rows in encoded:
            tally.add(run.write(rows), times)
    tally.reject(snapshot.rejected, snapshot.rejected_sample)


class _Tally:
    """Counts a run's rows and reports how far it has come."""

    def __init__(
        self,
        view: FeatureView,
        expected_rows: int,
        on_progress: Callable[[Progress], None] | None,
        began: float,
        now: datetime,
    ) -> None:
        self.counts = RowCounts()
        self.times = EventTimes()
        self.now = now
        self.entities_pruned = 0
        self._view = view
        self._expected_rows = expected_rows
        self._on_progress = on_progress
        self._began = began
        self._logged = began
        self._first: tuple[int, float] | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def reject(self, rows: int, sample: list[tuple[str | None, ...]]) -> None:
        self.counts += RowCounts(rows_read=rows, rows_rejected=rows)
        log_rejected(self._view, rows, sample)

    def add(self, counts: RowCounts, times: EventTimes) -> None:
        self.counts += replace(counts, rows_future=times.future_rows)
        self.times += times
        rows = self.counts.outcomes - self.counts.rows_rejected
        progress = Progress(
            rows=rows,
            expected_rows=self._expected_rows,
            seconds=self.seconds,
            seconds_left=self._seconds_left(rows),
        )
        if self._on_progress is not None:
            self._on_progress(progress)
        if time.monotonic() - self._logged >= PROGRESS_SECONDS:
            self._logged = time.monotonic()
            say(log.info, f"Feature view {self._view.name!r}: {progress.in_words(datetime.now(UTC))}")

    def _seconds_left(self, rows: int) -> float | None:
        first_rows, first_seconds = self._first = self._first or (rows, self.seconds)
        if not first_rows < rows <= self._expected_rows:
            return None
        return (self._expected_rows - rows) * (self.seconds - first_seconds) / (rows - first_rows)

    def in_words(self) -> tuple[str, str]:
        counts, seconds = self.counts, self.seconds
        return (
            f"{counts.rows_read} rows read in {seconds:.1f} s ({counts.rows_read / seconds:.0f} rows/s)",
            f"{counts.rows_written} written, {counts.rows_stale} stale, {counts.rows_expired} expired, "
            f"{counts.rows_deleted} deleted, {counts.rows_rejected} rejected"
            + (f", {self.entities_pruned} entities pruned" if self.entities_pruned else ""),
        )


def _in_words(plan: Plan, reading: QueryPlan) -> str:
    what = str(plan.window) if plan.kind != "full" else "all of history"
    return ", ".join(filter(None, (what, reading.in_words)))


def _warn_of_changes(
    view: FeatureView,
    schema: RowSchema,
    state: ViewState,
    fingerprint: str,
    runs: Callable[[], Iterable[Mapping[str, Any]]],
) -> None:
    """Tell how the definition differs from the one whose rows are online, and when two take turns."""
    if state.definition is None or state.fingerprint == fingerprint:
        return
    now = definition(view, schema)
    # Runs need no right to read the history, and go on whatever Redis holds in place of definition and history.
    with suppress(OnlineAccessError, OnlineDataError, *DAMAGE):
        for change in describe_changes(state.definition, now):
            say(log.warning, f"Feature view {view.name!r} has changed: {change}")
        if alternation := describe_alternation(state.definition, now, fingerprint, runs()):
            say(log.warning, f"Feature view {view.name!r}: {alternation}")


def _held_back(view: FeatureView, plan: Plan, horizon: Horizon) -> dict[str, str]:
    """Warn of an old transaction that keeps the run from claiming more, and return what the record tells of it."""
    oldest = horizon.oldest
    if oldest is None or plan.covered is None or plan.covered[1] != oldest.since or oldest.age < TOLD_TRANSACTION_AGE:
        return {}
    since = oldest.since.isoformat(timespec="seconds")
    log.warning("Feature view %r: a transaction, open for %.0f s, holds back the watermark at %s",
                view.name, oldest.age.total_seconds(), since)  # fmt: skip
    say(log.warning, f"It is {oldest} -> end it, or wait until it ends")
    return {"held_since": to_text(oldest.since), "held_by": str(oldest)}


class _History:
    """Make the records of a call's attempts for the run history.

    :ivar is_recorded: whether the history has the attempt already.
    """

    def __init__(self, origin: Mapping[str, str | int] | None) -> None:
        self._origin = dict(origin or {})
        self.begin()

    def begin(self) -> str:
        """Begin an attempt and return its run id."""
        self.is_recorded = False
        self._run_id = uuid.uuid4().hex
        self._began = datetime.now(UTC)
        self._watermark: datetime | None = None
        self._noted: dict[str, Any] = {"kind": None, "start": None, "end": None}
        self._tally: _Tally | None = None
        return self._run_id

    def note(self, plan: Plan, tally: _Tally, state: ViewState, **circumstances: str) -> None:
        """Note what the attempt is about to do."""
        start, end = (to_text(bound) if bound else None for bound in (plan.window.start, plan.end))
        self._noted = {"kind": plan.kind, "start": start, "end": end, **circumstances}
        self._tally, self._watermark = tally, state.watermark

    def succeeded(self) -> dict[str, Any]:
        """The record, to which the watermark is added where it is moved."""
        return self._record("success")

    def failed(self, error: BaseException) -> dict[str, Any]:
        """The record of an attempt that an error has ended."""
        watermark = to_text(self._watermark) if self._watermark else None
        return {**self._record(type(error).__name__), "error": _error_text(error), "watermark": watermark}

    def _record(self, outcome: str) -> dict[str, Any]:
        ended = datetime.now(UTC)
        counts = self._tally.counts if self._tally else RowCounts()
        return {
            "began": to_text(self._began),
            "ended": to_text(ended),
            "run_id": self._run_id,
            "outcome": outcome,
            **self._noted,
            "seconds": round((ended - self._began).total_seconds(), 3),
            **asdict(counts),
            "entities_pruned": self._tally.entities_pruned if self._tally else 0,
            "origin": self._origin,
        }


def _error_text(error: BaseException) -> str:
    """Return the message of our own error; of any other only its name, because its message may hold a secret."""
    if not isinstance(error, OnlineFeaturesError):
        return type(error).__name__
    return LOGIN_IN_URL.sub("://***@", str(error))[:ERROR_CHARACTERS]
