"""The list of all views: chosen and sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from online_features.common.instants import from_text
from online_features.errors import OnlineFeaturesError
from online_features.online.read.overview.view_summary import ViewSummary
from online_features.verification.report import SKEW

from online_features_provider.ui.stores import online_store

NONE_YET = timedelta.max  # sorts what has no lag as the greatest


@dataclass(frozen=True, kw_only=True)
class ListedView:
    """A view, and the Redis that holds it."""

    redis_conn_id: str
    summary: ViewSummary

    @property
    def skew(self) -> int | None:
        """How many rows the last verification has found wrong; ``None`` without one."""
        found = self.summary.state.verification if self.summary.state else None
        return None if found is None else sum(found.get(kind) or 0 for kind in SKEW)

    @property
    def last_run_ended(self) -> datetime | None:
        """When the last run ended, by the clock of its machine."""
        return from_text(self.summary.last_run["ended"]) if self.summary.last_run else None

    def is_written_by(self, dag_id: str, task_id: str) -> bool:
        """Return whether the last run was of a task, or the task built or published a generation that Redis lists."""
        known = self.summary.generations.generations if self.summary.generations else ()
        last = self.summary.last_run.get("origin") if self.summary.last_run else None
        origins = [origin for origin in (last, *(each.origin for each in known)) if origin]
        return any((origin.get("dag_id"), origin.get("task_id")) == (dag_id, task_id) for origin in origins)

    @property
    def behind_objective(self) -> float:
        """Lag as a multiple of the objective; 0 without one."""
        lag, objective = self.summary.freshness.lag, self.summary.max_staleness
        return 0.0 if objective is None else float("inf") if lag is None else lag / objective


def _attention(each: ListedView) -> Any:
    return each.summary.condition.urgency, -each.behind_objective, each.summary.name


def _lag(each: ListedView) -> Any:
    return -(each.summary.freshness.lag or NONE_YET)


# What the columns sort by, the first what needs attention first.
ORDERS: dict[str, Callable[[ListedView], Any]] = {
    "attention": _attention,
    "name": lambda each: (each.summary.name, each.summary.project),
    "project": lambda each: (each.summary.project, each.summary.name),
    "lag": _lag,
    "event": lambda each: -(each.summary.freshness.event_lag or NONE_YET),
    "rows": lambda each: -(each.summary.rows or 0),
    "bytes": lambda each: -(each.summary.bytes or 0),
    "run": lambda each: str((each.summary.last_run or {}).get("ended", "")),
    "generation": lambda each: each.summary.generation or "",
    "skew": lambda each: -(each.skew or 0),
}


def read_views(conn_ids: Iterable[str]) -> tuple[list[ListedView], dict[str, str]]:
    """Read the views of all stores.

    :returns: the views, and the errors of stores that cannot be read, by connection.
    """
    views: list[ListedView] = []
    errors: dict[str, str] = {}
    for conn_id in conn_ids:
        try:
            with online_store(conn_id) as store:
                views += (ListedView(redis_conn_id=conn_id, summary=summary) for summary in store.overview())
        except OnlineFeaturesError as error:
            errors[conn_id] = str(error)
    return views, errors


def chosen(views: Iterable[ListedView], *, text: str, condition: str, order: str) -> list[ListedView]:
    """Return the views that match, in an order.

    :param text: that ``project:name`` holds, in upper or lower case.
    :param condition: of the views; any if it is empty.
    :param order: one of :data:`ORDERS`.
    """
    needle = text.strip().lower()
    matching = [
        each
        for each in views
        if needle in str(each.summary).lower() and condition in ("", each.summary.condition.value)
    ]
    return sorted(matching, key=ORDERS.get(order, _attention))


def counts(views: Sequence[ListedView]) -> dict[str, int]:
    """Count views by condition, what needs attention first."""
    conditions = sorted((each.summary.condition for each in views), key=lambda condition: condition.urgency)
    return {condition.value: conditions.count(condition) for condition in conditions}
