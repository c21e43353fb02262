"""How often to look again, and how often to say so."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_REPEAT = 600.0  # seconds until the log repeats what has not changed; twice as long after each time
LONGEST_SILENCE = 3600.0  # seconds; a log that is silent for longer looks dead
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


class LogThrottle:
    """Says when a wait is worth a line in the log: when it changes its kind, and then less and less often."""

    def __init__(self) -> None:
        self._kind: str | None = None
        self._silence = FIRST_REPEAT
        self._next = 0.0

    def is_due(self, kind: str, now: float) -> bool:
        """Whether to say it now.

        :param kind: of what is to be said.
        :param now: seconds on a clock that only moves forward.
        """
        if kind == self._kind and now < self._next:
            return False
        self._silence = min(self._silence * 2, LONGEST_SILENCE) if kind == self._kind else FIRST_REPEAT
        self._kind, self._next = kind, now + self._silence
        return True
