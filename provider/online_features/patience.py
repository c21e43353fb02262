"""How long one run, or one push, tries again when stores are away: all such attempts together are bounded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from online_features.errors import OptionError

T = TypeVar("T")

RETRY_FOR = timedelta(minutes=1)  # a failover by Sentinel takes half a minute with its default settings

FIRST_PAUSE = 0.2  # seconds at most, doubled from attempt to attempt; pauses are random below that
LONGEST_PAUSE = 10.0  # seconds
BACKOFF = wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)

log = logging.getLogger(__name__)


class Patience:
    """A budget of time for attempts that follow failures, shared by all that one run attempts.

    How long a single attempt may hang is for the time-outs of the client and of the connection.

    :param retry_for: how long all such attempts, and the pauses before them, may take together; zero gives up at once.
    :raises OptionError: when that is negative.
    """

    def __init__(self, retry_for: timedelta) -> None:
        if retry_for < timedelta(0):
            raise OptionError(f"retry_for={retry_for!r} must not be negative; zero gives up at once")
        self._left = retry_for.total_seconds()

    def attempt(self, do: Callable[[], T], is_passing: Callable[[BaseException], bool]) -> T:
        """What ``do`` returns, attempted again while its failures are passing and the budget lasts.

        :raises Exception: the last failure, as it was raised.
        """
        deadline: float | None = None

        def left() -> float:
            # Counted from the first failure on. Attempts may be part of another one: what they have used up is gone.
            nonlocal deadline
            deadline = deadline or time.monotonic() + self._left
            self._left = min(self._left, max(0.0, deadline - time.monotonic()))
            return self._left

        try:
            return Retrying(
                retry=retry_if_exception(is_passing),
                wait=lambda state: min(BACKOFF(state), left()),
                stop=lambda _: left() <= 0,
                before_sleep=lambda state: _tell(state, left()),
                reraise=True,
            )(do)
        finally:
            if deadline is not None:
                left()


def _tell(state: RetryCallState, left: float) -> None:
    failure = state.outcome.exception() if state.outcome else None
    log.warning(
        "Attempt %d failed: %s (again in %.1f s, for %.0f s at most)",
        state.attempt_number, failure, state.upcoming_sleep, left,
    )  # fmt: skip


NONE = Patience(timedelta(0))
