"""Differences between the definition of a feature view and the one whose rows are online, by column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

# Parts of a definition that are lists of columns, and the word for one of them.
COLUMNS = {"entities": "join key", "features": "feature", "timestamps": "column"}
SOURCE = ("table", "query", "timezone")
DURATIONS = ("ttl", "key_ttl")

ARROW, BOTH_WAYS = "→", "↔"


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any], arrow: str = ARROW) -> list[str]:
    """Describe each difference between two definitions, as :func:`.definition` returns them.

    :param arrow: between the old value and the new one.
    """
    parts = [part for part in {**before, **now} if before.get(part) != now.get(part)]
    return [words for part in parts for words in _changes(part, before.get(part), now.get(part), arrow)]


def describe_alternation(
    before: Mapping[str, Any], now: Mapping[str, Any], fingerprint: str, runs: Iterable[Mapping[str, Any]]
) -> str:
    """Describe two definitions that alternate; return an empty text when they do not.

    :param before: the definition whose rows are online.
    :param now: the definition of the run, and its ``fingerprint``.
    :param runs: records of the view's last runs.
    """
    if all(run.get("definition") != fingerprint for run in runs):
        return ""
    return (
        "another DAG or deployment writes this view with a different definition, so each of them rewrites all rows: "
        f"{', '.join(describe_changes(before, now, BOTH_WAYS))} -> give the view one definition"
    )


def _changes(part: str, before: Any, now: Any, arrow: str) -> Iterator[str]:
    if part in COLUMNS:
        yield from _column_changes(part, before or [], now or [], arrow)
    elif part == "source":
        old, new = before or [], now or []
        for name, old_value, new_value in zip(SOURCE, old, new, strict=False):
            if old_value != new_value:
                # A query may be long, and hold values that do not belong in a log.
                changed = "has changed" if name == "query" else _pair(str, old_value, new_value, arrow)
                yield f"{name} {changed}"
        if old[len(SOURCE) :] != new[len(SOURCE) :]:
            yield "other options of the source have changed"
    elif part in DURATIONS:
        yield f"{part} {_pair(_duration, before, now, arrow)}"
    else:
        yield f"{part} {_pair(str, before, now, arrow)}"


def _column_changes(part: str, before: Sequence[Any], now: Sequence[Any], arrow: str) -> Iterator[str]:
    old, new = ({name: " ".join(map(str, form)) for name, *form in columns} for columns in (before, now))
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield f"{COLUMNS[part]} {name!r} removed"
        elif name not in old:
            yield f"{COLUMNS[part]} {name!r} added ({new[name]})"
        elif old[name] != new[name]:
            yield f"{COLUMNS[part]} {name!r}: {old[name]} {arrow} {new[name]}"
    if old == new:
        yield f"order of {part}: {', '.join(old)} {arrow} {', '.join(new)}"


def _pair(in_words: Callable[[Any], str], before: Any, now: Any, arrow: str) -> str:
    old, new = ("none" if value is None else in_words(value) for value in (before, now))
    return f"{old} {arrow} {new}"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=seconds)).removesuffix(", 0:00:00")
