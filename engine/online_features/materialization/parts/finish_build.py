"""The last task of a build in parts: it judges the whole, and publishes it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from online_features import arguments
from online_features.common.log_lines import say
from online_features.common.retry_budget import RETRY_FOR, RetryBudget
from online_features.errors import PartsMissingError, PublishError
from online_features.event_times import warn_of_future
from online_features.feature_view import FeatureView
from online_features.materialization._build import Build
from online_features.materialization._claim import Claim
from online_features.materialization._options import RunOptions
from online_features.materialization._preparation import described
from online_features.materialization._survey import Surveyor
from online_features.materialization._transfer import Transfer
from online_features.materialization.materialize import BATCH_ROWS, is_repeated_after
from online_features.materialization.parts._build_state import check_definition, kept_plan, listed, only_planning_heals
from online_features.materialization.parts._kept_plan import KeptPlan, PartReport
from online_features.materialization.parts.build_plan import BuildPlan
from online_features.materialization.planning.plan import Plan
from online_features.materialization.reporting.progress import RunCounter
from online_features.materialization.reporting.result import MaterializationResult
from online_features.materialization.reporting.run_record import RunRecord
from online_features.materialization.reporting.run_warnings import run_warnings
from online_features.online.generations.generation_list import COMPLETE, Generation, GenerationState
from online_features.online.generations.removal import KEEP_GENERATIONS
from online_features.online.generations.view_state import named
from online_features.online.redis.replication import REPLICA_TIMEOUT, Replication
from online_features.statistics.measurement import Measurement
from online_features.statistics.stored_measurement import merge
from online_features.window import Window

if TYPE_CHECKING:
    from online_features.offline.store import OfflineStore
    from online_features.online.store import OnlineStore
    from online_features.schema import RowSchema
    from online_features.statistics.view_statistics import ViewStatistics

NAMED_PARTS = 10  # in a message

log = logging.getLogger(__name__)


def finish_build(
    plan: BuildPlan,
    offline: OfflineStore,
    online: OnlineStore,
    *,
    publish: bool = True,
    allow_empty: bool = False,
    ignore_checks: bool = False,
    keep_generations: int = KEEP_GENERATIONS,
    batch_rows: int = BATCH_ROWS,
    retry_for: timedelta = RETRY_FOR,
    wait_for_replicas: int = 0,
    replica_timeout: timedelta = REPLICA_TIMEOUT,
    origin: Mapping[str, str | int] | None = None,
) -> MaterializationResult:
    """Judge a build of which all parts are written, catch up with the source, and publish it.

    Calling it again is safe: if the build is published already, nothing is done.

    :param plan: that :func:`~online_features.plan_build` has returned.
    :param publish: let readers see the generation; otherwise it is ready for
        :meth:`~online_features.OnlineStore.publish`.
    :param allow_empty: let a generation without rows replace one with rows.
    :param ignore_checks: publish although rows have failed checks of the view.
    :param keep_generations: how many generations to keep to roll back to.
    :param batch_rows: the largest number of rows in memory per batch.
    :param retry_for: how long to retry in total while a store cannot be reached or breaks off.
    :param wait_for_replicas: how many replicas of Redis must have the rows before the watermark counts.
    :param replica_timeout: how long to wait for them.
    :param origin: what started the run; see :func:`~online_features.materialize`.
    :raises PartsMissingError: naming the parts that are not written.
    :raises ChecksFailedError: when rows have failed checks of the view; the build stays, and can be read by its name.
    :raises GenerationError: when the build was given up, the view has changed since it was planned, or Redis has lost
        data since then.
    :raises PublishError: when it may not be published otherwise, or the source was replaced as a whole meanwhile.
    :raises BuildInProgressError: when another run is building a generation of the view by now.
    :raises TransientError: when a store cannot be reached or broke off, for longer than ``retry_for``.
    """
    arguments.check(
        plan=plan, offline=offline, online=online, wait_for_replicas=wait_for_replicas, replica_timeout=replica_timeout
    )
    view = plan.view
    options = RunOptions(
        window=Window(), full=True, prune=False, lookback=None, on_progress=None, batch_rows=batch_rows,
        publish=publish, allow_empty=allow_empty, ignore_checks=ignore_checks, keep_generations=keep_generations,
        replication=Replication(
            what=f"feature view {view.name!r}", replicas=wait_for_replicas, timeout=replica_timeout
        ),
        origin=origin,
    )  # fmt: skip
    retry_budget = RetryBudget(retry_for)
    return retry_budget.attempt(lambda: _finish(plan, offline, online, options, retry_budget), is_repeated_after)


def _finish(
    plan: BuildPlan, offline: OfflineStore, online: OnlineStore, options: RunOptions, retry_budget: RetryBudget
) -> MaterializationResult:
    view, known = plan.view, listed(plan, online)
    kept = kept_plan(plan, online)
    options = replace(options, prune=kept.prune)
    source = offline._source(view)
    _, transformation = described(view, source, prune=kept.prune)
    check_definition(plan, known, transformation.schema)
    reports = _reports(plan, online)
    claim = Claim.earliest([kept.claim, *(report.claim for report in reports)])
    counter = _counter(view, kept, reports)
    run_plan = Plan(kind="full", window=Window(), covered=(None, claim.until), cursor=claim.cursor)
    record = RunRecord(options.origin, run_id=plan.run_id, began=kept.began)
    slowest = max(range(plan.count), key=lambda number: reports[number].seconds)
    record.note(
        run_plan, counter, None,
        definition=str(known.fingerprint), parts=plan.count, slowest_part=slowest,
        slowest_part_seconds=round(reports[slowest].seconds, 3),
    )  # fmt: skip
    if known.state not in (GenerationState.BUILDING, *COMPLETE):
        return _finished_before(plan, kept, known, counter, run_plan)
    if known.state == GenerationState.REFUSED and not options.ignore_checks:
        raise PublishError(
            f"feature view {view.name!r}: generation {known.id} has failed checks ({known.failure}), so it is not "
            "published -> correct the source and plan again, or give ignore_checks=True"
        )
    # Before the run goes on: an error here can be mended by copying a part again.
    statistics = _statistics(plan, online, transformation.schema) if known.state == GenerationState.BUILDING else None
    with (
        only_planning_heals(plan),
        online._run(
            view, transformation.schema, plan.run_id,
            failed=record.failed, retry_budget=retry_budget, replication=options.replication, begun_on=kept.servers,
        ) as online_run,
    ):  # fmt: skip
        surveyor = Surveyor(
            view=view, source=source, transformation=transformation, options=options, online_run=online_run
        )
        transfer = Transfer(
            source=source, transformation=transformation, counter=counter, now=datetime.now(UTC),
            batch_rows=options.batch_rows,
        )  # fmt: skip
        build = Build(view, online, online_run, surveyor, transfer, options, record, generation=known.id)
        with online_run.end_parts(known.id) as writer:
            if statistics is not None:
                sizes = [report.row_bytes for report in reports if report.row_bytes is not None]
                build.complete(
                    writer, kept.start, claim, statistics,
                    row_bytes=sum(sizes) // len(sizes) if sizes else None,
                )  # fmt: skip
                writer.part_ledger.drop_statistics(plan.count)
            if claim.cursor is not None:
                try:
                    build.catch_up(writer)  # parts that were read early lack what has come since
                except PublishError:
                    online_run.give_up(known.id)  # parts of it have rows from before the source was replaced
                    raise
            if options.publish:
                build.publish(writer, kept.start)
            watermark = build.end(kept.start)
        online_run.clean_up(online_run.generations(), options.keep_generations)
        result = MaterializationResult.of(
            counter, run_plan, bytes_sent=online_run.bytes_sent + counter.bytes_sent, watermark=watermark,
            run_id=plan.run_id, generation=known.id, is_published=build.is_published, checks=record.checks,
        )  # fmt: skip
    warn_of_future(view, counter.times)
    counter.log_total(sum(report.seconds for report in reports))
    for warning in run_warnings(view, counter.counts, kind="full", had_rows=kept.start.base_newest is not None):
        say(log.warning, f"Feature view {view.name!r}: {warning}")
    say(log.info, f"Of {plan.count} parts, part {slowest} took longest: {reports[slowest].seconds:.0f} s")
    return result


def _reports(plan: BuildPlan, online: OnlineStore) -> list[PartReport]:
    """Read what was reported of each part.

    :raises PartsMissingError: naming those of which nothing was.
    """
    with online._part_ledger(plan.view, plan.generation) as ledger:
        stored = ledger.reports(plan.count)
    missing = [str(number) for number, report in enumerate(stored) if report is None]
    if missing:
        more = f" and {len(missing) - NAMED_PARTS} more" if len(missing) > NAMED_PARTS else ""
        raise PartsMissingError(
            f"feature view {plan.view.name!r}: of the {plan.count} parts of generation {plan.generation}, these are "
            f"not written: {', '.join(missing[:NAMED_PARTS])}{more} -> run them, then this again"
        )
    with named(ledger.key):
        return [PartReport.from_dict(report) for report in stored if report is not None]


def _counter(view: FeatureView, kept: KeptPlan, reports: Sequence[PartReport]) -> RunCounter:
    """Return a counter with the rows of all parts."""
    began = time.monotonic() - (datetime.now(UTC) - kept.began).total_seconds()
    counter = RunCounter(view, kept.expected_rows, None, began)
    for report in reports:
        counter.counts += report.counts
        counter.times += report.times
        counter.add_process(report.stages, report.bytes_sent)
    return counter


def _statistics(plan: BuildPlan, online: OnlineStore, schema: RowSchema) -> ViewStatistics:
    """Merge what the parts have measured."""
    whole = Measurement(schema)
    with online._part_ledger(plan.view, plan.generation) as ledger:
        for number in range(plan.count):
            merge(whole, ledger.statistics(number) or "", schema, ledger.key)
    return whole.statistics()


def _finished_before(
    plan: BuildPlan, kept: KeptPlan, known: Generation, counter: RunCounter, run_plan: Plan
) -> MaterializationResult:
    """Return the result of a build that was finished by an earlier call."""
    say(log.info, f"Feature view {plan.view.name!r}: generation {known.id} is {known.state} already")
    result = MaterializationResult.of(
        counter, run_plan, bytes_sent=counter.bytes_sent, watermark=known.watermark, run_id=plan.run_id,
        generation=known.id, is_published=known.state == GenerationState.PUBLISHED, checks=(),
    )  # fmt: skip
    return replace(result, seconds=((known.ready or kept.began) - kept.began).total_seconds())
