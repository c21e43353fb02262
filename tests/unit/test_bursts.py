from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from itertools import pairwise

import pytest
from online_features.bursts import bursts

QUIET, INTERVAL = 0.1, 0.5


async def gathered(gaps: Sequence[float], seconds: float) -> list[tuple[int, float]]:
    """Sizes of bursts of items that come after such gaps, and when each burst was yielded."""

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

    async with aclosing(bursts(items(), quiet_seconds=QUIET, interval_seconds=INTERVAL)) as stream:
        with suppress(TimeoutError):
            await asyncio.wait_for(collect(stream), seconds)
    return found


@pytest.mark.parametrize("gaps, sizes", [
    ([0.0], [1]),
    ([0.0] * 50, [50]),
    ([0.0, 0.8], [1, 1]),
])  # fmt: skip
def test_what_comes_together_is_one_burst(gaps: Sequence[float], sizes: Sequence[int]) -> None:
    assert [size for size, _ in asyncio.run(gathered(gaps, 1.5))] == sizes


def test_bursts_keep_their_distance() -> None:
    (_, first), (_, second) = asyncio.run(gathered([0.0, 0.25], 1.0))
    assert QUIET <= first < INTERVAL
    assert second - first >= INTERVAL


def test_a_burst_that_does_not_end_is_cut() -> None:
    found = asyncio.run(gathered([0.05] * 100, 1.8))
    assert len(found) >= 2
    assert all(later - earlier >= INTERVAL for (_, earlier), (_, later) in pairwise(found))


def test_what_breaks_the_items_breaks_the_bursts() -> None:
    async def items() -> AsyncGenerator[int, None]:
        yield 0
        raise ZeroDivisionError

    async def consume() -> None:
        async for _ in bursts(items(), quiet_seconds=QUIET, interval_seconds=INTERVAL):
            pass

    with pytest.raises(ZeroDivisionError):
        asyncio.run(consume())
