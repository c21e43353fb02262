"""Items in lists of a bounded length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of up to ``size`` (``itertools.batched`` needs Python 3.12)."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
