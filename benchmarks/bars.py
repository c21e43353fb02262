"""Bars: limits that measured figures must keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.contenders import FEAST, REDIS_ALONE
from benchmarks.parts.scaling import FULL
from benchmarks.results import Results

MEBIBYTE = 2**20
Parts = Mapping[str, Results]


@dataclass(frozen=True)
class Bar:
    """A figure and its limit.

    :param measured: returns the figure, or ``None`` if a part of it was not measured.
    :param at_least: whether greater is better.
    """

    what: str
    limit: float
    measured: Callable[[Parts], float | None]
    at_least: bool = False
    unit: str = ""

    def in_words(self) -> str:
        """Return the limit as text."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:,.10g}{self.unit}"

    def holds(self, figure: float) -> bool:
        """Return whether the figure keeps the limit."""
        return figure >= self.limit if self.at_least else figure <= self.limit


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def _median(parts: Parts, part: str, field: str, **wanted: object) -> float | None:
    return parts[part].median(field, **wanted) if part in parts else None


def _full(parts: Parts, contender: str) -> float | None:
    return _median(parts, "reference", "seconds", contender=contender)


def _mebibytes(parts: Parts) -> float | None:
    return _ratio(_median(parts, "reference", "peak_bytes", contender="ours, hash"), MEBIBYTE)


def _memory_growth(parts: Parts) -> float | None:
    def peak(entities: int) -> float | None:
        return _median(parts, "scaling", "peak_bytes", sweep="entities", value=entities, contender="ours, hash")

    return _ratio(peak(10_000_000), peak(1_000_000))


def _increment(parts: Parts) -> float | None:
    def seconds(value: str | float) -> float | None:
        return _median(parts, "scaling", "seconds", sweep="changed", value=value)

    changed, nothing, full = seconds(0.01), seconds(0.0), seconds(FULL)
    if changed is None or nothing is None or full is None:
        return None
    return (changed - nothing) / (full - nothing)


def _depth(parts: Parts) -> float | None:
    def seconds(depth: int) -> float | None:
        return _median(parts, "scaling", "seconds", sweep="history", value=depth)

    return _ratio(seconds(100), seconds(5))


def _records_per_second(parts: Parts) -> float | None:
    scaling = parts.get("scaling")
    if scaling is None or not (entities := scaling.values("entities", sweep="record")):
        return None
    return _ratio(entities[0], scaling.median("seconds", sweep="record", contender="ours, hash"))


def _reading(parts: Parts) -> float | None:
    def p50(contender: str) -> float | None:
        return _median(parts, "reading", "p50", keys=100, contender=contender)

    return _ratio(p50(FEAST), p50("ours, hash"))


def _import(parts: Parts) -> float | None:
    if "imports" not in parts:
        return None
    imports = parts["imports"]
    medians = [imports.median("seconds", module=module) or 0.0 for module in imports.values("module")]
    return 1000 * max(medians) if medians else None


def _catalog(parts: Parts) -> float | None:
    catalog = parts.get("catalog")
    if catalog is None or not (sizes := catalog.values("tables")):
        return None
    tables = max(sizes)
    return max(
        catalog.median("seconds", tables=tables, changed=changed) or 0.0 for changed in catalog.values("changed")
    )


BARS = (
    Bar("Feast ÷ ours, full run, layout hash", 16, lambda p: _ratio(_full(p, FEAST), _full(p, "ours, hash")), True),
    Bar("Feast ÷ ours, full run, layout feast", 14, lambda p: _ratio(_full(p, FEAST), _full(p, "ours, feast")), True),
    Bar("ours, hash ÷ `redis-cli --pipe`", 2.0, lambda p: _ratio(_full(p, "ours, hash"), _full(p, REDIS_ALONE))),
    Bar("peak memory of a full run", 300, _mebibytes, unit=" MiB"),
    Bar("peak memory, 10,000,000 ÷ 1,000,000 entities", 1.1, _memory_growth),
    Bar("incremental with 1% changed ÷ full, without what a run costs in itself", 0.05, _increment),
    Bar("history of 100 ÷ 5 rows per entity", 2.0, _depth),
    Bar("records of 1 kB per second", 30_000, _records_per_second, True),
    Bar("reading 100 entities, p50, Feast ÷ ours", 5, _reading, True),
    Bar("import of the slowest module for DAG files", 50, _import, unit=" ms"),
    Bar("increment of up to 3,000 rows beside 5,000 tables of 100 columns", 0.4, _catalog, unit=" s"),
)
