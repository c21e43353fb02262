"""Catching up: a build reads what runs have committed in the published generation since it read the source."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from typing import TYPE_CHECKING

from online_features.common.instants import from_text
from online_features.common.log_lines import say
from online_features.errors import PublishError
from online_features.feature_view import FeatureView
from online_features.materialization._survey import Survey, Surveyor
from online_features.materialization._transfer import Transfer
from online_features.online.generations.runs import RUNS_KEPT, RunClaims
from online_features.online.generations.switching import Publication, PublicationOutcome
from online_features.source_note import SourceNote
from online_features.window import Window

if TYPE_CHECKING:
    from online_features.online.generations.view_state import ViewState
    from online_features.online.store import OnlineStore
    from online_features.online.write.generation_writer import GenerationWriter
    from online_features.online.write.online_run import OnlineRun

log = logging.getLogger(__name__)

OPEN_ROUNDS = 2  # of catching up beside increments; after them, increments wait
MOST_ROUNDS = 10


@dataclass(frozen=True, kw_only=True)
class CatchUp:
    """Catches a build up, under the lease of its view."""

    view: FeatureView
    online: OnlineStore
    online_run: OnlineRun
    surveyor: Surveyor
    transfer: Transfer
    writer: GenerationWriter

    def run(self) -> None:
        """Read what has come since the build last read the source, and commit it.

        :raises PublishError: when the build would have to read all of history.
        """
        name, generation = self.view.name, self.writer.generation
        synced = self.online_run.sync_point()
        state = self.online_run.state(generation)
        survey = self.surveyor.survey(state, asked=Window(), full=False)
        if survey.plan.kind == "full":
            raise PublishError(
                f"feature view {name!r}: generation {generation} cannot catch up, because {survey.plan.reason} "
                "-> build again"
            )
        say(log.info, f"Generation {generation} of feature view {name!r} catches up")
        for each in (survey, *self._windows(state)):
            query_plan = self.transfer.source.query_plan(self.transfer.transformation.source, each.plan.window)
            before = self.transfer.counter.counts.rows_written
            self.transfer.copy(query_plan, self.writer)
            commit(
                self.writer, covered=each.plan.covered, cursor=each.plan.cursor, note=each.note,
                newest=self.transfer.counter.times.newest,
            )  # fmt: skip
            log.info("It has read %d rows more", self.transfer.counter.counts.rows_written - before)
        self.online_run.mark_ready(self.writer, synced=synced)

    def _windows(self, state: ViewState) -> Iterator[Survey]:
        """Plan each window that another run has read since the build began: it may reach where increments do not."""
        since = takewhile(lambda run: run.get("run_id") != state.last_run, self.online.runs(self.view, RUNS_KEPT))
        for run in since:
            if run.get("kind") == "window" and run.get("outcome") == "success":
                start, end = (from_text(run[bound]) if run[bound] else None for bound in ("start", "end"))
                yield self.surveyor.survey(state, asked=Window(start=start, end=end), full=False)


def commit(
    writer: GenerationWriter, *, covered: tuple[datetime | None, datetime] | None, cursor: datetime | None,
    note: SourceNote | None, newest: datetime | None,
) -> None:  # fmt: skip
    """Commit what a build has read; parameters are those of :class:`.RunClaims`.

    :param note: on the source.
    :param newest: event timestamp that it has read.
    """
    writer.commit(
        RunClaims(
            run=None,
            fingerprint_before=writer.fingerprint,  # as it was registered
            covered=covered,
            cursor=cursor,
            source=note,
            max_event_timestamp=newest,
            materialized_at=datetime.now(UTC),
        )
    )


def publish_caught_up(
    attempt: Callable[[], Publication],
    *,
    catch_up: Callable[[str], object],
    closing: Callable[[str], AbstractContextManager[object]],
) -> Publication:
    """Publish builds in one step, after those that are behind have caught up; after two rounds, increments wait.

    :param attempt: publishes, unless a build is behind.
    :param catch_up: catches up the build of the view with this name.
    :param closing: lets increments of the view with this name wait, for up to a minute.
    :raises PublishError: when increments are faster.
    """
    with ExitStack() as waiting:
        for round_ in range(MOST_ROUNDS):
            publication = attempt()
            if publication.outcome != PublicationOutcome.BEHIND:
                return publication
            for name in publication.views:
                if round_ >= OPEN_ROUNDS:
                    waiting.enter_context(closing(name))
                catch_up(name)
    names = ", ".join(map(repr, publication.views))
    raise PublishError(
        f"feature views {names}: increments were faster than their builds could catch up -> run again with fewer of "
        "them beside"
    )
