"""A check of how fresh a feature view is, by the state that Redis keeps beside its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, get_args

from online_features.common.instants import to_text
from online_features.errors import OnlineDataError, WindowError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.online.read._state_query import read_freshness
from online_features.online.read._view_cache import ViewCache
from online_features.online.read.freshness import Freshness, describe_gaps
from online_features.online.redis.conversation import Conversation, together
from online_features.online.redis.redis_failures import ResponseError
from online_features.resp.commands import CommandForm
from online_features.resp.replies import text
from online_features.window import NEEDS_BOUND, aware

Failure: TypeAlias = OnlineDataError | ResponseError  # of one view, whose state this package has not written
Measure = Literal["watermark", "event_timestamp"]
SEE_LAST_RUN = " -> see the log of the view's last run for what holds the view back"
NAMES_SHOWN = 3  # of views with a similar name, in a message


@dataclass(frozen=True, kw_only=True)
class FreshnessResult:
    """The result of a freshness check.

    :param kind: ``"fresh"``; ``"stale"``, which the next run or push may change; or ``"absent"``: Redis does not hold
        the view, or nothing of it that the check can measure.
    :param message: what was found, what is required, and the cure if there is one.
    :param measured: numbers and instants by name, as JSON can hold them.
    """

    kind: Literal["fresh", "stale", "absent"]
    message: str
    measured: Mapping[str, Any]

    @property
    def is_fresh(self) -> bool:
        """Whether the check has passed."""
        return self.kind == "fresh"


@dataclass(frozen=True, kw_only=True)
class ViewStatus:
    """The freshness of a feature view, and the names of other views if Redis does not hold it.

    :param known_ids: ``<project>:<view>`` of all views in Redis, if the view is not among them; otherwise ``None``.
    """

    freshness: Freshness
    known_ids: frozenset[str] | None


@dataclass(frozen=True, kw_only=True)
class ViewFreshnessCheck:
    """How fresh a feature view must be.

    :param max_staleness: the greatest lag, now minus what is measured; that of the view if no bound is given.
    :param at_least: an aware datetime; what is measured must have reached it.
    :param measure: ``"watermark"``, or ``"event_timestamp"``: the newest that was materialized or pushed.
    :raises WindowError: when there is no bound, or a bound or the measure is invalid.
    """

    view: FeatureView
    max_staleness: timedelta | None = None
    at_least: datetime | None = None
    measure: Measure = "watermark"

    def __post_init__(self) -> None:
        if self.max_staleness is None and self.at_least is None:
            if self.view.max_staleness is None:
                raise WindowError(NEEDS_BOUND)
            object.__setattr__(self, "max_staleness", self.view.max_staleness)
        check_staleness(self.max_staleness)
        if self.at_least is not None:
            object.__setattr__(self, "at_least", aware("at_least", self.at_least))
        if self.measure not in get_args(Measure):
            raise WindowError(f"measure={self.measure!r} is unknown: choose one of {', '.join(get_args(Measure))}")

    def ask(self, views: ViewCache, now: datetime, primaries: int) -> Conversation[FreshnessResult]:  # noqa: ARG002
        """Read the status of the view, and evaluate it."""
        (status,) = yield from read_statuses([self.view], now)
        if isinstance(status, Exception):
            raise status
        return self.evaluate(status)

    def evaluate(self, status: ViewStatus) -> FreshnessResult:
        """Compare the status of the view with what is required."""
        fresh = status.freshness
        measured = _measured(fresh)
        if status.known_ids is not None:
            return _absence(self.view, status.known_ids, measured)
        by_watermark = self.measure == "watermark"
        instant = fresh.watermark if by_watermark else fresh.max_event_timestamp
        if instant is None:
            kind, message = self._unmeasurable(fresh)
            return FreshnessResult(kind=kind, message=message, measured=measured)
        lag = fresh.now - instant
        is_stale = self.max_staleness is not None and lag > self.max_staleness
        is_behind = self.at_least is not None and instant < self.at_least
        what = "watermark" if by_watermark else "newest event timestamp"
        return FreshnessResult(
            kind="stale" if is_stale or is_behind else "fresh",
            message=f"feature view {self.view.name!r}: its {what} {to_text(instant)} lags {in_words(lag)} behind; "
            f"required: {self._required()}" + (_cure(fresh) if is_stale or is_behind else ""),
            measured=measured,
        )

    def _unmeasurable(self, fresh: Freshness) -> tuple[Literal["stale", "absent"], str]:
        name = f"feature view {self.view.name!r}"
        if fresh.is_materialized and self.measure == "watermark":
            return "stale", (
                f"{name} has no watermark: it was materialized only in windows, which leave out the rows before "
                "them -> run it once with window='incremental'"
            )
        if fresh.is_materialized:
            return "stale", f"{name} was materialized, but its source has had no rows yet, or only rows in the future"
        if fresh.max_event_timestamp is not None:
            return "absent", (
                f"{name} was never materialized, only pushed to -> materialize it, or give the check "
                "measure='event_timestamp'"
            )
        return "stale", f"{name} was never materialized: a run of it has begun, but none has ended yet"

    def _required(self) -> str:
        bounds = []
        if self.max_staleness is not None:
            bounds.append(f"a lag of at most {in_words(self.max_staleness)}")
        if self.at_least is not None:
            bounds.append(f"at least {to_text(self.at_least)}")
        return " and ".join(bounds)


def read_statuses(views: Sequence[FeatureView], now: datetime) -> Conversation[list[ViewStatus | Failure]]:
    """Read the statuses of views, in two round trips if Redis holds them all; a failure affects its view only."""
    freshness = yield from together([_settled(read_freshness(view, now)) for view in views])
    known_ids: frozenset[str] | ResponseError = frozenset()
    if any(isinstance(fresh, Freshness) and _is_blank(fresh) for fresh in freshness):
        (reply,) = yield [(CommandForm("SMEMBERS"), keyspace.VIEWS_KEY)]
        known_ids = reply if isinstance(reply, ResponseError) else frozenset(map(text, reply))
    return [_status(view, fresh, known_ids) for view, fresh in zip(views, freshness, strict=True)]


def _cure(fresh: Freshness) -> str:
    missing = describe_gaps(fresh.gaps)
    return f"; {missing} -> materialize these windows" if missing else SEE_LAST_RUN


def _absence(view: FeatureView, known_ids: frozenset[str], measured: Mapping[str, Any]) -> FreshnessResult:
    """Return the result for a view that Redis does not hold: a wrong name, or a wrong or emptied Redis."""
    if not known_ids:
        message = (
            f"feature view {view.name!r}: this Redis holds no feature view at all -> it was flushed or is "
            "new: materialize the view; or the connection leads to the wrong server or database"
        )
        return FreshnessResult(kind="absent", message=message, measured=measured)
    near = get_close_matches(keyspace.view_id(view), known_ids, n=NAMES_SHOWN)
    others = f"similar names: {', '.join(map(repr, near))}" if near else f"it holds {len(known_ids)} other views"
    message = (
        f"feature view {view.name!r} of project {view.project!r} is unknown to this Redis ({others}) -> check name and "
        "project, or materialize the view"
    )
    return FreshnessResult(kind="absent", message=message, measured=measured)


def check_staleness(max_staleness: timedelta | None) -> None:
    """Validate the parameter.

    :raises WindowError: when it is not a timedelta, or negative.
    """
    if max_staleness is not None and not (isinstance(max_staleness, timedelta) and max_staleness >= timedelta(0)):
        raise WindowError(f"max_staleness={max_staleness!r} must be a timedelta that is not negative")


def in_words(duration: timedelta) -> str:
    """Format a duration: in whole seconds, or in milliseconds if it is shorter than one second."""
    if timedelta(0) < duration < timedelta(seconds=1):
        return f"{duration // timedelta(milliseconds=1)} ms"
    return str(duration - timedelta(microseconds=duration.microseconds))


def _status(
    view: FeatureView,
    fresh: Freshness | Failure,
    known_ids: frozenset[str] | ResponseError,
) -> ViewStatus | Failure:
    if isinstance(fresh, Exception):
        return fresh
    if not _is_blank(fresh):
        return ViewStatus(freshness=fresh, known_ids=None)
    if isinstance(known_ids, ResponseError):
        return known_ids
    # A view whose first run is still writing is known, but has no state yet.
    return ViewStatus(freshness=fresh, known_ids=None if keyspace.view_id(view) in known_ids else known_ids)


def _settled(conversation: Conversation[Freshness]) -> Conversation[Freshness | Failure]:
    """Return the result of a conversation, or its failure."""
    try:
        return (yield from conversation)
    except (OnlineDataError, ResponseError) as error:
        return error


def _is_blank(fresh: Freshness) -> bool:
    return not fresh.is_materialized and fresh.max_event_timestamp is None


def _measured(fresh: Freshness) -> dict[str, Any]:
    measured = {
        "lag_seconds": None if fresh.lag is None else fresh.lag.total_seconds(),
        "event_lag_seconds": None if fresh.event_lag is None else fresh.event_lag.total_seconds(),
        "watermark": None if fresh.watermark is None else to_text(fresh.watermark),
        "max_event_timestamp": None if fresh.max_event_timestamp is None else to_text(fresh.max_event_timestamp),
    }
    return {name: value for name, value in measured.items() if value is not None}
