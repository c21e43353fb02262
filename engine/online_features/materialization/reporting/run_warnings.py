"""Warnings of a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from online_features.common.instants import to_text
from online_features.common.log_lines import say
from online_features.counters import RowCounts
from online_features.errors import OnlineAccessError, OnlineDataError
from online_features.feature_view import FeatureView
from online_features.materialization.planning.plan import Plan, RunKind
from online_features.materialization.reporting._definition_changes import describe_alternation, describe_changes
from online_features.offline.horizon import Horizon
from online_features.online.generations.view_definition import definition
from online_features.online.generations.view_state import DAMAGE, ViewState
from online_features.schema import RowSchema

if TYPE_CHECKING:
    from online_features.online.store import OnlineStore

log = logging.getLogger(__name__)

# A run warns of a transaction that holds back the watermark from this age on: most end within a second.
OLD_TRANSACTION = timedelta(seconds=10)


def warn_of_late_rows(view: FeatureView, late: Sequence[str]) -> None:
    """Log a warning about relations whose rows become visible later than they were created.

    :param late: these relations, in words.
    """
    if late:
        say(
            log.warning,
            f"Feature view {view.name!r} reads {' and '.join(late)}: rows appear there later than they were created, "
            "so incremental runs look back one hour -> give lookback= where they may be later still",
        )


def warn_of_changed_definition(
    view: FeatureView, schema: RowSchema, state: ViewState, fingerprint: str, online: OnlineStore
) -> None:
    """Log how the definition differs from the one whose rows are online, and whether two alternate."""
    if state.definition is None or state.fingerprint == fingerprint:
        return
    now = definition(view, schema)
    # These warnings are no reason to fail: the user may lack the right to read the run history, and it may be damaged.
    with suppress(OnlineAccessError, OnlineDataError, *DAMAGE):
        for change in describe_changes(state.definition, now):
            say(log.warning, f"Feature view {view.name!r} has changed: {change}")
        if alternation := describe_alternation(state.definition, now, fingerprint, online.runs(view)):
            say(log.warning, f"Feature view {view.name!r}: {alternation}")


def warn_of_held_watermark(view: FeatureView, plan: Plan, horizon: Horizon) -> dict[str, str]:
    """Log a warning about an old transaction that holds back the watermark.

    :returns: fields on it for the run's record.
    """
    oldest = horizon.oldest
    if oldest is None or plan.covered is None or plan.covered[1] != oldest.since or oldest.age < OLD_TRANSACTION:
        return {}
    since = oldest.since.isoformat(timespec="seconds")
    log.warning("Feature view %r: a transaction, open for %.0f s, holds back the watermark at %s",
                view.name, oldest.age.total_seconds(), since)  # fmt: skip
    say(log.warning, f"It is {oldest} -> end it, or wait until it ends")
    return {"held_since": to_text(oldest.since), "held_by": str(oldest)}


def run_warnings(view: FeatureView, counts: RowCounts, *, kind: RunKind, had_rows: bool) -> list[str]:
    """Return warnings of a run that succeeded and put nothing online.

    :param counts: of the rows of the run.
    :param kind: of the run: only a full one reads all rows.
    :param had_rows: whether an earlier run has written rows of the view.
    """
    if counts.rows_read and counts.rows_rejected == counts.rows_read:
        columns = ", ".join((*view.entities, view.source.timestamp_field))
        return [
            f"every one of {counts.rows_read} rows was rejected; a few are shown above "
            f"-> look at {columns} in {view.source.description}"
        ]
    if counts.rows_expired and counts.rows_expired + counts.rows_rejected == counts.rows_read:
        return [
            f"all of {counts.rows_expired} rows are past their ttl of {view.ttl}, so none went online "
            "-> raise ttl=, or look at why the source has no newer rows"
        ]
    if kind == "full" and not counts.rows_read and had_rows:
        return [
            f"{view.source.description} has no rows, where there were some before -> look at the source; a full run "
            "in place leaves what is online, unless with prune=True"
        ]
    return []
