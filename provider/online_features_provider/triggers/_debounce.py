"""Debouncing of asynchronous iterators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def debounce(
    items: AsyncIterator[T], *, quiet_seconds: float, interval_seconds: float
) -> AsyncGenerator[list[T], None]:
    """Yield the items of each burst when no item has come for ``quiet_seconds``.

    Bursts are yielded at least ``interval_seconds`` apart, and a longer burst is cut. Errors of ``items`` are raised.

    :param items: an endless iterator.
    """
    clock = asyncio.get_running_loop().time
    pending = asyncio.ensure_future(anext(items))
    earliest = clock()
    try:
        while True:
            burst = [await pending]
            latest = clock() + interval_seconds
            pending = asyncio.ensure_future(anext(items))
            while (left := max(min(quiet_seconds, latest - clock()), earliest - clock())) > 0:
                # Not wait_for: its time-out would cancel the pending anext().
                if not (await asyncio.wait({pending}, timeout=left))[0]:
                    break
                burst.append(pending.result())
                pending = asyncio.ensure_future(anext(items))
            yield burst
            earliest = clock() + interval_seconds
    finally:
        pending.cancel()
        await asyncio.wait({pending})
