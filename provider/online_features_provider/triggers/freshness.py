"""Freshness, waited for in the triggerer: a thousand waits cost a round trip a second."""

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
from online_features.online.read.freshness_check import CheckResult

from online_features_provider.hooks.connections import named
from online_features_provider.operators import metrics
from online_features_provider.triggers import check_json
from online_features_provider.triggers.shared_store import shared_store

SHORTEST_DELAY = 1.0  # seconds between looks, whatever the interval
SHORTEST_WAIT = 5.0  # seconds in which a trigger looks once though its time is up: the triggerer may have been away
LONGEST_OUTAGE_DELAY = 60.0  # seconds between attempts to reach a Redis that is away


class FreshnessTrigger(BaseTrigger):
    """Fires once: when a check finds what it asks for fresh, when it never will, or when the time is up.

    The event is ``{"outcome": "fresh" | "failed" | "timeout", "message": …, "measured": …}``. While Redis is away, the
    trigger waits for it.

    :param check: from :func:`~online_features_provider.triggers.check_json.dump`.
    :param redis_conn_id: Airflow connection of the online store.
    :param poke_interval: seconds between looks.
    :param longest_interval: seconds up to which that doubles from look to look.
    :param deadline: instant, as text, when the time is up: a triggerer that restarts does not give more.
    :param fail_fast: whether to give up on a view that Redis does not know.
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
        self._last_seen = "nothing was seen of it"

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        names = ("check", "redis_conn_id", "poke_interval", "longest_interval", "deadline", "fail_fast")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire."""
        left = from_text(self.deadline) - datetime.now(UTC)
        try:
            async with asyncio.timeout(max(left.total_seconds(), SHORTEST_WAIT)):
                event = await self._wait()
        except TimeoutError:
            event = _event("timeout", self._last_seen)
        except TerminalError as error:
            told = await sync_to_async(named)(error, redis_conn_id=self.redis_conn_id)
            event = _event("failed", str(told))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> dict[str, Any]:
        check = check_json.load(self.check)
        looks = Backoff(base=max(self.poke_interval, SHORTEST_DELAY), longest=self.longest_interval)
        outages = Backoff(base=SHORTEST_DELAY, longest=LONGEST_OUTAGE_DELAY)
        looked = failed = 0
        async with shared_store(self.redis_conn_id, type(check)) as store:
            while True:
                chance = random.random()  # noqa: S311 - no secret, but a spread
                try:
                    finding = await store.find(check)
                except TransientError as error:
                    self._say("away", f"connection {self.redis_conn_id!r} (waiting for Redis): {error}")
                    await asyncio.sleep(outages.delay(failed, chance))
                    failed += 1
                    continue
                metrics.emit_measured(check.view, finding.measured)
                if finding.is_fresh:
                    return _event("fresh", finding.message, finding)
                if finding.kind == "absent" and self.fail_fast:
                    return _event("failed", finding.message, finding)
                self._say(finding.kind, finding.message)
                await asyncio.sleep(looks.delay(looked, chance))
                looked, failed = looked + 1, 0

    def _say(self, kind: str, message: str) -> None:
        self._last_seen = message
        if self._log_throttle.is_due(kind, time.monotonic()):
            say(self.log.info, message)


def _event(outcome: str, message: str, finding: CheckResult | None = None) -> dict[str, Any]:
    return {"outcome": outcome, "message": message, "measured": dict(finding.measured) if finding else {}}
