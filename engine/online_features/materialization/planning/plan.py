"""The plan of a run: what it reads, and what it may claim afterwards. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from online_features.feature_view import FeatureView
from online_features.offline.horizon import Horizon
from online_features.schema import RowSchema
from online_features.source_note import SourceNote
from online_features.window import FUTURE_TOLERANCE, LAST_INSTANT, Arrivals, Window, default_lookback

RunKind = Literal["full", "incremental", "window", "repair"]


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """Everything that decides the plan of a run.

    :param schema: of the rows of the source.
    :param asked: the window that the caller named; open for incremental and full runs.
    :param full: whether the caller asked for all of history.
    :param lookback: how far an increment reads back over the last run.
    :param horizon: how far a snapshot of the source is complete.
    :param now: by our clock; neither a watermark nor a cursor is ever after it.
    :param cursor: where an increment begins to read; ``None`` before the first full run.
    :param note: the note on the source of the run that set the cursor.
    :param changes: parts of the definition that differ from the one whose rows are online.
    :param data_loss_reason: why rows that an increment does not read may be missing online; else empty.
    :param begins_history: whether the source has no rows before the window, and no run has claimed any.
    """

    view: FeatureView
    schema: RowSchema
    asked: Window
    full: bool
    lookback: timedelta
    horizon: Horizon
    now: datetime
    cursor: datetime | None
    note: SourceNote | None
    changes: Sequence[str]
    data_loss_reason: str
    begins_history: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The window that a run reads, and what it may claim afterwards.

    :param kind: ``full`` reads all of history, ``incremental`` what came since the cursor, ``window`` what was asked.
    :param reason: why the run is full although the caller did not ask for it; else empty.
    :param covered: the part of history that is online after the run, or ``None`` when nothing can be claimed.
    :param cursor: where the next incremental run begins; ``None`` leaves the cursor unchanged.
    :param clears: whether the run removes the view's rows before it writes.
    :param note: the earlier note on the source, which an increment continues.
    """

    kind: RunKind
    window: Window | Arrivals
    covered: tuple[datetime | None, datetime] | None
    cursor: datetime | None = None
    reason: str = ""
    clears: bool = False
    note: SourceNote | None = None

    @property
    def end(self) -> datetime | None:
        """End of the window, or the instant up to which an open one claims to be complete."""
        if isinstance(self.window, Window) and self.kind == "window":
            return self.window.end
        return self.covered[1] if self.covered is not None else None


def effective_lookback(
    asked: timedelta | None, schema: RowSchema, horizon: Horizon, late_relations: Sequence[str]
) -> timedelta:
    """Return how far an increment reads back over the last run.

    :param asked: by the caller; ``None`` means the default.
    :param late_relations: relations of the source whose rows become visible later than they were created.
    """
    is_blind = schema.created_timestamp is None or horizon.is_blind or bool(late_relations)
    return default_lookback(asked, is_blind=is_blind)


def plan_run(inputs: PlanInputs) -> Plan:
    """Decide what a run reads and what it may claim."""
    asked, horizon, now = inputs.asked, inputs.horizon, inputs.now
    limit = min(horizon.claim, now)
    cursor = min(horizon.cursor, now) if horizon.cursor is not None else None
    latest = now + FUTURE_TOLERANCE if inputs.view.source.future_rows == "reject" else LAST_INSTANT
    everything = Plan(kind="full", window=Window(latest=latest), covered=(None, limit), cursor=cursor)
    if inputs.changes:
        # Keys of other entities, and values of another layout, would be left behind instead of overwritten.
        clears = not {"entities", "layout"}.isdisjoint(inputs.changes)
        return replace(everything, reason=f"the view has changed in {' and '.join(inputs.changes)}", clears=clears)
    if inputs.full:
        return everything
    if inputs.data_loss_reason:
        return replace(everything, reason=inputs.data_loss_reason)
    if not asked.is_open:
        end = min(asked.end, limit) if asked.end else limit
        begins_in_future = asked.start is not None and asked.start >= end
        covered = None if begins_in_future else (None if inputs.begins_history else asked.start, end)
        return Plan(kind="window", window=replace(asked, latest=latest), covered=covered)
    if inputs.cursor is None:
        return replace(everything, reason="no earlier run has covered all of history")
    arrivals = Arrivals.since(inputs.cursor, inputs.schema, lookback=inputs.lookback, now=now)
    # Without an end: the run also writes rows beyond the horizon, but does not claim them.
    window = replace(arrivals, latest=latest)
    return Plan(kind="incremental", window=window, covered=(None, limit), cursor=cursor, note=inputs.note)
