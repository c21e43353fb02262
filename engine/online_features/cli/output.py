"""What the command prints: tables for people, JSON for programs, errors in one line.

Whatever comes from Redis is escaped: neither markup of rich nor control characters of terminals have any effect.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from online_features.common.instants import to_text
from online_features.online.read.view_freshness_check import in_words

WIDE = 100_000  # columns of what is not a terminal: nothing is wrapped or cut off there
GAP = 2  # between two columns
FOLDED = 30  # columns that a text takes at least, when it is told in several lines
LIST_SHOWN = 6  # numbers of an embedding that a terminal shows
NOTHING = "\N{EN DASH}"
KIBI = 1024

# How urgent a state is, as a colour; what is not listed is as usual.
STYLES = {
    "damaged": "bold red", "check failed": "red", "late": "red", "run failed": "yellow", "held": "yellow",
    "building": "cyan", "fresh": "green", "present": "green", "unreadable": "bold red", "expired": "yellow",
    "success": "green", "skipped": "yellow", "published": "green", "refused": "red", "failed": "red", "ok": "green",
    "missing": "red", "problem": "red", "unknown": "yellow",
}  # fmt: skip


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", *, folding: int = 1) -> None:
    """Print a table without its empty columns; numbers are at the right, and a cell that is a state has a colour.

    :param folding: how many of the last columns take several lines where the terminal is too narrow. Where that is not
        enough, the terminal itself wraps lines, so nothing is cut off.
    """
    cells = [list(map(cell, row)) for row in rows]
    shown = [i for i in range(len(columns)) if not cells or any(line[i].plain not in ("", NOTHING) for line in cells)]
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    widths = []
    for i in shown:
        is_number, may_fold = any(line[i].justify == "right" for line in cells), i >= len(columns) - folding
        width = max(map(cell_len, (columns[i], *(line[i].plain for line in cells))))
        widths.append(min(width, FOLDED) if may_fold else width)
        justify: JustifyMethod = "right" if is_number else "left"
        table.add_column(Text(columns[i]), overflow="fold", min_width=widths[-1], no_wrap=not may_fold, justify=justify)
    for line in cells:
        table.add_row(*(line[i] for i in shown))
    _print(table, title, sum(widths) + GAP * len(widths))


def print_facts(facts: Mapping[str, Any], title: str = "") -> None:
    """Print names and values, one pair a line; what is ``None`` is left out."""
    table = Table.grid(padding=(0, GAP))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            found = cell(value)
            found.justify = "left"
            table.add_row(Text(escaped(name), style="dim"), found)
    _print(table, title)


def print_line(line: str) -> None:
    """Print a line."""
    _console().print(Text(escaped(line)), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON; see :func:`plain`."""
    typer.echo(json.dumps(plain(value), indent=2, allow_nan=False))


def tell(line: str) -> None:
    """Print a line for the person on stderr, whatever stdout is for."""
    typer.echo(escaped(line), err=True)


def tell_error(message: str) -> None:
    """Print an error on stderr, in one line."""
    tell(f"Error: {in_one_line(message)}")


def lines(message: str) -> Text:
    """Return a message as a cell of several lines, if it has them."""
    return Text("\n".join(map(escaped, message.splitlines())))


def number(words: str) -> Text:
    """Return a number that has its form already, as a cell."""
    return Text(words, justify="right")


def in_one_line(message: str) -> str:
    """Return a message without line breaks."""
    return " ".join(message.split())


def cell(value: Any) -> Text:
    """Return a value as a cell of a table."""
    if isinstance(value, Text):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        words = value_text(value)
        return Text(words, style=STYLES.get(words, ""))
    return Text(f"{value:,}", justify="right")


def value_text(value: Any) -> str:
    """Return a value for people: times in UTC, durations as clocks, everything else as JSON would have it."""
    match value:
        case None:
            return NOTHING
        case str():
            return escaped(value)
        case bool():
            return "true" if value else "false"
        case datetime():
            return to_text(value)[:19].replace("T", " ") if value.tzinfo else value.isoformat(sep=" ")
        case timedelta():
            return in_words(value)
        case list() | tuple() | dict():
            return _document_text(value)
        case _:
            return escaped(str(plain(value)))


def value_cell(value: Any) -> Text:
    """Return a feature's value as a cell: exactly, and NULL told from a text."""
    match value:
        case None:
            return Text("NULL", style="dim")
        case list() | tuple() | dict():
            return Text(_document_text(value))
        case timedelta():
            return Text(str(value))
        case _:
            return Text(escaped(str(plain(value))))


def size_cell(size: int | None) -> Text | None:
    """Return a number of bytes as a cell; ``None`` if it is unknown."""
    return None if size is None else number(size_text(size))


def size_text(size: int) -> str:
    """Return a number of bytes for people."""
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < KIBI:
            break
        amount, unit = amount / KIBI, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def plain(value: Any) -> Any:
    """Return a value as values that JSON has.

    Instants are ISO-8601 in UTC, durations seconds, exact numbers texts, bytes Base64; numbers that are not finite are
    ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
    """
    match value:
        case None | bool() | str() | int():
            return value.value if isinstance(value, Enum) else value
        case float():
            return value if math.isfinite(value) else json.dumps(value)
        case datetime():
            return to_text(value) if value.tzinfo else value.isoformat()
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case Mapping():
            return {str(name): plain(each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(each) for each in value]
        case Decimal():
            return str(value)
        case _:
            return str(value)


def escaped(words: str) -> str:
    """Return a text without control characters, of which terminals make what a view's rows should not decide."""
    if words.isprintable():
        return words
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in words)


def _document_text(value: Any) -> str:
    found = plain(value)
    if isinstance(found, list) and len(found) > LIST_SHOWN and _console().is_terminal:
        shown = ", ".join(json.dumps(each, ensure_ascii=False) for each in found[:LIST_SHOWN])
        return escaped(f"[{shown}, … {len(found):,} in all]")
    return escaped(json.dumps(found, ensure_ascii=False))


def _print(table: Table, title: str, least_width: int = 0) -> None:
    """Print a table below its title; lines end where their text does.

    :param least_width: of the table; where the terminal is narrower, it wraps lines.
    """
    console = _console()
    if least_width > console.width:
        console = _console(least_width)
    with console.capture() as captured:
        if title:
            console.print(Text(escaped(title), style="bold"), soft_wrap=True)
        console.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip(), color=console.is_terminal)


def _console(width: int | None = None) -> Console:
    """Return the console of what stdout is now.

    :param width: by default that of the terminal; anything else is as wide as need be.
    """
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    return console if console.is_terminal or width else _console(WIDE)
