"""Stages of a pipeline that overlap, with bounded queues between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
Made = TypeVar("Made")


def ahead(items: Iterator[T], depth: int, cancel: Callable[[], None] = lambda: None) -> Generator[T, None, None]:
    """Yield ``items`` while a thread makes up to ``depth`` further ones.

    An exception in ``items`` is raised here, in its place. Leaving early waits for the item being made.

    :param cancel: called when an exception, or leaving early, ends the stage: it hastens the item being made.
    """
    end = object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = deque(thread.submit(next, items, end) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not end:
                coming.append(thread.submit(next, items, end))
                yield item  # type: ignore[misc]
        except BaseException:
            cancel()
            raise
        finally:
            thread.shutdown(cancel_futures=True)


def made_ahead(make: Callable[[T], Made], items: Iterator[T]) -> Generator[Made, None, None]:
    """Yield what ``make`` makes of each item, while a thread makes it of the next one.

    The items are drawn in the caller's thread, to which they may be bound: a cursor, a session.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming: Future[Made] | None = None
        for item in items:
            following = thread.submit(make, item)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()
