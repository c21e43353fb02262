"""Marks errors of a producer's own code: those of our stores may come from the same drivers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

NOTE = "(raised by what gives the rows, not by the stores that they go to)"


def with_noted_errors(rows: Iterable[Item]) -> Iterator[Item]:
    """Iterate over a producer's rows, and mark errors raised meanwhile as the producer's."""
    try:
        yield from rows
    except Exception as error:
        error.add_note(NOTE)
        raise


def is_producers(error: Exception) -> bool:
    """Tell whether the error was raised by a producer's code."""
    return NOTE in getattr(error, "__notes__", ())
