"""The trigger of freshness sensors. A thousand of them cost Redis one round trip a second."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async
from online_features.common.backoff import Backoff
from online_features.common.instants import from_text
from online_features.common.log_lines import say
from online_features.common.log_throttle import LogThrottle
from online_features.errors import TerminalError, TransientError
from online_features.online.read.view_freshness_check import FreshnessResult

from online_features_provider import metrics
from online_features_provider.hooks.connections import with_connection
from online_features_provider.triggers import check_json
from online_features_provider.triggers._shared_store import shared_store

SHORTEST_DELAY = 1.0  # seconds between checks, whatever the interval
SHORTEST_WAIT = 5.0  # seconds for one check even past the deadline: the triggerer may have been down
LONGEST_OUTAGE_DELAY = 60.0  # seconds between attempts while Redis cannot be reached


class FreshnessTrigger(BaseTrigger):
    """Fire once: when a check passes, when it can never pass, or at the deadline.

    The event is ``{"outcome": "fresh" | "failed" | "timeout", "message": …, "measured": …}``. While Redis cannot be
    reached, the trigger keeps trying.

    :param check: from :func:`~online_features_provider.triggers.check_json.dump`.
    :param redis_conn_id: Airflow connection of the online store.
    :param poke_interval: seconds between checks.
    :param longest_interval: the interval doubles after each check, up to this many seconds.
    :param deadline: an instant as text; it stays the same when the triggerer restarts.
    :param fail_fast: whether to fail if the view is not in Redis.
    """

    def __init__(
        self,
        *,
        check: dict[str, Any],
        redis_conn_id: str,
        poke_interval: float,
        longest_interval: float,
        deadline: str,
        fail_fast: bool,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.check = check
        self.redis_conn_id = redis_conn_id
        self.poke_interval = poke_interval
        self.longest_interval = longest_interval
        self.deadline = deadline
        self.fail_fast = fail_fast
        self._log_throttle = LogThrottle()
        self._last_message = "no check has succeeded"

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        names = ("check", "redis_conn_id", "poke_interval", "longest_interval", "deadline", "fail_fast")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Check until the outcome is known, and yield the event."""
        left = from_text(self.deadline) - datetime.now(UTC)
        try:
            async with asyncio.timeout(max(left.total_seconds(), SHORTEST_WAIT)):
                event = await self._wait()
        except TimeoutError:
            event = _event("timeout", self._last_message)
        except TerminalError as error:
            shown = await sync_to_async(with_connection)(error, redis_conn_id=self.redis_conn_id)
            event = _event("failed", str(shown))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> dict[str, Any]:
        check = check_json.load(self.check)
        checks = Backoff(base=max(self.poke_interval, SHORTEST_DELAY), longest=self.longest_interval)
        outages = Backoff(base=SHORTEST_DELAY, longest=LONGEST_OUTAGE_DELAY)
        checked = failed = 0
        async with shared_store(self.redis_conn_id, type(check)) as store:
            while True:
                chance = random.random()  # noqa: S311 - spreads checks in time
                try:
                    result = await store.check(check)
                except TransientError as error:
                    self._report("away", f"connection {self.redis_conn_id!r} (waiting for Redis): {error}")
                    await asyncio.sleep(outages.delay(failed, chance))
                    failed += 1
                    continue
                metrics.emit_measured(check.view, result.measured)
                if result.is_fresh:
                    return _event("fresh", result.message, result)
                if result.kind == "absent" and self.fail_fast:
                    return _event("failed", result.message, result)
                self._report(result.kind, result.message)
                await asyncio.sleep(checks.delay(checked, chance))
                checked, failed = checked + 1, 0

    def _report(self, kind: str, message: str) -> None:
        self._last_message = message
        if self._log_throttle.is_due(kind, time.monotonic()):
            say(self.log.info, message)


def _event(outcome: str, message: str, result: FreshnessResult | None = None) -> dict[str, Any]:
    return {"outcome": outcome, "message": message, "measured": dict(result.measured) if result else {}}
