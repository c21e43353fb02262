"""What the benchmark holds its figures against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.bars import BARS
from benchmarks.results import Results, keep, read

CONTEXT = {"settings": {"entities": 1_000_000}}


def run(contender: str = "ours, hash", **figures: Any) -> dict[str, Any]:
    return {"contender": contender, **figures}


MEASURED = {
    "reference": [
        *(run("ours, hash", seconds=s, peak_bytes=200 * 2**20) for s in (8.0, 7.0, 99.0)),
        run("ours, feast", seconds=10.0), run("Feast", seconds=160.0), run("redis-cli --pipe", seconds=5.0),
    ],
    "scaling": [
        run(sweep="entities", value=1_000_000, peak_bytes=200), run(sweep="entities", value=10_000_000, peak_bytes=210),
        run(sweep="history", value=5, seconds=1.0), run(sweep="history", value=100, seconds=1.5),
        run(sweep="changed", value="full", seconds=8.1), run(sweep="changed", value=0.0, seconds=0.1),
        run(sweep="changed", value=0.01, seconds=0.5), run(sweep="record", value=1_000, entities=90_000, seconds=2.0),
    ],
    "reading": [run("ours, hash", keys=100, p50=0.002), run("Feast", keys=100, p50=0.008)],
    "imports": [{"module": "a", "seconds": 0.01}, {"module": "b", "seconds": 0.02}],
    "catalog": [
        run(tables=0, changed=0, seconds=0.9), run(tables=5_000, changed=0, seconds=0.1),
        run(tables=5_000, changed=3_000, seconds=0.25),
    ],
}  # fmt: skip


def test_every_bar_is_worked_out_from_medians() -> None:
    parts = {part: Results(CONTEXT, records) for part, records in MEASURED.items()}
    figures = {bar.what: bar.measured(parts) for bar in BARS}
    assert figures == pytest.approx({
        "Feast ÷ ours, full run, layout hash": 20, "Feast ÷ ours, full run, layout feast": 16,
        "ours, hash ÷ `redis-cli --pipe`": 1.6, "peak memory of a full run": 200,
        "peak memory, 10,000,000 ÷ 1,000,000 entities": 1.05,
        "incremental with 1% changed ÷ full, without what a run costs in itself": 0.05,
        "history of 100 ÷ 5 rows per entity": 1.5, "records of 1 kB per second": 45_000,
        "reading 100 entities, p50, Feast ÷ ours": 4, "import of the slowest module for DAG files": 20,
        "increment of up to 3,000 rows beside 5,000 tables of 100 columns": 0.25,
    })  # fmt: skip
    failed = [bar.what for bar in BARS if not bar.holds(round(bar.measured(parts) or 0, 6))]
    assert failed == ["reading 100 entities, p50, Feast ÷ ours"]


def test_a_bar_of_what_was_not_measured_says_nothing() -> None:
    assert {bar.measured({}) for bar in BARS} == {None}
    assert {bar.measured({part: Results(CONTEXT, []) for part in MEASURED}) for bar in BARS} == {None}


def test_what_was_measured_before_a_benchmark_broke_off_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "results" / "part.jsonl"
    recorder = keep(path, CONTEXT, iter([{"seconds": 1.0}, {"seconds": 2.0}]))
    next(recorder)
    results = read(path)
    assert results == Results(CONTEXT, [{"seconds": 1.0}])
