"""Work in other threads: overlapping stages of a pipeline, and waits that a signal can end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
Made = TypeVar("Made")

CANCEL_SECONDS = 0.5  # between two requests to cancel, because the first may come before the work has begun


def prefetch(items: Iterator[T], depth: int, cancel: Callable[[], None] = lambda: None) -> Generator[T, None, None]:
    """Yield ``items`` while a thread makes up to ``depth`` further ones.

    An exception in ``items`` is raised where its item would be. Leaving early waits for the item in progress.

    :param cancel: called to shorten the item in progress when an exception, or leaving early, ends the stage.
    """
    end = object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = deque(thread.submit(next, items, end) for _ in range(depth))
        try:
            while (item := coming[0].result()) is not end:
                coming.popleft()
                coming.append(thread.submit(next, items, end))
                yield item  # type: ignore[misc]
        except BaseException:
            thread.shutdown(wait=False, cancel_futures=True)
            _hasten(coming, cancel)
            raise


def made_ahead(make: Callable[[T], Made], items: Iterator[T]) -> Generator[Made, None, None]:
    """Yield ``make(item)`` for each item, while a thread makes the next one.

    The items themselves are read in the caller's thread, to which a cursor or a session may be bound.
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


def interruptibly(make: Callable[[], Made], cancel: Callable[[], None]) -> Made:
    """Call ``make`` in a thread and return its result, so that a signal handler can raise meanwhile.

    While a driver waits in C for its server, Python handles no signals: neither time-outs nor kills would end the wait.

    :param cancel: called to shorten the call when an exception ends the wait.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        making = thread.submit(make)
        try:
            return making.result()
        except BaseException:
            _hasten([making], cancel)
            raise


def run_with_timeout(do: Callable[[], object], seconds: float) -> None:
    """Call something that may hang, and wait a limited time for it; its thread does not keep the process alive."""
    thread = Thread(target=do, daemon=True)
    thread.start()
    thread.join(seconds)


def _hasten(futures: Iterable[Future[Any]], cancel: Callable[[], None]) -> None:
    while unfinished := [future for future in futures if not future.done()]:
        cancel()
        wait(unfinished, CANCEL_SECONDS)
