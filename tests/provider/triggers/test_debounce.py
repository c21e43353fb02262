from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import pytest
from online_features_provider.triggers._debounce import debounce

QUIET, INTERVAL = 0.1, 0.5


class Leaping(selectors.DefaultSelector):
    """Leaps to the next deadline of a loop instead of waiting for it: no machine is too slow for such a clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        self.now += 0.0 if ready or timeout is None else timeout
        return ready


class LeapingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._leaping = Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now


def gathered(gaps: Sequence[float], seconds: float) -> list[tuple[int, float]]:
    """Sizes of bursts of items that come after such gaps, and when each burst was yielded."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(_gathered(gaps, seconds))


async def _gathered(gaps: Sequence[float], seconds: float) -> list[tuple[int, float]]:
    async def items() -> AsyncGenerator[int, None]:
        for gap in gaps:
            await asyncio.sleep(gap)
            yield 0
        await asyncio.sleep(3600)

    clock = asyncio.get_running_loop().time
    began, found = clock(), []

    async def collect(stream: AsyncIterator[list[int]]) -> None:
        async for burst in stream:
            found.append((len(burst), clock() - began))  # noqa: PERF401 - so that what came in time stays

    async with aclosing(debounce(items(), quiet_seconds=QUIET, interval_seconds=INTERVAL)) as stream:
        with suppress(TimeoutError):
            await asyncio.wait_for(collect(stream), seconds)
    return found


@pytest.mark.parametrize("gaps, sizes", [
    ([0.0], [1]),
    ([0.0] * 50, [50]),
    ([0.0, 0.8], [1, 1]),
])  # fmt: skip
def test_what_comes_together_is_one_burst(gaps: Sequence[float], sizes: Sequence[int]) -> None:
    assert [size for size, _ in gathered(gaps, 1.5)] == sizes


def test_bursts_keep_their_distance() -> None:
    bursts_at = [at for _, at in gathered([0.0, 0.25], 1.0)]
    assert bursts_at == pytest.approx([QUIET, QUIET + INTERVAL])


def test_a_burst_that_does_not_end_is_cut() -> None:
    cut_at = [at for _, at in gathered([0.05] * 100, 1.8)]
    assert cut_at == pytest.approx([0.05 + INTERVAL, 0.6 + INTERVAL, 1.1 + INTERVAL])  # after the first of each


def test_what_breaks_the_items_breaks_the_bursts() -> None:
    async def items() -> AsyncGenerator[int, None]:
        yield 0
        raise ZeroDivisionError

    async def consume() -> None:
        async for _ in debounce(items(), quiet_seconds=QUIET, interval_seconds=INTERVAL):
            pass

    with pytest.raises(ZeroDivisionError):
        asyncio.run(consume())
