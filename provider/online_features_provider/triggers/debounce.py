"""What comes in bursts, gathered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def debounce(
    items: AsyncIterator[T], *, quiet_seconds: float, interval_seconds: float
) -> AsyncGenerator[list[T], None]:
    """Yield what has come whenever it has been quiet for a while, and at most once in an interval.

    A burst that does not end is cut after an interval. What ``items`` raises is raised here.

    :param items: endless.
    """
    clock = asyncio.get_running_loop().time
    coming = asyncio.ensure_future(anext(items))
    earliest = clock()
    try:
        while True:
            burst = [await coming]
            latest = clock() + interval_seconds
            coming = asyncio.ensure_future(anext(items))
            while (left := max(min(quiet_seconds, latest - clock()), earliest - clock())) > 0:
                # Not wait_for: giving up would break off the item that is coming.
                if not (await asyncio.wait({coming}, timeout=left))[0]:
                    break
                burst.append(coming.result())
                coming = asyncio.ensure_future(anext(items))
            yield burst
            earliest = clock() + interval_seconds
    finally:
        coming.cancel()
        await asyncio.wait({coming})
