"""Warnings of a run that succeeded and put nothing online."""

from __future__ import annotations

from typing import Literal

from online_features.counters import RowCounts
from online_features.feature_view import FeatureView


def run_warnings(
    view: FeatureView, counts: RowCounts, *, kind: Literal["full", "incremental", "window"], had_rows: bool
) -> list[str]:
    """Each thing to look at, with what to do.

    :param counts: of the rows of the run.
    :param kind: of the run: only a full one reads all that the source has.
    :param had_rows: whether rows of the view had been written before.
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
            f"{view.source.description} has no rows, where there were some before; what is online stays "
            "-> look at the source; full=True with prune=True removes what it no longer has"
        ]
    return []
