"""Figures on pages are those that were measured last."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bars import MEBIBYTE
from benchmarks.results import Results, read
from demo.workplace import PROJECT

NOT_SHOWN = "\N{EN DASH}"
RESULTS = PROJECT / "benchmarks" / "results"

# The contenders of a row of the README's table.
CONTENDERS = {
    "ours, layout `hash`": "ours, hash", "ours, layout `json`": "ours, json", "ours, layout `feast`": "ours, feast",
    "Feast 0.67, `materialize`": "Feast", "pandas and a pipeline, by hand": "pandas, by hand",
    "`redis-cli --pipe` of ready-made commands": "redis-cli --pipe",
    "the query alone, to /dev/null": "COPY to /dev/null",
}  # fmt: skip


def measured(part: str) -> Results:
    results = read(RESULTS / f"{part}.jsonl")
    assert results is not None
    return results


def median(part: str, field: str, **wanted: Any) -> float:
    found = measured(part).median(field, **wanted)
    assert found is not None
    return found


def page(name: str) -> str:
    return re.sub(r"\s+", " ", Path(PROJECT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", CONTENDERS)
def test_the_table_of_the_readme_is_what_was_measured(row: str) -> None:
    def cell(field: str, form: str, unit: float = 1.0) -> str:
        found = measured("reference").median(field, contender=CONTENDERS[row])
        return form.format((found or 0.0) / unit)

    seconds, redis = cell("seconds", "{:.2f}"), cell("cpu_redis", "{:.2f}")
    peak = cell("peak_bytes", "{:.0f}", MEBIBYTE)
    if CONTENDERS[row] == "redis-cli --pipe":
        peak = NOT_SHOWN
    if CONTENDERS[row] == "COPY to /dev/null":
        peak = redis = NOT_SHOWN
    assert f"| {row} | {seconds} | {peak} | {redis} |" in page("README.md")


def test_reading_beside_feast_is_what_was_measured() -> None:
    def p50(contender: str) -> float:
        return median("reading", "p50", keys=100, contender=contender)

    fastest, slowest = p50("Feast") / p50("ours, hash"), p50("Feast") / p50("ours, feast")
    assert (round(fastest), round(slowest)) == (6, 4)
    assert "takes a millisecond, a sixth to a quarter of what Feast's reader takes" in page("README.md")
    assert round(1000 * p50("ours, hash")) == 1


def test_what_feast_takes_is_what_was_measured() -> None:
    gigabytes = median("reference", "peak_bytes", contender="Feast") / 1e9
    seconds = median("reference", "seconds", contender="Feast")
    assert f"{gigabytes:.1f} GB and {seconds:.0f} s for a million entities" in page("docs/from-feast.md")


def test_memory_at_ten_million_entities_is_what_was_measured() -> None:
    def peak(entities: int) -> str:
        bytes_ = median("scaling", "peak_bytes", sweep="entities", value=entities, contender="ours, hash")
        return f"{bytes_ / MEBIBYTE:.0f} MiB"

    told = f"took {peak(10_000_000)} at its peak, imports included; with a million, {peak(1_000_000)}"
    assert told in page("docs/reliability.md")


def test_what_a_row_costs_is_what_was_measured() -> None:
    def of(field: str, layout: str = "hash") -> float:
        return median("reference", field, contender=f"ours, {layout}")

    redis, postgres, process = (of(f"cpu_{who}") for who in ("redis", "postgres", "process"))
    operating = page("docs/operating.md")
    assert f"takes {of('seconds'):.0f} seconds per million entities" in operating
    assert f"It costs Redis {redis:.0f} µs of its one thread per row" in operating
    assert f"Postgres {postgres:.0f} µs; the task's process {process:.0f} µs" in operating
    hash_bytes, feast_bytes = (round(of("redis_bytes_per_entity", layout), -1) for layout in ("hash", "feast"))
    assert (
        f"{hash_bytes:.0f} bytes per entity of ten features in layout `hash`, {feast_bytes:.0f} in layout" in operating
    )
    assert f"cost {redis + postgres + process:.0f} seconds of processor time" in page("docs/performance.md")
