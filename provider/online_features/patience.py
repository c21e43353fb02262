"""How long one run, or one push, waits for stores that are away: its pauses together are bounded."""

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

log = logging.getLogger(__name__)


class Patience:
    """A budget of pauses between attempts, shared by all that one run attempts.

    How long an attempt may hang is for the time-outs of the client and of the connection.

    :param retry_for: of pauses in all; zero gives up at once.
    :raises OptionError: when that is negative.
    """

    def __init__(self, retry_for: timedelta) -> None:
        if retry_for < timedelta(0):
            raise OptionError(f"retry_for={retry_for!r} must not be negative; zero gives up at once")
        self._left = retry_for.total_seconds()
        self._backoff = wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)

    def attempt(self, do: Callable[[], T], is_passing: Callable[[BaseException], bool]) -> T:
        """What ``do`` returns, attempted again while its failures are passing and the budget lasts.

        :raises Exception: the last failure, as it was raised.
        """
        return Retrying(
            retry=retry_if_exception(is_passing),
            wait=lambda state: min(self._backoff(state), self._left),
            stop=lambda _: self._left <= 0,
            sleep=self._pause,
            before_sleep=self._tell,
            reraise=True,
        )(do)

    def _pause(self, seconds: float) -> None:
        self._left -= seconds
        time.sleep(seconds)

    def _tell(self, state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        log.warning(
            "Attempt %d failed: %s (again in %.1f s, for %.0f s at most)",
            state.attempt_number, failure, state.upcoming_sleep, self._left,
        )  # fmt: skip


NONE = Patience(timedelta(0))
