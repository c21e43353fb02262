from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from online_features.concurrency import ahead


def test_items_come_in_order_and_whole() -> None:
    assert list(ahead(iter(range(100)), 3)) == list(range(100))
    assert list(ahead(iter([]), 3)) == []


def test_no_more_than_depth_items_are_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            yield i

    stage = ahead(items(), 2)
    assert next(stage) == 0
    stage.close()
    assert len(made) <= 1 + 2 + 1


def test_an_exception_is_raised_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("broken")

    stage = ahead(items(), 2)
    assert next(stage) == 1
    with pytest.raises(LookupError, match="broken"):
        next(stage)


def test_leaving_early_leaves_no_thread() -> None:
    before = threading.active_count()
    for _ in ahead(iter(range(100)), 2):
        break
    assert threading.active_count() == before
