"""The first task of a build in parts: it registers a generation and divides the source."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from online_features import arguments
from online_features.common.log_lines import say
from online_features.common.retry_budget import RETRY_FOR, RetryBudget
from online_features.errors import OptionError
from online_features.feature_view import FeatureView
from online_features.layouts.layout_registry import LAYOUTS
from online_features.materialization._build import Build
from online_features.materialization._claim import Claim
from online_features.materialization._options import RunOptions
from online_features.materialization._preparation import described
from online_features.materialization._survey import Surveyor
from online_features.materialization._transfer import Transfer
from online_features.materialization.materialize import BATCH_ROWS, is_repeated_after
from online_features.materialization.parts._kept_plan import KeptPlan
from online_features.materialization.parts.build_plan import BuildPlan
from online_features.materialization.reporting.progress import RunCounter
from online_features.materialization.reporting.run_record import RunRecord
from online_features.materialization.reporting.run_warnings import warn_of_changed_definition, warn_of_held_watermark
from online_features.online.generations.view_definition import definition_fingerprint
from online_features.online.redis.replication import Replication
from online_features.window import Window

if TYPE_CHECKING:
    from online_features.offline.store import OfflineStore
    from online_features.online.store import OnlineStore

PARTS = 16

log = logging.getLogger(__name__)


def plan_build(
    view: FeatureView,
    offline: OfflineStore,
    online: OnlineStore,
    *,
    parts: int = PARTS,
    prune: bool = False,
    ignore_memory: bool = False,
    retry_for: timedelta = RETRY_FOR,
    origin: Mapping[str, str | int] | None = None,
) -> BuildPlan:
    """Begin a full run that tasks on different machines go on with, each with a part of the source.

    Call :func:`~online_features.materialize_part` for each part of the plan, in any order, on any machine that reaches
    both stores, then :func:`~online_features.finish_build`. The build keeps the view's lease for a day after a part was
    last at work. An unfinished one of the same DAG, or also without a DAG, is given up.

    :param parts: into how many to divide the source; there are fewer where it has fewer entities.
    :param prune: leave out pushed rows with an event timestamp before the beginning of the run, which the source should
        have by now.
    :param ignore_memory: build although Redis may have too little memory.
    :param retry_for: how long to retry in total while a store cannot be reached or breaks off.
    :param origin: what started the run; see :func:`~online_features.materialize`.
    :raises SourceError: when the view does not fit the database.
    :raises OptionError: when the layout of the view has no generations, or an option is out of its range.
    :raises OnlineStoreFullError: when Redis has too little memory.
    :raises BuildInProgressError: when another run is building a generation of the view.
    :raises TransientError: when a store cannot be reached or broke off, for longer than ``retry_for``.
    """
    arguments.check(view=view, offline=offline, online=online, parts=parts)
    if not LAYOUTS[view.layout].has_generations:
        raise OptionError(
            f"feature view {view.name!r}: layout 'feast' has one generation, written in place, so it is not built in "
            "parts -> run it with parallel=, or give the view another layout"
        )
    options = RunOptions(
        window=Window(), full=True, prune=prune, lookback=None, on_progress=None, batch_rows=BATCH_ROWS,
        ignore_memory=ignore_memory, replication=Replication(what=f"feature view {view.name!r}"), origin=origin,
    )  # fmt: skip
    retry_budget = RetryBudget(retry_for)
    return retry_budget.attempt(
        lambda: _plan(view, offline, online, parts, options=options, retry_budget=retry_budget), is_repeated_after
    )


def _plan(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, parts: int, *, options: RunOptions,
    retry_budget: RetryBudget,
) -> BuildPlan:  # fmt: skip
    began = datetime.now(UTC)
    source = offline._source(view)
    _, transformation = described(view, source, prune=options.prune)
    record, counter = RunRecord(options.origin), RunCounter(view, 0, None, time.monotonic())
    with online._run(
        view, transformation.schema, record.run_id,
        failed=record.failed, retry_budget=retry_budget, replication=options.replication,
    ) as online_run:  # fmt: skip
        published = online_run.state(online_run.generations().published)
        surveyor = Surveyor(
            view=view, source=source, transformation=transformation, options=options, online_run=online_run
        )
        survey = surveyor.survey(published, asked=Window(), full=True)
        record.note(survey.plan, counter, published.watermark)
        schema = transformation.schema
        warn_of_changed_definition(view, schema, published, definition_fingerprint(view, schema), online)
        warn_of_held_watermark(view, survey.plan, survey.horizon)
        query_plan = source.query_plan(transformation.source, survey.plan.window)
        division = source.divide(transformation.source, query_plan, parts)
        name, count = f"Feature view {view.name!r}", len(division.parts)
        say(log.info, f"{name} is divided into {count} parts by {division.in_words}")
        if division.unevenness:
            say(log.warning, f"{name}: its parts are uneven, because {division.unevenness}")
        say(log.info, f"Postgres expects about {query_plan.expected_rows:,} rows in all of them")
        if not options.ignore_memory:
            online_run.make_room(published, query_plan.expected_rows)
        transfer = Transfer(
            source=source, transformation=transformation, counter=counter, now=survey.now,
            batch_rows=options.batch_rows,
        )  # fmt: skip
        build = Build(view, online, online_run, surveyor, transfer, options, record)
        with online_run.begin_parts(options.origin, count) as writer:
            kept = KeptPlan(
                parts=division.parts, collation=division.collation, start=build.begin(writer, survey, published),
                claim=Claim.of(survey), servers=online_run.servers, expected_rows=query_plan.expected_rows, began=began,
                prune=options.prune,
            )  # fmt: skip
            writer.part_ledger.keep_plan(kept.to_dict())
        return BuildPlan(view=view, run_id=record.run_id, generation=build.generation, count=count)
