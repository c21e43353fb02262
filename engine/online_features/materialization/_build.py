"""A full run that builds a generation beside the published one, catches up with it, and is published in one step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import TYPE_CHECKING

from online_features.common.instants import from_text, to_text
from online_features.common.log_lines import say
from online_features.errors import PublishError
from online_features.feature_view import FeatureView
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.materialization._options import RunOptions
from online_features.materialization._run_record import RunRecord
from online_features.materialization._survey import Survey, Surveyor
from online_features.materialization._transfer import Transfer
from online_features.online.generations.runs import RUNS_KEPT, RunClaims
from online_features.online.generations.switching import PublicationOutcome
from online_features.online.generations.view_definition import definition_fingerprint
from online_features.window import Window

if TYPE_CHECKING:
    from online_features.offline.query_plan import QueryPlan
    from online_features.online.generations.view_state import ViewState
    from online_features.online.store import OnlineStore
    from online_features.online.write.generation_writer import GenerationWriter
    from online_features.online.write.online_run import OnlineRun

log = logging.getLogger(__name__)

OPEN_ROUNDS = 2  # of catching up beside increments; after them, increments wait
MOST_ROUNDS = 10
FEW = 0.5  # a build with a smaller share of the published rows than this is worth a warning


@dataclass
class Build:
    """One build of a generation.

    :ivar generation: its id, once it is registered.
    :ivar is_published: whether readers see it.
    """

    view: FeatureView
    online: OnlineStore
    online_run: OnlineRun
    surveyor: Surveyor
    transfer: Transfer
    options: RunOptions
    record: RunRecord
    generation: str = field(default="", init=False)
    is_published: bool = field(default=False, init=False)
    _rows: int = field(default=0, init=False)
    _runs_before: frozenset[str | None] = field(default=frozenset(), init=False)
    _newest_pushed: datetime | None = field(default=None, init=False)

    def make(self, survey: Survey, query_plan: QueryPlan) -> datetime | None:
        """Build a generation and publish it, and return its watermark.

        :raises PublishError: when it may not be published; it stays, and can be read by its name.
        """
        with self.online_run.build(self.options.origin) as writer:
            self.generation = writer.generation
            say(log.info, f"Building generation {self.generation} of feature view {self.view.name!r}")
            # After the registration: another run may have published a generation before it.
            seen = self.online_run.generations()
            last = seen.last_published
            published = self.online_run.state(last.id if last else FIRST_GENERATION)
            # Before the source's rows, which replace pushed ones with equal timestamps.
            self._carry_pushes(writer, published, survey)
            # Before the snapshot: what is committed from here on has to be caught up.
            self._runs_before = frozenset(run.get("run_id") for run in self.online.runs(self.view))
            synced = self.online_run.sync_point()
            self.transfer.copy(query_plan, writer)
            self._rows += self.transfer.counter.counts.rows_written
            self._check_rows(published)
            watermark = self._commit(writer, survey)
            self.online_run.mark_ready(writer, synced=synced, rows=self._rows, is_pushed=published.is_pushed)
            if self.options.publish:
                watermark = self._publish(writer, seen.pointer, watermark)
        if self.is_published and published.layout == "feast":
            self.online_run.clear_first_generation()
        outcome = {"generation": self.generation, "published": self.is_published}
        self.online_run.end(
            {**self.record.succeeded(), **outcome, "watermark": to_text(watermark) if watermark else None}
        )
        return watermark

    def _publish(
        self, writer: GenerationWriter, pointer: tuple[str, int], watermark: datetime | None
    ) -> datetime | None:
        """Publish the build, catching up with what runs have committed meanwhile; return its watermark.

        :param pointer: of the view when the build was registered.
        """
        with ExitStack() as closing:
            for round_ in range(MOST_ROUNDS):
                if self._try_to_publish(pointer):
                    return watermark
                if round_ == OPEN_ROUNDS:
                    closing.enter_context(self.online_run.closing())
                watermark = self._catch_up(writer)
        raise PublishError(
            f"feature view {self.view.name!r}: increments were faster than generation {self.generation} could catch up "
            "-> run again with fewer of them beside"
        )

    def _try_to_publish(self, pointer: tuple[str, int]) -> bool:
        """Publish the build, and return whether that is settled; else it has to catch up first."""
        published = self.online_run.publish(self.generation, pointer, self.options.origin)
        match published.outcome:
            case PublicationOutcome.HELD:
                say(
                    log.warning,
                    f"Feature view {self.view.name!r} was rolled back and is held, so generation {self.generation} is "
                    "ready but not published -> publish it, or release the view",
                )
            case PublicationOutcome.BEHIND:
                return False
            case _:
                self.is_published = True
                say(log.info, f"Published generation {self.generation} of feature view {self.view.name!r}")
        return True

    def _catch_up(self, writer: GenerationWriter) -> datetime | None:
        """Read what has come since the build last read the source."""
        synced = self.online_run.sync_point()
        state = self.online_run.state(self.generation)
        surveys = [self.surveyor.survey(state, asked=window, full=False) for window in (Window(), *self._new_windows())]
        for each in surveys:
            if each.plan.kind == "full":
                raise PublishError(
                    f"feature view {self.view.name!r}: generation {self.generation} cannot catch up, because "
                    f"{each.plan.reason} -> run again"
                )
        say(log.info, f"Generation {self.generation} of feature view {self.view.name!r} catches up")
        for each in surveys:
            query_plan = self.transfer.source.query_plan(self.transfer.transformation.source, each.plan.window)
            before = self.transfer.counter.counts.rows_written
            self.transfer.copy(query_plan, writer)
            watermark = self._commit(writer, each)
            log.info("It has read %d rows more", self.transfer.counter.counts.rows_written - before)
        self.online_run.mark_ready(writer, synced=synced, rows=self._rows)
        return watermark

    def _new_windows(self) -> Iterator[Window]:
        """Yield each window that another run has read since the build began: it may reach where increments do not."""
        new = takewhile(lambda run: run.get("run_id") not in self._runs_before, self.online.runs(self.view, RUNS_KEPT))
        for run in new:
            if run.get("kind") == "window" and run.get("outcome") == "success":
                start, end = (from_text(run[bound]) if run[bound] else None for bound in ("start", "end"))
                yield Window(start=start, end=end)

    def _commit(self, writer: GenerationWriter, survey: Survey) -> datetime | None:
        plan, newest = survey.plan, [self.transfer.counter.times.newest, self._newest_pushed]
        return writer.commit(
            RunClaims(
                run=None,
                fingerprint_before=definition_fingerprint(self.view, self.transfer.transformation.schema),
                covered=plan.covered,
                cursor=plan.cursor,
                source=survey.note,
                max_event_timestamp=max(filter(None, newest), default=None),
                materialized_at=datetime.now(UTC),
            )
        )

    def _carry_pushes(self, writer: GenerationWriter, published: ViewState, survey: Survey) -> None:
        if not published.is_pushed:
            return
        since = survey.horizon.claim if self.options.prune else None
        carried = writer.carry_pushes(published, since=since, now=survey.now)
        self._rows += carried.counts.rows_written
        self._newest_pushed = carried.newest
        self.transfer.counter.entities_pruned = carried.left_out
        name = f"Feature view {self.view.name!r}"
        say(log.info, f"{name}: carried over {carried.counts.rows_written} rows that were pushed")
        if carried.missed:
            say(log.warning, f"{name}: generation {self.generation} cannot hold {carried.missed} pushed rows, whose "
                             "join keys or types are others")  # fmt: skip

    def _check_rows(self, published: ViewState) -> None:
        """Refuse to replace rows by none, and warn if there are far fewer.

        :raises PublishError: when the build has no rows and the published generation has.
        """
        before, now = published.rows, self._rows
        had_rows = before > 0 if before is not None else published.max_event_timestamp is not None
        name = f"feature view {self.view.name!r}"
        if had_rows and not now and not self.options.allow_empty:
            raise PublishError(
                f"{name}: generation {self.generation} has no rows, and the published one has "
                f"{f'{before:,}' if before else 'some'} -> look at {self.view.source.description}, or give "
                "allow_empty=True"
            )
        if before and now < FEW * before:
            say(log.warning, f"F{name[1:]}: generation {self.generation} has {now:,} rows, where {before:,} "
                             "were before -> look at the source; rollback() takes it back")  # fmt: skip
