"""A bound on the time that a run or a push spends on attempts after failures."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from online_features.common.backoff import Backoff
from online_features.common.log_lines import say
from online_features.errors import OptionError

T = TypeVar("T")

RETRY_FOR = timedelta(minutes=1)  # a failover by Sentinel takes half a minute with its default settings

BACKOFF = Backoff(base=0.2, longest=10.0, jitter=1.0)

log = logging.getLogger(__name__)


class RetryBudget:
    """A budget of time for attempts that follow failures, shared by everything that one run attempts.

    The time-outs of the client and of the connection bound a single attempt.

    :param retry_for: how long all such attempts, and the pauses before them, may take together; zero gives up at once.
    :ivar is_given: whether it is above zero.
    :raises OptionError: when it is negative or not a timedelta.
    """

    def __init__(self, retry_for: timedelta) -> None:
        if not isinstance(retry_for, timedelta) or retry_for < timedelta(0):
            raise OptionError(f"retry_for={retry_for!r} must be a timedelta, and not negative; zero gives up at once")
        self.is_given = retry_for > timedelta(0)
        self._left = retry_for.total_seconds()

    @property
    def left(self) -> timedelta:
        """The time that may still be spent on retries."""
        return timedelta(seconds=self._left)

    def lower(self, left: timedelta) -> None:
        """Take account of what another process has spent of the budget.

        :param left: what that process has left of it.
        """
        self._left = min(self._left, left.total_seconds())

    def attempt(self, do: Callable[[], T], is_passing: Callable[[BaseException], bool]) -> T:
        """Call ``do`` until it succeeds, a failure is not passing, or the budget is spent.

        :param is_passing: whether a failure may pass by itself.
        :returns: what ``do`` returns.
        :raises Exception: the last failure, as it was raised.
        """
        failures, deadline = 0, math.inf
        try:
            while True:
                try:
                    return do()
                except Exception as failure:
                    failures += 1
                    deadline = min(deadline, time.monotonic() + self._left)
                    left = self._spend_until(deadline)
                    if left <= 0 or not is_passing(failure):
                        raise
                    pause = min(BACKOFF.delay(failures - 1, random.random()), left)  # noqa: S311 - no secret
                    say(log.warning, f"Attempt {failures} failed: {failure}")
                    log.warning("Trying again in %.1f s, for %.0f s at most", pause, left)
                time.sleep(pause)
        finally:
            self._spend_until(deadline)

    def _spend_until(self, deadline: float) -> float:
        """Return what is left of the budget, of which nested attempts may have spent a part already."""
        self._left = max(0.0, min(self._left, deadline - time.monotonic()))
        return self._left
