"""Delays between attempts."""

from __future__ import annotations

from dataclasses import dataclass

MOST_DOUBLINGS = 30  # these are years already, and a thousand would overflow a float


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Delays that double up to a bound.

    :param base: the first, in seconds.
    :param longest: the bound, in seconds.
    :param jitter: share of a delay that is random, so that processes that began together do not stay together.
    """

    base: float
    longest: float
    jitter: float = 0.2

    def delay(self, attempt: int, chance: float) -> float:
        """Return the seconds to wait after an attempt, of which the first is 0.

        :param chance: at least 0 and less than 1; the greater, the shorter the delay.
        """
        return min(self.base * 2.0 ** min(attempt, MOST_DOUBLINGS), self.longest) * (1 - self.jitter * chance)
