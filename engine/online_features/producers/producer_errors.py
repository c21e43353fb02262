"""Rows drawn from a producer's own code, whose failures are not those of our stores, even of the same drivers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Drawn = TypeVar("Drawn")

NOTE = "(raised by what gives the rows, not by the stores that they go to)"


def drawn(rows: Iterable[Drawn]) -> Iterator[Drawn]:
    """The rows; an error that drawing them raises is noted as the producer's."""
    try:
        yield from rows
    except Exception as error:
        error.add_note(NOTE)
        raise


def is_producers(error: Exception) -> bool:
    """Whether the error was raised while rows were drawn."""
    return NOTE in getattr(error, "__notes__", ())
