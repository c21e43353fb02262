"""Log messages as short lines, because Airflow's page of a task's log does not wrap them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

LINE = 110  # characters; with Airflow's prefix of some thirty, a line stays below 150


def in_two_lines(message: str) -> str:
    """Put the cure, which follows the last arrow of a message, on a line of its own."""
    if _has_lines(message):
        return message
    what, arrow, cure = message.rpartition(" -> ")
    return f"{what}\n-> {cure}" if arrow else message


def lines(message: str) -> list[str]:
    """Split a message into short lines: the problem, then the cure. One with a table is in short lines already."""
    if _has_lines(message):
        return message.splitlines()
    what, arrow, cure = " ".join(message.split()).rpartition(" -> ")
    parts = (what, f"-> {cure}") if arrow else (cure,)
    return [line for part in parts for line in _short(part)]


def _has_lines(message: str) -> bool:
    """Return whether a message has a table, and its cure on a line of its own."""
    return "\n-> " in message


def _short(part: str) -> list[str]:
    """Break a long part into lines, at semicolons first."""
    clauses = [part] if len(part) <= LINE else part.replace("; ", ";\n").splitlines()
    wrap = textwrap.TextWrapper(LINE, break_long_words=False, break_on_hyphens=False).wrap
    return [line for clause in clauses for line in wrap(clause)] or [""]


def say(write: Callable[[str, str], object], message: str) -> None:
    """Log a message as short lines.

    :param write: logs a line, such as ``log.warning``.
    """
    for line in lines(message):
        write("%s", line)
