"""Measured figures, stored as JSON lines, and their medians."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """The figures of one part.

    :param context: machine, versions, settings and date.
    """

    context: Record
    records: list[Record]

    def where(self, **wanted: Any) -> list[Record]:
        """Return the records with these values."""
        return [record for record in self.records if wanted.items() <= record.items()]

    def values(self, field: str, **wanted: Any) -> list[Any]:
        """Return the distinct values of a field in the records with these values, in order of appearance."""
        return list(dict.fromkeys(record[field] for record in self.where(**wanted) if field in record))

    def median(self, field: str, **wanted: Any) -> float | None:
        """Return the median over rounds, or ``None`` if nothing was measured."""
        values = [record[field] for record in self.where(**wanted) if record.get(field) is not None]
        return median(values) if values else None


def keep(path: Path, context: Record, records: Iterable[Record], *, append: bool = False) -> Iterator[Record]:
    """Yield the records and store each at once, so that a benchmark that is stopped keeps what it has.

    :param append: whether to keep what is stored, and its context.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    append = append and path.exists()
    with path.open("a" if append else "w", encoding="utf-8") as lines:
        if not append:
            print(json.dumps({"context": context}), file=lines, flush=True)
        for record in records:
            print(json.dumps(record), file=lines, flush=True)
            yield record


def read(path: Path) -> Results | None:
    """Return the stored results, or ``None`` if there are none."""
    if not path.exists():
        return None
    first, *rest = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return Results(first["context"], rest) if rest else None
