"""Measured figures: kept as JSON lines, and their medians."""

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
    """One part's figures.

    :param context: machine, versions, settings and date.
    """

    context: Record
    records: list[Record]

    def where(self, **wanted: Any) -> list[Record]:
        """The records with these values."""
        return [record for record in self.records if wanted.items() <= record.items()]

    def values(self, field: str, **wanted: Any) -> list[Any]:
        """What the field can be, in the order of appearance, among the records with these values."""
        return list(dict.fromkeys(record[field] for record in self.where(**wanted) if field in record))

    def median(self, field: str, **wanted: Any) -> float | None:
        """The median over rounds; ``None`` where nothing was measured."""
        values = [record[field] for record in self.where(**wanted) if record.get(field) is not None]
        return median(values) if values else None


def keep(path: Path, context: Record, records: Iterable[Record]) -> Iterator[Record]:
    """Pass records on and write them down one by one, so that a benchmark that is broken off leaves what it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lines:
        print(json.dumps({"context": context}), file=lines, flush=True)
        for record in records:
            print(json.dumps(record), file=lines, flush=True)
            yield record


def read(path: Path) -> Results | None:
    """What was measured, if anything was."""
    if not path.exists():
        return None
    first, *rest = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return Results(first["context"], rest) if rest else None
