"""A feature view at a glance: how it is, and what there is of it online."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from online_features.common.instants import from_text
from online_features.errors import ChecksFailedError
from online_features.online.generations.generation_list import GenerationList, GenerationState
from online_features.online.generations.view_state import ViewState
from online_features.online.read.freshness import Freshness, describe_gaps
from online_features.online.read.view_freshness_check import in_words

QUIET_OUTCOMES = ("success", "skipped")  # of runs that did not fail


class Condition(StrEnum):
    """How a feature view is, in the order of what needs attention.

    A view is ``late`` if its lag is above its ``max_staleness``, or if it has one and no watermark.
    """

    DAMAGED = "damaged"
    CHECK_FAILED = "check failed"
    LATE = "late"
    RUN_FAILED = "run failed"
    HELD = "held"
    BUILDING = "building"
    NO_OBJECTIVE = "no objective"
    FRESH = "fresh"

    @property
    def urgency(self) -> int:
        """0 for what needs attention first."""
        return list(Condition).index(self)


@dataclass(frozen=True, kw_only=True)
class ViewSummary:
    """A feature view, as Redis holds it.

    :param state: of the published generation; ``None`` if it is damaged.
    :param generations: with rows, bytes and watermark of each; ``None`` if they are damaged.
    :param last_run: the newest record of its run history; ``None`` if there is none.
    :param damage: what of the view cannot be read, and why; empty if all can.
    """

    project: str
    name: str
    freshness: Freshness
    state: ViewState | None
    generations: GenerationList | None
    last_run: Mapping[str, Any] | None
    damage: str = ""

    def __str__(self) -> str:
        return f"{self.project}:{self.name}"

    @property
    def condition(self) -> Condition:
        """How the view is: the first that holds."""
        return next(self._findings())[0]

    @property
    def reason(self) -> str:
        """Why the view is so, in words."""
        return next(self._findings())[1]

    @property
    def is_late(self) -> bool:
        """Whether the view is behind its objective, whatever else there is to say of it."""
        objective, lag = self.max_staleness, self.freshness.lag
        return objective is not None and (lag is None or lag > objective)

    @property
    def max_staleness(self) -> timedelta | None:
        """The objective of the view, as of its last run."""
        return self.state.max_staleness if self.state else None

    @property
    def generation(self) -> str | None:
        """The published generation."""
        return self.state.generation if self.state else None

    @property
    def rows(self) -> int | None:
        """How many rows the build of the published generation put online."""
        return self.state.rows if self.state else None

    @property
    def bytes(self) -> int | None:
        """How many bytes of Redis all generations take, by the estimates of their builds."""
        sizes = [known.bytes for known in self.generations.generations if known.bytes] if self.generations else []
        return sum(sizes) or None

    def _findings(self) -> Iterator[tuple[Condition, str]]:
        if self.damage:
            yield Condition.DAMAGED, self.damage
        yield from self._failed_checks()
        if self.is_late:
            lag = self.freshness.lag
            lags = "it has no watermark" if lag is None else f"its watermark lags {in_words(lag)} behind"
            objective = f"its objective is {in_words(self.max_staleness or timedelta(0))}"
            yield Condition.LATE, "; ".join([lags, objective, *self._cause_of_lag()])
        yield from self._hindrances()
        if self.max_staleness is None:
            yield Condition.NO_OBJECTIVE, "give it max_staleness=" if self.freshness.is_materialized else self._absence
        yield Condition.FRESH, ""

    def _hindrances(self) -> Iterator[tuple[Condition, str]]:
        """Yield what keeps readers from newer rows, beside failed checks."""
        if self.last_run and self.last_run["outcome"] not in QUIET_OUTCOMES:
            yield Condition.RUN_FAILED, str(self.last_run.get("error", self.last_run["outcome"]))
        if self.generations and self.generations.hold:
            by = self.generations.hold.by
            yield Condition.HELD, "it was rolled back" + (f" by {by}" if by else "") + "; release or publish ends that"
        if self.generations and self.generations.builder:
            yield Condition.BUILDING, f"run {self.generations.builder} is building"

    def _cause_of_lag(self) -> Iterator[str]:
        """Yield why the view is late, if Redis knows: first what a person has to end."""
        found = dict(self._hindrances())
        if Condition.HELD in found:
            yield found[Condition.HELD]
        elif Condition.RUN_FAILED in found:
            yield f"its last run failed: {found[Condition.RUN_FAILED]}"
        elif Condition.BUILDING in found:
            yield found[Condition.BUILDING]
        elif missing := describe_gaps(self.freshness.gaps):
            yield missing
        elif self.last_run and self.max_staleness is not None:
            since = self.freshness.now - from_text(self.last_run["ended"])
            if since > self.max_staleness:
                yield f"its last run ended {in_words(since)} ago"

    @property
    def _absence(self) -> str:
        """Why nothing that a run has read is published."""
        for known in reversed(self.generations.generations if self.generations else ()):
            if known.state == GenerationState.READY:
                return f"nothing of it is published; generation {known.id} is ready"
            if known.state == GenerationState.BUILDING:
                return f"nothing of it is published; the run that built generation {known.id} is gone"
        return "it was never materialized"

    def _failed_checks(self) -> Iterator[tuple[Condition, str]]:
        if self.generations:
            for known in reversed(self.generations.generations):
                if known.state == GenerationState.REFUSED and known.id > self.generations.published:
                    yield Condition.CHECK_FAILED, f"generation {known.id} is not published: {known.failure}"
        if self.last_run and self.last_run["outcome"] == ChecksFailedError.__name__:
            yield Condition.CHECK_FAILED, str(self.last_run.get("error", ""))
