"""A task of a build in parts that copies one part."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from online_features import arguments
from online_features.common.log_lines import say
from online_features.common.retry_budget import RETRY_FOR, RetryBudget
from online_features.errors import SourceError
from online_features.event_times import warn_of_future
from online_features.feature_view import FeatureView
from online_features.materialization._claim import Claim
from online_features.materialization._preparation import described
from online_features.materialization._survey import survey_of_all
from online_features.materialization._transfer import Transfer
from online_features.materialization.materialize import BATCH_ROWS, is_repeated_after
from online_features.materialization.parts._build_state import check_definition, kept_plan, listed, only_planning_heals
from online_features.materialization.parts._kept_plan import KeptPlan, PartReport
from online_features.materialization.parts._progress import PartProgress, in_words
from online_features.materialization.parts.build_plan import BuildPart, PartResult
from online_features.materialization.reporting.progress import PROGRESS_SECONDS, Progress, RunCounter
from online_features.offline.division.part import KeyRange
from online_features.online.generations.building import PARTS_LEASE_SECONDS
from online_features.online.generations.generation_list import GenerationState
from online_features.online.redis.replication import REPLICA_TIMEOUT, Replication
from online_features.online.write.write_grant import WriteGrant
from online_features.schema import RowSchema
from online_features.statistics.measurement import Measurement
from online_features.statistics.stored_measurement import encode, rows_of_part

if TYPE_CHECKING:
    from online_features.offline.source_access import SourceAccess
    from online_features.offline.store import OfflineStore
    from online_features.online.generations.part_ledger import PartLedger
    from online_features.online.store import OnlineStore

log = logging.getLogger(__name__)


def materialize_part(
    part: BuildPart,
    offline: OfflineStore,
    online: OnlineStore,
    *,
    batch_rows: int = BATCH_ROWS,
    on_progress: Callable[[Progress], None] | None = None,
    retry_for: timedelta = RETRY_FOR,
    wait_for_replicas: int = 0,
    replica_timeout: timedelta = REPLICA_TIMEOUT,
) -> PartResult:
    """Copy one part of a build from Postgres to Redis.

    Copying a part again, or twice at once, is safe. If the build is complete already, nothing is done.

    :param part: of the plan that :func:`~online_features.plan_build` has returned.
    :param batch_rows: the largest number of rows in memory per batch.
    :param on_progress: called after every batch.
    :param retry_for: how long to retry in total while a store cannot be reached or breaks off.
    :param wait_for_replicas: how many replicas of each node of a cluster must have the rows. For those of a single
        server, :func:`~online_features.finish_build` waits.
    :param replica_timeout: how long to wait for them.
    :raises GenerationError: when the build was given up, the view has changed since it was planned, or Redis has lost
        data since then.
    :raises LeaseLostError: when another run has begun to build.
    :raises TransientError: when a store cannot be reached or broke off, for longer than ``retry_for``.
    """
    arguments.check(
        part=part, offline=offline, online=online, batch_rows=batch_rows, wait_for_replicas=wait_for_replicas,
        replica_timeout=replica_timeout,
    )  # fmt: skip
    arguments.check_given(on_progress=on_progress)
    view, retry_budget = part.plan.view, RetryBudget(retry_for)
    replication = Replication(what=f"feature view {view.name!r}", replicas=wait_for_replicas, timeout=replica_timeout)
    copy = _PartCopy(part, offline, online, batch_rows, on_progress, replication, retry_budget)
    return retry_budget.attempt(copy.run, is_repeated_after)


@dataclass(frozen=True)
class _PartCopy:
    part: BuildPart
    offline: OfflineStore
    online: OnlineStore
    batch_rows: int
    on_progress: Callable[[Progress], None] | None
    replication: Replication
    retry_budget: RetryBudget

    @property
    def view(self) -> FeatureView:
        return self.part.plan.view

    def run(self) -> PartResult:
        """Copy the part, unless its build is complete."""
        began = time.monotonic()
        known = listed(self.part.plan, self.online)
        if known.state != GenerationState.BUILDING:
            reason = f"generation {known.id} is complete already, and {known.state}"
            say(log.info, f"Feature view {self.view.name!r}: part {self.part.number} is not copied: {reason}")
            return PartResult(number=self.part.number, seconds=time.monotonic() - began, skipped=reason)
        plan = kept_plan(self.part.plan, self.online)
        source = self.offline._source(self.view)
        _, transformation = described(self.view, source)
        check_definition(self.part.plan, known, transformation.schema)
        self._check_order(plan, source, transformation.source)
        survey = survey_of_all(self.view, source, transformation)
        query_plan = source.query_plan(transformation.source, survey.plan.window)
        plans = source.plans_of_part(
            transformation.source, survey.plan.window, plan.parts[self.part.number], query_plan.scan
        )
        counter = RunCounter(self.view, plan.expected_rows // len(plan.parts), self.on_progress, began)
        transfer = Transfer(
            source=source, transformation=transformation, counter=counter, now=survey.now, batch_rows=self.batch_rows
        )
        measurement = Measurement(transformation.schema)
        grant = WriteGrant(
            run_id=self.part.plan.run_id, generation=known.id, servers=plan.servers, replication=self.replication,
            lease_seconds=PARTS_LEASE_SECONDS, leaves_memory=True,
        )  # fmt: skip
        with (
            only_planning_heals(self.part.plan),
            source.snapshot(*plans) as snapshot,
            self.online._granted_writer(self.view, transformation.schema, grant, self.retry_budget) as writer,
        ):
            progress = _ProgressReport(self.part, plan, counter, writer.part_ledger)
            progress.tell()
            transfer.stream(snapshot, writer, measurement, after_batch=progress.tell_at_times)
            report = PartReport(
                counts=counter.counts, times=counter.times, claim=Claim.of(survey), row_bytes=writer.row_bytes(),
                stages=counter.stages.seconds, bytes_sent=writer.bytes_sent, seconds=counter.seconds,
            )  # fmt: skip
            statistics = encode(measurement, rows=rows_of_part(len(plan.parts)))
            writer.part_ledger.keep_report(self.part.number, report.to_dict(), statistics)
            progress.tell(is_done=True)
        listed(self.part.plan, self.online)  # or the build was given up meanwhile
        warn_of_future(self.view, counter.times)
        counter.log_total()
        return PartResult(
            **asdict(counter.counts), number=self.part.number, seconds=counter.seconds, bytes_sent=report.bytes_sent
        )

    def _check_order(self, plan: KeptPlan, source: SourceAccess, schema: RowSchema) -> None:
        """Refuse a range whose order is another one on this server.

        :raises SourceError: naming both versions of the collation.
        """
        part = plan.parts[self.part.number]
        if plan.collation is None or not isinstance(part, KeyRange):
            return
        found = source.collation(schema, part.column)
        if found != plan.collation:
            here = " ".join(filter(None, found or ("none", "")))
            raise SourceError(
                f"feature view {self.view.name!r}: its parts are ranges of {part.column!r} in the order of collation "
                f"{' '.join(filter(None, plan.collation))}, but this server of Postgres has {here}, which may order "
                "otherwise -> let all parts read the same server, or servers with the same version"
            )


@dataclass
class _ProgressReport:
    """Tells Redis how far a part has come, and the log how far all have."""

    part: BuildPart
    plan: KeptPlan
    counter: RunCounter
    ledger: PartLedger
    _told: float = 0.0

    def tell_at_times(self) -> None:
        """Tell, unless it was told a few seconds ago."""
        if time.monotonic() - self._told >= PROGRESS_SECONDS:
            self.tell()

    def tell(self, *, is_done: bool = False) -> None:
        self._told = time.monotonic()
        now = PartProgress(rows=self.counter.counts.outcomes, seconds=self.counter.seconds, is_done=is_done)
        self.ledger.keep_progress(self.part.number, asdict(now))
        words = in_words(self.plan, self.ledger.progress(len(self.plan.parts)))
        say(log.info, f"Feature view {self.part.plan.view.name!r}: {words}")
