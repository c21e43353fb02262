from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from online_features.common.concurrency import interruptibly, made_ahead, prefetch


def test_items_come_in_order_and_whole() -> None:
    assert list(prefetch(iter(range(100)), 3)) == list(range(100))
    assert list(prefetch(iter([]), 3)) == []


def test_no_more_than_depth_items_are_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            yield i

    stage = prefetch(items(), 2)
    assert next(stage) == 0
    stage.close()
    assert len(made) <= 1 + 2 + 1


def test_an_exception_is_raised_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("broken")

    stage = prefetch(items(), 2)
    assert next(stage) == 1
    with pytest.raises(LookupError, match="broken"):
        next(stage)


def test_leaving_early_leaves_no_thread() -> None:
    before = {*threading.enumerate()}
    for _ in prefetch(iter(range(100)), 2):
        break
    assert {*threading.enumerate()} <= before


def test_what_is_made_ahead_comes_in_order_and_its_items_are_drawn_one_ahead_in_the_callers_thread() -> None:
    drawn: list[tuple[int, threading.Thread]] = []

    def items() -> Iterator[int]:
        for i in range(5):
            drawn.append((i, threading.current_thread()))
            yield i

    made = made_ahead(lambda i: (i, threading.current_thread()), items())
    for i, (item, maker) in enumerate(made):
        assert item == i
        assert maker is not threading.current_thread()
        assert len(drawn) <= i + 2
    assert {thread for _, thread in drawn} == {threading.current_thread()}


def test_a_failure_in_making_is_raised_in_its_place() -> None:
    made = made_ahead(lambda i: 1 // (2 - i), iter(range(5)))
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_what_is_made_interruptibly_is_returned_or_raised() -> None:
    assert interruptibly(lambda: 7, pytest.fail) == 7
    with pytest.raises(ZeroDivisionError):
        interruptibly(lambda: 1 // 0, pytest.fail)


def test_a_signal_ends_a_wait_in_another_thread_even_if_the_first_cancel_comes_too_early() -> None:
    cancelled = threading.Semaphore(0)

    def wait_for_second_cancel() -> None:
        signal.setitimer(signal.ITIMER_REAL, 1)  # by when the other thread waits for this one
        cancelled.acquire()
        cancelled.acquire()

    def ring(*_: Any) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, ring)
    try:
        with pytest.raises(TimeoutError):
            interruptibly(wait_for_second_cancel, cancelled.release)
    finally:
        signal.signal(signal.SIGALRM, previous)
