"""``make docs``: write measured figures into the pages that quote them.

A page marks each figure, so that nobody types one: ``<!-- figure full/seconds -->8<!-- /figure -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from benchmarks import capacity
from benchmarks.bars import MEBIBYTE
from benchmarks.contenders import FEAST, POSTGRES_ALONE, REDIS_ALONE
from benchmarks.parts.commits import ON_COMMIT
from benchmarks.parts.processes import AT_ONCE, HEAVY, IN_PARTS, PLAIN
from benchmarks.parts.pushing import OFFLINE, ONLINE, ONLINE_AND_OFFLINE, TRANSFORMED
from benchmarks.parts.reading import HAND
from benchmarks.results import read
from demo.workplace import PROJECT

RESULTS = PROJECT / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- figure (\S+) -->)(.*?)(<!-- /figure -->)", re.DOTALL)
LAYOUTS = ("msgpack", "hash", "json", "feast")  # that were measured last, the default one first
OURS = f"ours, {LAYOUTS[0]}"
NOT_MEASURED = "\N{EN DASH}"


def main() -> None:
    """Write the figures into all pages."""
    for page in pages():
        page.write_text(with_figures(page.read_text(encoding="utf-8")), encoding="utf-8")


def pages() -> list[Path]:
    """Return the pages that may quote figures."""
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def with_figures(text: str) -> str:
    """Return the text with each marked figure as it was measured last.

    :raises KeyError: if a marked figure is not in ``FIGURES``.
    """
    return MARKED.sub(lambda found: f"{found[1]}{FIGURES[found[2]]()}{found[4]}", text)


def _median(part: str, field: str, **wanted: object) -> float:
    results = read(RESULTS / f"{part}.jsonl")
    figure = results.median(field, **wanted) if results else None
    if figure is None:
        raise LookupError(f"benchmarks/results has no {field} of {wanted} in part {part!r}")
    return figure


def _full(field: str, contender: str) -> float:
    return _median("reference", field, contender=contender)


def _peak(entities: int) -> float:
    return _median("scaling", "peak_bytes", sweep="entities", value=entities, contender=OURS) / MEBIBYTE


def _increment(share: float) -> float:
    return _median("scaling", "seconds", sweep="changed", value=share, contender=OURS)


def _milliseconds(part: str, field: str, **wanted: object) -> str:
    return f"{float(f'{1000 * _median(part, field, **wanted):.2g}'):g}"


def _times_feast(layout: str) -> str:
    def p50(contender: str) -> float:
        return _median("reading", "p50", contender=contender, keys=100)

    return f"{p50(FEAST) / p50(f'ours, {layout}'):.0f}"


def _table(head: str, rows: Iterable[Iterable[str]]) -> str:
    columns = head.count("|") - 2
    lines = [head, f"| --- |{' ---: |' * columns}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n\n" + "\n".join(lines) + "\n\n"


def _full_runs() -> str:
    names = {
        **{f"layout `{layout}`": f"ours, {layout}" for layout in LAYOUTS},
        "Feast 0.67, `materialize`": FEAST,
        "pandas and a pipeline, by hand": "pandas, by hand",
        "`redis-cli --pipe` of ready-made commands": REDIS_ALONE,
        "the query alone, to /dev/null": POSTGRES_ALONE,
    }

    def row(name: str, contender: str) -> tuple[str, ...]:
        floor = contender in (REDIS_ALONE, POSTGRES_ALONE)
        peak = NOT_MEASURED if floor else f"{_full('peak_bytes', contender) / MEBIBYTE:,.0f}"
        redis = NOT_MEASURED if contender == POSTGRES_ALONE else f"{_full('cpu_redis', contender):.2f}"
        return name, f"{_full('seconds', contender):.2f}", peak, redis

    return _table("| | seconds | peak memory, MiB | Redis, CPU seconds |", (row(*each) for each in names.items()))


def _reads() -> str:
    names = {**{f"layout `{layout}`": f"ours, {layout}" for layout in LAYOUTS},
             "Feast 0.67": FEAST, "redis-py, by hand": HAND}  # fmt: skip
    rows = (
        (name, *(_milliseconds("reading", "p50", contender=contender, keys=keys) for keys in (1, 100, 1_000)))
        for name, contender in names.items()
    )
    return _table("| p50, ms | 1 entity | 100 entities | 1,000 entities |", rows)


def _pushes() -> str:
    names = {"online": ONLINE, "online, with a transform": TRANSFORMED,
             "table and online": ONLINE_AND_OFFLINE, "table only": OFFLINE}  # fmt: skip
    rows = (
        (name, *(_milliseconds("pushing", "p50", way=way, rows=rows) for rows in (1, 100, 1_000)))
        for name, way in names.items()
    )
    return _table("| p50, ms | 1 row | 100 rows | 1,000 rows |", rows)


def _hammer() -> str:
    """Return what readers saw beside builds, switches and removals (``make hammer``)."""
    fields = ("vectors", "builds", "joint publications", "rollbacks", "mixes", "holes")
    hammered = json.loads((RESULTS / "hammer.json").read_text(encoding="utf-8"))
    rows = ((name, *(f"{found[field]:,}" for field in fields)) for name, found in hammered.items())
    return _table(f"| | {' | '.join(fields)} |", rows)


def _costs() -> capacity.Costs:
    """Return what a million entities cost in parts, by the largest size that was run."""
    entities = max(_sizes_in_parts())

    def cpu(who: str) -> float:
        return _median("processes", f"cpu_{who}", contender=IN_PARTS, entities=entities) * 1e6 / entities

    return capacity.Costs(
        postgres=cpu("postgres"), encoding=cpu("process"), redis=cpu("redis"),
        bytes=_full("redis_bytes_per_entity", OURS),
    )  # fmt: skip


def _sizes_in_parts() -> list[int]:
    results = read(RESULTS / "processes.jsonl")
    return [int(size) for size in results.values("entities", contender=IN_PARTS)] if results else []


def _capacity() -> str:
    return _table(capacity.HEAD, capacity.rows(_costs()))


def _checked_capacity() -> str:
    measured = {size: _median("processes", "seconds", contender=IN_PARTS, entities=size) for size in _sizes_in_parts()}
    head = "| entities, three rows each | seconds by the formula | measured |"
    return _table(head, capacity.checked(_costs(), measured, workers=AT_ONCE, cores=AT_ONCE))


def _several() -> str:
    results = read(RESULTS / "processes.jsonl")
    counts = results.values("processes", contender=PLAIN) if results else []
    names = {"ten features": PLAIN, "and a transform in Python": HEAVY}
    rows = (
        (name, *(f"{_median('processes', 'seconds', contender=contender, processes=count):.1f}" for count in counts))
        for name, contender in names.items()
    )
    return _table(f"| seconds | {' | '.join(f'`parallel={count}`' for count in counts)} |", rows)


def _cpu(*who: str) -> str:
    """Seconds for a million rows, which are microseconds for a row."""
    return f"{sum(_full(f'cpu_{one}', OURS) for one in who):.0f}"


def _bytes(layout: str) -> str:
    return f"{round(_full('redis_bytes_per_entity', f'ours, {layout}'), -1):.0f}"


def _commit_range() -> str:
    results = read(RESULTS / "commits.jsonl")
    seconds = [record["seconds"] for record in results.records] if results else []
    return f"{min(seconds):.1f} to {max(seconds):.1f}"


FIGURES: dict[str, Callable[[], str]] = {
    "full-runs": _full_runs,
    "reads": _reads,
    "pushes": _pushes,
    "hammer": _hammer,
    "several-processes": _several,
    "capacity": _capacity,
    "capacity/checked": _checked_capacity,
    "parts/postgres": lambda: f"{_costs().postgres:.1f}",
    "parts/encoding": lambda: f"{_costs().encoding:.1f}",
    "parts/redis": lambda: f"{_costs().redis:.1f}",
    "parts/peak": lambda: f"{_median('processes', 'peak_bytes', contender=IN_PARTS) / MEBIBYTE:.0f}",
    "full/seconds": lambda: f"{_full('seconds', OURS):.0f}",
    "full/peak": lambda: f"{_full('peak_bytes', OURS) / MEBIBYTE:.0f}",
    "full/peak/1m": lambda: f"{_peak(1_000_000):.0f}",
    "full/peak/10m": lambda: f"{_peak(10_000_000):.0f}",
    "full/cpu": lambda: _cpu("process", "postgres", "redis"),
    "full/cpu/process": lambda: _cpu("process"),
    "full/cpu/postgres": lambda: _cpu("postgres"),
    "full/cpu/redis": lambda: _cpu("redis"),
    "feast/seconds": lambda: f"{_full('seconds', FEAST):.0f}",
    "feast/gigabytes": lambda: f"{_full('peak_bytes', FEAST) / 1e9:.1f}",
    **{f"bytes/{layout}": partial(_bytes, layout) for layout in LAYOUTS},
    "increment/0": lambda: f"{_increment(0.0):.2f}",
    "increment/1%": lambda: f"{_increment(0.01):.2f}",
    "read/100": lambda: _milliseconds("reading", "p50", contender=OURS, keys=100),
    "read/feast-is-slower": lambda: f"{_times_feast('feast')} to {_times_feast('hash')}",
    "push": lambda: _milliseconds("pushing", "p50", way=ONLINE, rows=1),
    "push/p99": lambda: _milliseconds("pushing", "p99", way=ONLINE, rows=1),
    "push/both": lambda: _milliseconds("pushing", "p50", way=ONLINE_AND_OFFLINE, rows=1),
    "push/transform": lambda: _milliseconds("pushing", "p50", way=TRANSFORMED, rows=1),
    "commit": lambda: f"{_median('commits', 'seconds', way=ON_COMMIT):.1f}",
    "commit/range": _commit_range,
}


if __name__ == "__main__":
    main()
