"""A full run that builds a generation beside the published one, catches up with it, and is published in one step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from online_features.checks.check import CheckResult
from online_features.checks.judging import failed, failure, guards
from online_features.common.instants import to_text
from online_features.common.log_lines import say
from online_features.errors import ChecksFailedError
from online_features.feature_view import FeatureView
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.materialization._catch_up import CatchUp, commit, publish_caught_up
from online_features.materialization._judgement import Judge
from online_features.materialization._options import RunOptions
from online_features.materialization._survey import Survey, Surveyor
from online_features.materialization._transfer import Copy, Transfer
from online_features.materialization.reporting.run_record import RunRecord
from online_features.materialization.reporting.run_warnings import run_warnings
from online_features.online.generations.switching import PublicationOutcome
from online_features.statistics.measurement import Measurement

if TYPE_CHECKING:
    from online_features.offline.query_plan import QueryPlan
    from online_features.online.generations.generation_list import GenerationList
    from online_features.online.generations.view_state import ViewState
    from online_features.online.store import OnlineStore
    from online_features.online.write.generation_writer import GenerationWriter
    from online_features.online.write.online_run import OnlineRun
    from online_features.statistics.view_statistics import ViewStatistics

log = logging.getLogger(__name__)


@dataclass
class Build:
    """One build of a generation.

    :param transfer: that catches up.
    :param copy: copies the rows of the survey.
    :ivar generation: its id, once it is registered.
    :ivar is_published: whether readers see it.
    """

    view: FeatureView
    online: OnlineStore
    online_run: OnlineRun
    surveyor: Surveyor
    transfer: Transfer
    copy: Copy
    options: RunOptions
    record: RunRecord
    generation: str = field(default="", init=False)
    is_published: bool = field(default=False, init=False)
    _rows: int = field(default=0, init=False)
    _newest_pushed: datetime | None = field(default=None, init=False)

    def make(self, survey: Survey, query_plan: QueryPlan, *, published: ViewState) -> datetime | None:
        """Build a generation and publish it, and return its watermark.

        :param published: the state of the published generation before the survey: what runs commit in it from then on
            has to be caught up.
        :raises ChecksFailedError: when it has failed checks; it stays, and can be read by its name.
        :raises PublishError: when it may not be published otherwise; it stays, too.
        """
        synced = f"{published.generation} {published.commits}"  # as sync_point() returns it
        if not self.options.ignore_memory:
            self.online_run.make_room(published, query_plan.expected_rows)
        with self.online_run.build(self.options.origin) as writer:
            self.generation = writer.generation
            say(log.info, f"Building generation {self.generation} of feature view {self.view.name!r}")
            # After the registration: another run may have published a generation before it.
            seen = self.online_run.generations()
            last = seen.last_published
            published = self.online_run.state(last.id if last else FIRST_GENERATION)
            # Before the source's rows, which replace pushed ones with equal timestamps.
            self._carry_pushes(writer, published, survey)
            # Measure only this copy: many rows of a catch-up replace others, and would count twice.
            measurement = Measurement(self.transfer.transformation.schema)
            self.copy(query_plan, writer, measurement)
            if self.options.prune:
                self.transfer.counter.entities_pruned = writer.count_left_out(
                    published, before=survey.horizon.claim, now=survey.now
                )
            self._rows += self.transfer.counter.counts.rows_written
            statistics = measurement.statistics()
            self.online_run.keep_statistics(self.generation, statistics, is_build=True)
            results = self._judge(statistics, published, survey)
            refusal = failed(results) if not self.options.ignore_checks else ""
            commit(writer, survey, self._newest)
            self.online_run.mark_ready(
                writer, synced=synced, rows=self._rows, is_pushed=published.is_pushed, refusal=refusal or None
            )
            if refusal:
                # The build stays, for people to look at; the one that was refused before it does not.
                self.online_run.clean_up(seen, self.options.keep_generations)
                raise self._refused(results)
            if self.options.publish:
                self._publish(writer, seen)
            watermark = self.online_run.state(self.generation).watermark
        if self.is_published and published.layout == "feast":
            self.online_run.clear_first_generation()
        outcome = {"generation": self.generation, "published": self.is_published}
        self.online_run.end(
            {**self.record.succeeded(), **outcome, "watermark": to_text(watermark) if watermark else None}
        )
        return watermark

    def _publish(self, writer: GenerationWriter, seen: GenerationList) -> None:
        """Publish the build, after it has caught up with what runs have committed meanwhile.

        :param seen: the generations when the build was registered.
        """
        catch_up = CatchUp(
            view=self.view, online=self.online, online_run=self.online_run, surveyor=self.surveyor,
            transfer=self.transfer, writer=writer,
        )  # fmt: skip
        publication = publish_caught_up(
            lambda: self.online_run.publish(self.generation, seen.pointer, self.options.origin),
            catch_up=lambda _: catch_up.run(),
            closing=lambda _: self.online_run.closing(),
        )
        if publication.outcome == PublicationOutcome.HELD:
            say(
                log.warning,
                f"Feature view {self.view.name!r} was rolled back and is held, so generation {self.generation} is "
                "ready but not published -> publish it, or release the view",
            )
        else:
            self.is_published = True
            say(log.info, f"Published generation {self.generation} of feature view {self.view.name!r}")

    @property
    def _newest(self) -> datetime | None:
        """The newest event timestamp of the build."""
        return max(filter(None, [self.transfer.counter.times.newest, self._newest_pushed]), default=None)

    def _carry_pushes(self, writer: GenerationWriter, published: ViewState, survey: Survey) -> None:
        if not published.is_pushed:
            return
        since = survey.horizon.claim if self.options.prune else None
        carried = writer.carry_pushes(published, since=since, now=survey.now)
        self._rows += carried.counts.rows_written
        self._newest_pushed = carried.newest
        name = f"Feature view {self.view.name!r}"
        say(log.info, f"{name}: carried over {carried.counts.rows_written} rows that were pushed")
        if carried.damaged:
            say(log.warning, f"{name}: {carried.damaged} pushed rows are damaged, so they are not carried over")
        if carried.missed:
            say(log.warning, f"{name}: generation {self.generation} cannot hold {carried.missed} pushed rows, whose "
                             "join keys or types are others")  # fmt: skip

    def _judge(self, statistics: ViewStatistics, published: ViewState, survey: Survey) -> list[CheckResult]:
        """Judge the build, and note the results in the record of the run."""
        judge = Judge(
            view=self.view, online_run=self.online_run, counter=self.transfer.counter, at=survey.now,
            statistics=statistics, ignores=self.options.ignore_checks,
        )  # fmt: skip
        before = self.online_run.statistics(published.generation) if self.view.checks else None
        results = judge.whole(
            guards(allow_empty=self.options.allow_empty), published, before, rows=self._rows, newest=self._newest
        )
        self.record.note_findings(statistics, results)
        return results

    def _refused(self, results: Sequence[CheckResult]) -> ChecksFailedError:
        """Return the error of a build that has failed checks, with a table of what was expected and found."""
        name, source = f"feature view {self.view.name!r}", self.view.source.description
        if self._rows:
            cure = f"correct {source} and run again, or publish it with ignore_checks=True"
        else:
            for warning in run_warnings(self.view, self.transfer.counter.counts, kind="full", had_rows=False):
                say(log.warning, f"F{name[1:]}: {warning}")
            cure = f"look at {source}, or give allow_empty=True"
        what = f"{name}: generation {self.generation} has failed checks, so it is not published"
        return failure(what, results, cure)
