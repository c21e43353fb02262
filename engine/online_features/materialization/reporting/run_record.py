"""The record of a run in the view's run history."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from online_features.checks.check import CheckResult
from online_features.common.instants import to_text
from online_features.counters import RowCounts
from online_features.errors import OnlineFeaturesError
from online_features.materialization.planning.plan import Plan
from online_features.materialization.reporting.progress import RunCounter
from online_features.statistics.view_statistics import ViewStatistics

ERROR_CHARACTERS = 1000  # of an error's message: enough for the problem and its cure
SHARE_DIGITS = 4  # of a share of NULLs
LOGIN_IN_URL = re.compile(r"://[^@/\s]*@")


class RunRecord:
    """Makes the record of one attempt to run; docs/keyspace.md lists its fields.

    :param origin: what started the run.
    :param run_id: of the attempt, if another process has begun it; and when it did.
    :ivar run_id: of the attempt.
    :ivar is_failed: whether :meth:`failed` has made the record.
    :ivar checks: results of the checks that have judged its rows.
    """

    def __init__(
        self, origin: Mapping[str, str | int] | None, *, run_id: str = "", began: datetime | None = None
    ) -> None:
        self.run_id = run_id or uuid.uuid4().hex
        self.is_failed = False
        self.checks: Sequence[CheckResult] = ()
        self._statistics: ViewStatistics | None = None
        self._origin = dict(origin or {})
        self._began = began or datetime.now(UTC)
        self._watermark: datetime | None = None
        self._plan: dict[str, str | float | None] = {"kind": None, "start": None, "end": None}
        self._counter: RunCounter | None = None

    def note(self, plan: Plan, counter: RunCounter, watermark: datetime | None, **circumstances: str | float) -> None:
        """Note what the attempt is about to do.

        :param counter: of its rows.
        :param watermark: of the view, before the attempt.
        :param circumstances: further fields of the record.
        """
        start, end = (to_text(bound) if bound else None for bound in (plan.window.start, plan.end))
        self._plan = {"kind": plan.kind, "start": start, "end": end, **circumstances}
        self._counter, self._watermark = counter, watermark

    def note_findings(self, statistics: ViewStatistics, checks: Sequence[CheckResult]) -> None:
        """Note what the attempt has found in its rows."""
        self._statistics, self.checks = statistics, checks

    def succeeded(self) -> dict[str, Any]:
        """Return the record of a success; the commit adds the watermark."""
        return self._record("success")

    def skipped(self) -> dict[str, Any]:
        """Return the record of an attempt that did nothing, because the view is held."""
        return {**self._record("skipped"), "watermark": None}

    def failed(self, error: BaseException) -> dict[str, Any]:
        """Return the record of an attempt that ended with an error."""
        self.is_failed = True
        watermark = to_text(self._watermark) if self._watermark else None
        return {**self._record(type(error).__name__), "error": _error_text(error), "watermark": watermark}

    def _record(self, outcome: str) -> dict[str, Any]:
        ended = datetime.now(UTC)
        return {
            "began": to_text(self._began),
            "ended": to_text(ended),
            "run_id": self.run_id,
            "outcome": outcome,
            **self._plan,
            "seconds": round((ended - self._began).total_seconds(), 3),
            **asdict(self._counter.counts if self._counter else RowCounts()),
            "entities_pruned": self._counter.entities_pruned if self._counter else 0,
            **self._findings(),
            "origin": self._origin,
        }

    def _findings(self) -> dict[str, Any]:
        """Return shares of NULLs and results of checks, as far as there are any."""
        features = self._statistics.features if self._statistics else {}
        shares = {name: round(found.null_share, SHARE_DIGITS) for name, found in features.items() if found.nulls}
        checks = [check.to_dict() for check in self.checks]
        return {**({"null_shares": shares} if shares else {}), **({"checks": checks} if checks else {})}


def _error_text(error: BaseException) -> str:
    """Return the message of our own error; of any other only its name, because its message may hold a secret."""
    if not isinstance(error, OnlineFeaturesError):
        return type(error).__name__
    return LOGIN_IN_URL.sub("://***@", str(error))[:ERROR_CHARACTERS]
