"""Bars: limits that measured figures must keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.contenders import DEFAULT, FEAST, IN_PLACE, POSTGRES_ALONE, REDIS_ALONE
from benchmarks.parts.generations import APART, BUILD, QUIET, REMOVAL, SHARED, SWITCH
from benchmarks.parts.processes import HEAVY, IN_PARTS, PLAIN
from benchmarks.parts.quality import UNMEASURED, VERIFICATION
from benchmarks.parts.scaling import FULL
from benchmarks.parts.wide import WIDE
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


def _ours(parts: Parts, field: str) -> float | None:
    return _median(parts, "reference", field, contender=DEFAULT)


def _sent(parts: Parts) -> float | None:
    return _ratio(_ours(parts, "bytes_to_redis"), _median(parts, "reference", "entities"))


def _memory_growth(parts: Parts) -> float | None:
    def peak(entities: int) -> float | None:
        return _median(parts, "scaling", "peak_bytes", sweep="entities", value=entities, contender=DEFAULT)

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
    return _ratio(entities[0], scaling.median("seconds", sweep="record", contender=DEFAULT))


def _reading(keys: int) -> Callable[[Parts], float | None]:
    def measured(parts: Parts) -> float | None:
        feast, ours = (_median(parts, "reading", "p50", contender=each, keys=keys) for each in (FEAST, DEFAULT))
        return _ratio(feast, ours)

    return measured


def _peak_of(generations: int) -> Callable[[Parts], float | None]:
    return lambda parts: _median(parts, "generations", "redis_peak_per_entity", generations=generations)


def _p99(phase: str, cores: str) -> Callable[[Parts], float | None]:
    def measured(parts: Parts) -> float | None:
        during, before = (_median(parts, "generations", "p99", phase=each, cores=cores) for each in (phase, QUIET))
        return _ratio(during, before)

    return measured


def _reads_per_second(parts: Parts) -> float | None:
    return _median(parts, "generations", "reads_per_second", phase=QUIET, cores=SHARED)


def _wide(parts: Parts, contender: str) -> float | None:
    return _median(parts, "wide", "seconds", rows=WIDE, contender=contender)


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


def _statistics(parts: Parts) -> float | None:
    def seconds(contender: str) -> float | None:
        return _median(parts, "quality", "seconds", contender=contender)

    measured, unmeasured = seconds(DEFAULT), seconds(UNMEASURED)
    return None if measured is None or unmeasured is None else 100 * (measured - unmeasured) / measured


def _verified_per_second(parts: Parts) -> float | None:
    quality = parts.get("quality")
    if quality is None or not (sizes := quality.values("entities", contender=VERIFICATION)):
        return None
    return _ratio(max(sizes), quality.median("seconds", contender=VERIFICATION, entities=max(sizes)))


def _several(parts: Parts, contender: str, processes: int) -> float | None:
    return _median(parts, "processes", "seconds", contender=contender, processes=processes, history=5)


def _in_parts(parts: Parts, entities: int) -> float | None:
    ours, alone = (
        _median(parts, "processes", "seconds", contender=contender, entities=entities)
        for contender in (IN_PARTS, POSTGRES_ALONE)
    )
    return _ratio(ours, alone)


def _peak_in_parts(parts: Parts) -> float | None:
    return _ratio(_median(parts, "processes", "peak_bytes", contender=IN_PARTS), MEBIBYTE)


BARS = (
    Bar("Feast ÷ ours, full run", 28, lambda p: _ratio(_full(p, FEAST), _full(p, DEFAULT)), True),
    Bar("layout hash ÷ ours, full run", 1.7, lambda p: _ratio(_full(p, "ours, hash"), _full(p, DEFAULT)), True),
    Bar("ours ÷ `redis-cli --pipe`", 1.1, lambda p: _ratio(_full(p, DEFAULT), _full(p, REDIS_ALONE))),
    Bar("ours ÷ the query alone", 1.45, lambda p: _ratio(_full(p, DEFAULT), _full(p, POSTGRES_ALONE))),
    Bar("Feast ÷ ours, in place, each row replaced", 18, lambda p: _ratio(_full(p, FEAST), _full(p, IN_PLACE)), True),
    Bar("Redis, an entity of one generation", 215, lambda p: _ours(p, "redis_bytes_per_entity"), unit=" bytes"),
    Bar("peak of Redis, an entity, full run beside the published generation", 430, _peak_of(2), unit=" bytes"),
    Bar("the same with one retained", 640, _peak_of(3), unit=" bytes"),
    Bar("sent to Redis, an entity", 170, _sent, unit=" bytes"),
    Bar("reading 100 entities, p50, Feast ÷ ours", 14, _reading(100), True),
    Bar("reading 1 entity, p50, Feast ÷ ours", 2.3, _reading(1), True),
    Bar("reading 1,000 entities, p50, Feast ÷ ours", 14, _reading(1_000), True),
    Bar("200 features, ours ÷ the query alone", 1.6, lambda p: _ratio(_wide(p, DEFAULT), _wide(p, POSTGRES_ALONE))),
    Bar("200 features, layout feast", 16, lambda p: _wide(p, "ours, feast"), unit=" s"),
    Bar("peak memory, 10,000,000 ÷ 1,000,000 entities", 1.1, _memory_growth),
    Bar("peak memory of a full run", 260, lambda p: _ratio(_ours(p, "peak_bytes"), MEBIBYTE), unit=" MiB"),
    Bar("reads a second of each reader", 1_000, _reads_per_second, True),
    Bar("readers' p99, during a build ÷ before", 2, _p99(BUILD, SHARED)),
    Bar("the same, with cores set apart", 2, _p99(BUILD, APART)),
    Bar("readers' p99, around a switch of three views ÷ before", 1.5, _p99(SWITCH, SHARED)),
    Bar("the same, with cores set apart", 1.5, _p99(SWITCH, APART)),
    Bar("readers' p99, during removal ÷ before", 1.2, _p99(REMOVAL, SHARED)),
    Bar("the same, with cores set apart", 1.2, _p99(REMOVAL, APART)),
    Bar("incremental with 1% changed ÷ full, without what a run costs in itself", 0.05, _increment),
    Bar("history of 100 ÷ 5 rows per entity", 2.0, _depth),
    Bar("records of 1 kB per second", 30_000, _records_per_second, True),
    Bar("statistics, share of a build", 5, _statistics, unit=" %"),
    Bar("verification of every row, rows a second", 50_000, _verified_per_second, True),
    Bar("two processes ÷ one", 1.15, lambda p: _ratio(_several(p, PLAIN, 2), _several(p, PLAIN, 1))),
    Bar(
        "one process ÷ two, with a transform in Python",
        1.5,
        lambda p: _ratio(_several(p, HEAVY, 1), _several(p, HEAVY, 2)),
        True,
    ),
    Bar(
        "in parts ÷ the query alone, 20,000,000 ÷ 2,000,000 entities",
        1.15,
        lambda p: _ratio(_in_parts(p, 20_000_000), _in_parts(p, 2_000_000)),
    ),
    Bar("peak memory of a process, in parts", 300, _peak_in_parts, unit=" MiB"),
    Bar("import of the slowest module for DAG files", 50, _import, unit=" ms"),
    Bar("increment of up to 3,000 rows beside 5,000 tables of 100 columns", 0.4, _catalog, unit=" s"),
)
