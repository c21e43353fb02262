"""Delays between attempts."""

from __future__ import annotations

from dataclasses import dataclass

JITTER = 0.2  # share of a delay, so that what began together does not stay together
MOST_DOUBLINGS = 30  # more overflow a float, and are years


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Delays that double up to a bound.

    :param base: the first, in seconds.
    :param longest: the bound, in seconds.
    """

    base: float
    longest: float

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds to wait after an attempt, of which the first is 0.

        :param chance: at least 0 and less than 1; the greater, the shorter the delay.
        """
        return min(self.base * 2.0 ** min(attempt, MOST_DOUBLINGS), self.longest) * (1 - JITTER * chance)
