"""A look at both stores, and the plan that is made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from online_features.feature_view import FeatureView
from online_features.materialization._options import RunOptions
from online_features.materialization.planning.plan import Plan, PlanInputs, effective_lookback, plan_run
from online_features.materialization.planning.source_check import SourceCheck
from online_features.materialization.reporting.run_warnings import warn_of_late_rows
from online_features.online.generations.view_definition import changes_since
from online_features.producers.transformation import Transformation
from online_features.source_note import SourceNote
from online_features.window import Window

if TYPE_CHECKING:
    from online_features.offline.horizon import Horizon
    from online_features.offline.relations import SourceRelations
    from online_features.offline.source_access import SourceAccess
    from online_features.online.generations.view_state import ViewState
    from online_features.online.write.online_run import OnlineRun

RELEASED = "the view was released after it had been rolled back"


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The plan of a run, and what it was made from.

    :param changes: parts of the definition that differ from the one of the generation.
    """

    plan: Plan
    horizon: Horizon
    relations: SourceRelations
    changes: Sequence[str]
    now: datetime

    @property
    def note(self) -> SourceNote | None:
        """The note on the source for the next run; ``None`` if the run sets no cursor."""
        plan = self.plan
        return self.relations.note(plan.cursor, plan.note) if plan.cursor is not None else None


@dataclass(frozen=True, kw_only=True)
class Surveyor:
    """Looks at both stores and plans what to read."""

    view: FeatureView
    source: SourceAccess
    transformation: Transformation
    options: RunOptions
    online_run: OnlineRun

    def survey(self, state: ViewState, *, asked: Window, full: bool, needs_full: bool = False) -> Survey:
        """Plan a run, and log what increments would miss.

        :param state: of the generation to write to, or for a full run of the published one.
        :param asked: the window to read; open for a full run and an increment.
        :param needs_full: whether an increment must be a full run, because a hold was released.
        """
        view, source, schema = self.view, self.source, self.transformation.source
        now = datetime.now(UTC)
        horizon = source.horizon()
        relations = source.relations(schema)
        lookback = effective_lookback(self.options.lookback, schema, horizon, relations.late)
        check = SourceCheck(
            view=view, source=source, schema=schema, relations=relations, note=state.source, lookback=lookback, now=now
        )
        start = asked.start
        begins_history = (
            state.watermark is None and start is not None and not source.has_rows(schema, Window(end=start))
        )
        changes = changes_since(state, view, self.transformation.schema)
        lost = RELEASED if needs_full else self.online_run.data_loss_reason(state) or check.data_loss_reason()
        plan = plan_run(PlanInputs(
            view=view, schema=schema, asked=asked, full=full, lookback=lookback, horizon=horizon, now=now,
            cursor=state.cursor, note=state.source, changes=changes, data_loss_reason=lost,
            begins_history=begins_history,
        ))  # fmt: skip
        if plan.kind == "incremental":
            warn_of_late_rows(view, relations.late)
            check.warn_of_unseen_changes()
        return Survey(plan=plan, horizon=horizon, relations=relations, changes=changes, now=now)


def survey_of_all(view: FeatureView, source: SourceAccess, transformation: Transformation) -> Survey:
    """Plan to read all of history, whatever is online; the plan has a :class:`.Window`."""
    now, horizon = datetime.now(UTC), source.horizon()
    plan = plan_run(PlanInputs(
        view=view, schema=transformation.source, asked=Window(), full=True, lookback=timedelta(0), horizon=horizon,
        now=now, cursor=None, note=None, changes=(), data_loss_reason="", begins_history=False,
    ))  # fmt: skip
    return Survey(plan=plan, horizon=horizon, relations=source.relations(transformation.source), changes=(), now=now)
