"""Stages of a pipeline that overlap, with bounded queues between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """Yield ``items`` while a thread makes up to ``depth`` further ones.

    An exception in ``items`` is raised here, in its place. Leaving early waits for the item being made.
    """
    end = object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = deque(thread.submit(next, items, end) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not end:
                coming.append(thread.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            thread.shutdown(cancel_futures=True)
