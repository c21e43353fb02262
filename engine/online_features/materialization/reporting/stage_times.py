"""How long the stages of a transfer are busy: the busiest one limits the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Stage(StrEnum):
    """The stages of a transfer, each of which has threads of its own."""

    POSTGRES = "Postgres"
    ENCODING = "encoding"
    REDIS = "Redis"


class StageTimes:
    """Busy seconds of each stage. A stage that waits for another one is not busy.

    :param clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds = dict.fromkeys(Stage, 0.0)

    @contextmanager
    def busy(self, stage: Stage) -> Iterator[None]:
        """Count the time of the context."""
        began = self._clock()
        try:
            yield
        finally:
            self._seconds[stage] += self._clock() - began

    def each(self, stage: Stage, items: Iterator[T]) -> Iterator[T]:
        """Yield the items, and count the time that making them takes."""
        end = object()
        while True:
            with self.busy(stage):
                item = next(items, end)
            if item is end:
                return
            yield item  # type: ignore[misc]

    def merge(self, other: Mapping[str, float]) -> None:
        """Add the seconds of another process, as :attr:`seconds` of its own."""
        for stage in Stage:
            self._seconds[stage] += other[stage]

    @property
    def seconds(self) -> dict[str, float]:
        """Busy seconds by the name of the stage."""
        return {stage.value: spent for stage, spent in self._seconds.items()}

    def in_words(self, seconds: float) -> str:
        """Name the busiest stage, and the share of the seconds of each."""
        shares = ", ".join(f"{stage} {spent / seconds:.0%}" for stage, spent in self._seconds.items())
        return f"{max(self._seconds, key=self._seconds.__getitem__)} was the limit; busy: {shares} of the time"
