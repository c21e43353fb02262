"""One attempt of a run: plan, read Postgres, write Redis, and only then move the watermark."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from online_features.common.concurrency import prefetch
from online_features.common.log_lines import say
from online_features.common.retry_budget import RetryBudget
from online_features.event_times import EventTimes, warn_of_future
from online_features.feature_view import FeatureView
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.layouts.layout_registry import layout_of
from online_features.materialization._options import RunOptions
from online_features.materialization._plan import Plan, PlanInputs, effective_lookback, plan_run
from online_features.materialization._run_record import RunRecord
from online_features.materialization._run_warnings import (
    run_warnings,
    warn_of_changed_definition,
    warn_of_held_watermark,
    warn_of_late_rows,
)
from online_features.materialization._source_check import SourceCheck
from online_features.materialization.progress import RunCounter
from online_features.materialization.result import MaterializationResult
from online_features.online.generations.runs import RunClaims
from online_features.online.generations.view_definition import changes_since, definition_fingerprint
from online_features.producers.transformation import Transformation
from online_features.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from online_features.layouts.encoder import EncodedRows
    from online_features.offline.horizon import Horizon
    from online_features.offline.query_plan import QueryPlan
    from online_features.offline.relations import SourceRelations
    from online_features.offline.snapshot import Snapshot
    from online_features.offline.source_access import SourceAccess
    from online_features.offline.store import OfflineStore
    from online_features.online.generations.view_state import ViewState
    from online_features.online.store import OnlineStore
    from online_features.online.write.online_run import OnlineRun

log = logging.getLogger(__name__)

BATCHES_AHEAD = 2  # between two stages: one is being made while another one is ready


def run_once(
    view: FeatureView,
    offline: OfflineStore,
    online: OnlineStore,
    options: RunOptions,
    *,
    retry_budget: RetryBudget,
    record: RunRecord,
) -> MaterializationResult:
    """Run one attempt, from the plan to the watermark."""
    began = time.monotonic()
    source = offline._source(view)
    transformation = Transformation(view, source.describe())
    schema = transformation.schema
    if options.prune:
        layout_of(view, FIRST_GENERATION).check_prunable(schema.keys)
    with online._run(
        view,
        FIRST_GENERATION,
        schema,
        record.run_id,
        failed=record.failed,
        retry_budget=retry_budget,
        replication=options.replication,
    ) as online_run:
        # Read after the run is marked in Redis: state that is lost from here on makes the commit fail.
        state = online.state(view)
        survey = _survey(view, source, online_run, state, transformation, options=options)
        plan = survey.plan
        query_plan = source.query_plan(transformation.source, plan.window)
        _log_plan(view, plan, query_plan)
        counter = RunCounter(view, query_plan.expected_rows, options.on_progress, began)
        fingerprint = definition_fingerprint(view, schema)
        warn_of_changed_definition(view, schema, state, fingerprint, online)
        held = warn_of_held_watermark(view, plan, survey.horizon)
        record.note(plan, counter, state.watermark, definition=fingerprint, **held)
        with source.snapshot(query_plan) as snapshot:
            online_run.prepare(state, fingerprint, clears=plan.clears)
            _transfer(snapshot, transformation, online_run, counter, now=survey.now, batch_rows=options.batch_rows)
        if options.prune:
            with source.lookup(transformation.source) as existing:
                counter.entities_pruned = online_run.prune(survey.horizon.claim, existing)
        watermark = online_run.commit(
            RunClaims(
                run=record.succeeded(),
                fingerprint_before=fingerprint if state.fingerprint == fingerprint else None,
                covered=plan.covered,
                cursor=plan.cursor,
                source=survey.relations.note(plan.cursor, plan.note) if plan.cursor is not None else None,
                max_event_timestamp=counter.times.newest,
                materialized_at=datetime.now(UTC),
            )
        )
        warn_of_future(view, counter.times)
        result = MaterializationResult(
            **asdict(counter.counts),
            entities_pruned=counter.entities_pruned,
            bytes_sent=online_run.bytes_sent,
            seconds=counter.seconds,
            start=plan.window.start,
            end=plan.end,
            watermark=watermark,
            max_event_timestamp=counter.times.newest,
            run_id=record.run_id,
        )
    counter.log_total()
    for warning in run_warnings(view, counter.counts, kind=plan.kind, had_rows=state.max_event_timestamp is not None):
        say(log.warning, f"Feature view {view.name!r}: {warning}")
    return result


@dataclass(frozen=True, kw_only=True)
class _Survey:
    """The plan of a run, and what it was made from."""

    plan: Plan
    horizon: Horizon
    relations: SourceRelations
    now: datetime


def _survey(
    view: FeatureView,
    source: SourceAccess,
    online_run: OnlineRun,
    state: ViewState,
    transformation: Transformation,
    *,
    options: RunOptions,
) -> _Survey:
    """Look at both stores, plan the run, and log what increments would miss."""
    schema = transformation.source
    now = datetime.now(UTC)
    horizon = source.horizon()
    relations = source.relations(schema)
    lookback = effective_lookback(options.lookback, schema, horizon, relations.late)
    check = SourceCheck(
        view=view, source=source, schema=schema, relations=relations, note=state.source, lookback=lookback, now=now
    )
    start = options.window.start
    begins_history = state.watermark is None and start is not None and not source.has_rows(schema, Window(end=start))
    inputs = PlanInputs(
        view=view, schema=schema, asked=options.window, full=options.full, lookback=lookback, horizon=horizon, now=now,
        cursor=state.cursor, note=state.source, changes=changes_since(state, view, transformation.schema),
        data_loss_reason=online_run.data_loss_reason(state) or check.data_loss_reason(), begins_history=begins_history,
    )  # fmt: skip
    plan = plan_run(inputs)
    if plan.kind == "incremental":
        warn_of_late_rows(view, relations.late)
        check.warn_of_unseen_changes()
    return _Survey(plan=plan, horizon=horizon, relations=relations, now=now)


def _transfer(
    snapshot: Snapshot,
    transformation: Transformation,
    online_run: OnlineRun,
    counter: RunCounter,
    *,
    now: datetime,
    batch_rows: int,
) -> None:
    """Read, transform and encode, and write, in three stages that overlap."""
    event_timestamp = len(transformation.schema.keys)  # its column follows the join keys

    def encode(batch: pa.RecordBatch) -> tuple[EventTimes, EncodedRows]:
        rows = transformation.apply(batch)
        *keys, instants = rows.columns[: event_timestamp + 1]
        return EventTimes.of(keys, instants, now), online_run.encode(rows)

    with (
        closing(prefetch(snapshot.batches(batch_rows), BATCHES_AHEAD, snapshot.cancel)) as batches,
        closing(prefetch(map(encode, batches), BATCHES_AHEAD, snapshot.cancel)) as encoded,
    ):
        for times, rows in encoded:
            counter.add(online_run.write(rows), times)
    counter.reject(snapshot.rejected, snapshot.rejected_sample)


def _log_plan(view: FeatureView, plan: Plan, query_plan: QueryPlan) -> None:
    window = str(plan.window) if plan.kind != "full" else "all of history"
    reads = ", ".join(filter(None, (window, query_plan.in_words)))
    say(log.info, f"Materializing feature view {view.name!r} from {view.source.description}: {plan.kind} run")
    if plan.reason:
        say(log.info, f"Because {plan.reason}")
    say(log.info, f"It reads {reads}")
    say(log.info, f"Postgres expects about {query_plan.expected_rows:,} rows")
