"""One attempt of a run: plan, read Postgres, write Redis, and only then claim."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from online_features.common.log_lines import say
from online_features.common.retry_budget import RetryBudget
from online_features.errors import GenerationError, OptionError
from online_features.event_times import warn_of_future
from online_features.feature_view import FeatureView
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.layouts.layout_registry import LAYOUTS
from online_features.materialization._build import Build
from online_features.materialization._in_place import InPlace
from online_features.materialization._options import RunOptions
from online_features.materialization._preparation import described
from online_features.materialization._survey import Surveyor
from online_features.materialization._transfer import Copy, Transfer
from online_features.materialization.parallel.parallel_copy import ParallelCopy
from online_features.materialization.parallel.part_processes import PartProcesses
from online_features.materialization.planning.plan import Plan
from online_features.materialization.reporting.progress import RunCounter
from online_features.materialization.reporting.result import MaterializationResult
from online_features.materialization.reporting.run_record import RunRecord
from online_features.materialization.reporting.run_warnings import (
    run_warnings,
    warn_of_changed_definition,
    warn_of_held_watermark,
)
from online_features.online.generations.generation_list import GenerationList, GenerationState, Hold
from online_features.online.generations.view_definition import definition_fingerprint
from online_features.window import Window

if TYPE_CHECKING:
    from online_features.offline.query_plan import QueryPlan
    from online_features.offline.store import OfflineStore
    from online_features.online.store import OnlineStore
    from online_features.online.write.online_run import OnlineRun

log = logging.getLogger(__name__)

# In these, a definition has been built, and somebody has decided that readers should see another one.
GIVEN_UP = (GenerationState.ROLLED_BACK, GenerationState.UNPUBLISHED, GenerationState.READY, GenerationState.REFUSED)


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
    with PartProcesses(options.parallel - 1) as processes:
        if options.full:
            processes.start()
        return _run(view, offline, online, options, retry_budget=retry_budget, record=record, processes=processes)


def _run(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, options: RunOptions, *, retry_budget: RetryBudget,
    record: RunRecord, processes: PartProcesses,
) -> MaterializationResult:  # fmt: skip
    """Run one attempt; processes for parts of the source may have been started."""
    began = time.monotonic()
    source = offline._source(view)
    columns, transformation = described(view, source, prune=options.prune)
    schema = transformation.schema
    fingerprint = definition_fingerprint(view, schema)
    with online._run(
        view, schema, record.run_id,
        failed=record.failed, retry_budget=retry_budget, replication=options.replication,
    ) as online_run:  # fmt: skip
        # Read after the run is marked in Redis: state that is lost from here on makes the commit fail.
        if not options.full:
            online_run.wait_for_closing()
        seen = online_run.generations()
        if seen.hold is not None and (not options.full or options.in_place):
            return _skipped(view, online_run, record, seen.hold, began, generation=seen.published)
        has_generations = LAYOUTS[view.layout].has_generations
        state = online_run.state(seen.published if has_generations else FIRST_GENERATION)
        surveyor = Surveyor(
            view=view, source=source, transformation=transformation, options=options, online_run=online_run
        )
        survey = surveyor.survey(state, asked=options.window, full=options.full, needs_full=seen.needs_full)
        plan = survey.plan
        builds = plan.kind == "full" and has_generations and not options.in_place
        if builds and survey.changes and not options.full:
            _check_definition(view, seen, fingerprint)
        if options.in_place:
            _check_unchanged(view, survey.changes)
        query_plan = source.query_plan(transformation.source, plan.window)
        _log_plan(view, plan, query_plan)
        counter = RunCounter(view, query_plan.expected_rows, options.on_progress, began)
        transfer = Transfer(
            source=source, transformation=transformation, counter=counter, now=survey.now,
            batch_rows=options.batch_rows,
        )  # fmt: skip
        copy: Copy = transfer.copy
        if options.parallel > 1 and isinstance(plan.window, Window) and plan.kind == "full":
            copy = ParallelCopy(
                view=view, offline=offline, online=online, described=columns, window=plan.window,
                transfer=transfer, retry_budget=retry_budget, processes=processes,
            ).copy  # fmt: skip
        elif options.parallel > 1:
            log.info("One process reads it: parallel= is for full runs")
        warn_of_changed_definition(view, schema, state, fingerprint, online)
        held = warn_of_held_watermark(view, plan, survey.horizon)
        record.note(plan, counter, state.watermark, definition=fingerprint, **held)
        if builds:
            build = Build(view, online, online_run, surveyor, transfer, options, record)
            watermark = build.make(survey, query_plan, copy, published=state)
            generation, is_published = build.generation, build.is_published
        else:
            in_place = InPlace(view, online_run, transfer, copy, options, record)
            watermark = in_place.make(survey, query_plan, state, pointer=seen.pointer_text if has_generations else None)
            generation, is_published = state.generation, True
        online_run.clean_up(seen, options.keep_generations)
        warn_of_future(view, counter.times)
        result = MaterializationResult.of(
            counter, plan, bytes_sent=online_run.bytes_sent + counter.bytes_sent, watermark=watermark,
            run_id=record.run_id, generation=generation, is_published=is_published, checks=record.checks,
        )  # fmt: skip
    counter.log_total()
    for warning in run_warnings(view, counter.counts, kind=plan.kind, had_rows=state.max_event_timestamp is not None):
        say(log.warning, f"Feature view {view.name!r}: {warning}")
    return result


def _skipped(
    view: FeatureView, online_run: OnlineRun, record: RunRecord, hold: Hold, began: float, *, generation: str
) -> MaterializationResult:
    """Leave a view that was rolled back as it is, until a person releases it."""
    since = hold.since.isoformat(timespec="seconds")
    reason = f"it was rolled back at {since} and is held -> publish a build, or release the view"
    say(log.warning, f"Feature view {view.name!r}: this run is skipped: {reason}")
    online_run.end({**record.skipped(), "generation": generation})
    return MaterializationResult.of_skipped(
        seconds=time.monotonic() - began, run_id=record.run_id, generation=generation, reason=reason
    )


def _check_definition(view: FeatureView, seen: GenerationList, fingerprint: str) -> None:
    """Refuse to build, unasked, for a definition that the view has had before.

    Otherwise two definitions in use would be built by turns.

    :raises GenerationError: naming the generation that was built for it.
    """
    for known in reversed(seen.generations):
        if known.fingerprint == fingerprint and known.state in GIVEN_UP and known.id != seen.published:
            raise GenerationError(
                f"feature view {view.name!r}: its definition is that of generation {known.id}, which is {known.state}, "
                "not that of the published one -> give all DAGs the same definition, or run in full (window='full', "
                "in Python full=True)"
            )


def _check_unchanged(view: FeatureView, changes: Sequence[str]) -> None:
    """Refuse to write another definition into the published generation.

    :raises OptionError: naming what has changed.
    """
    if changed := [part for part in changes if part != "ttl"]:
        raise OptionError(
            f"feature view {view.name!r}: in_place=True cannot change {' and '.join(changed)} -> leave it out, so that "
            "a new generation is built"
        )


def _log_plan(view: FeatureView, plan: Plan, query_plan: QueryPlan) -> None:
    window = str(plan.window) if plan.kind != "full" else "all of history"
    reads = ", ".join(filter(None, (window, query_plan.in_words)))
    say(log.info, f"Materializing feature view {view.name!r} from {view.source.description}: {plan.kind} run")
    if plan.reason:
        say(log.info, f"Because {plan.reason}")
    say(log.info, f"It reads {reads}")
    say(log.info, f"Postgres expects about {query_plan.expected_rows:,} rows")
