"""A limit on how often a log repeats the same message."""

from __future__ import annotations

FIRST_REPEAT = 600.0  # seconds until the log repeats what has not changed; twice as long after each time
LONGEST_SILENCE = 3600.0  # seconds; a log that is silent for longer looks dead


class LogThrottle:
    """Decides when a wait is worth a line in the log: when its kind changes, and then less and less often."""

    def __init__(self) -> None:
        self._kind: str | None = None
        self._silence = FIRST_REPEAT
        self._next = 0.0

    def is_due(self, kind: str, now: float) -> bool:
        """Return whether to log a line now.

        :param kind: of the wait.
        :param now: seconds on a clock that only moves forward.
        """
        if kind == self._kind and now < self._next:
            return False
        self._silence = min(self._silence * 2, LONGEST_SILENCE) if kind == self._kind else FIRST_REPEAT
        self._kind, self._next = kind, now + self._silence
        return True
