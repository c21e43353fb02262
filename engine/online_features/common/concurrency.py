"""Work in other threads: stages of a pipeline that overlap, and waiting that a signal can end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
Made = TypeVar("Made")

CANCEL_SECONDS = 0.5  # between two requests to cancel, of which the first may come before there is anything to cancel


def prefetch(items: Iterator[T], depth: int, cancel: Callable[[], None] = lambda: None) -> Generator[T, None, None]:
    """Yield ``items`` while a thread makes up to ``depth`` further ones.

    An exception in ``items`` is raised here, in its place. Leaving early waits for the item being made.

    :param cancel: called when an exception, or leaving early, ends the stage: it hastens the item being made.
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


def interruptibly(make: Callable[[], Made], cancel: Callable[[], None]) -> Made:
    """What ``make`` makes, in a thread, so that signals are handled meanwhile and their handlers may raise.

    A driver that waits in C for its server handles no signal: neither time-outs nor kills would end the wait.

    :param cancel: called when an exception ends the wait: it hastens what is being made.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        making = thread.submit(make)
        try:
            return making.result()
        except BaseException:
            _hasten([making], cancel)
            raise


def run_with_timeout(do: Callable[[], object], seconds: float) -> None:
    """Do something that may hang, for at most so long; what goes on longer does not keep the process from ending."""
    thread = Thread(target=do, daemon=True)
    thread.start()
    thread.join(seconds)


def _hasten(futures: Iterable[Future[Any]], cancel: Callable[[], None]) -> None:
    while unfinished := [future for future in futures if not future.done()]:
        cancel()
        wait(unfinished, CANCEL_SECONDS)
