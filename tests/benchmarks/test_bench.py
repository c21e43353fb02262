"""``make bench`` at its smallest: that it works, not how fast anything is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.workplace import PROJECT

# The first one to need Feast builds its environment, which takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which a small benchmark of all parts has been written."""
    folder = tmp_path_factory.mktemp("bench")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    subprocess.run(
        [sys.executable, "-m", "benchmarks"],
        cwd=PROJECT, env={**inherited, "BENCH_SMALL": "1", "BENCH_OUTPUT": str(folder)}, check=True,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize(
    "title, expected",
    [
        ("Bars", [
            "Feast ÷ ours, full run, layout hash", "Feast ÷ ours, full run, layout feast",
            "ours, hash ÷ `redis-cli --pipe`", "peak memory of a full run",
            "peak memory, 10,000,000 ÷ 1,000,000 entities",
            "incremental with 1% changed ÷ full, without what a run costs in itself",
            "history of 100 ÷ 5 rows per entity", "records of 1 kB per second",
            "reading 100 entities, p50, Feast ÷ ours", "import of the slowest module for DAG files",
            "increment of up to 3,000 rows beside 5,000 tables of 100 columns",
        ]),
        ("Full runs, side by side", [
            "ours, hash", "ours, json", "ours, feast", "Feast", "pandas, by hand", "redis-cli --pipe",
            "COPY to /dev/null",
        ]),
        ("Increments in a large database", ["0", "3,000"]),
        ("Entities", ["1,000"]),
        ("Rows of history per entity", ["5"]),
        ("Share of entities changed since the last run, incremental", ["full", "0.1%"]),
        ("Features per entity", ["10"]),
        ("Characters in one feature of text", ["100"]),
        ("Records of 1 kB: ten features of 100 characters", ["1,000"]),
        ("Reading", ["ours, hash", "ours, json", "ours, feast", "Feast", "redis-py, by hand", "PING"]),
        ("Pushing", ["online", "online, transformed", "online and offline", "offline"]),
    ],
)  # fmt: skip
def test_the_page_shows_everybody_and_every_size(output: Path, title: str, expected: list[str]) -> None:
    assert [row[0] for row in table_below(output / "README.md", title)] == expected


def test_the_page_says_where_it_was_measured(output: Path) -> None:
    facts = {row[0]: row[1:] for row in table_below(output / "README.md", "Where and with what")}
    assert {"CPU", "memory", "Python", "Postgres", "work_mem", "Redis", "Feast"} <= facts.keys()
    assert facts["BENCH_ENTITIES"] == ["1,000"]


def table_below(page: Path, title: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    below = page.read_text().partition(f"# {title}\n")[2].splitlines()
    rows = iter(below[next(i for i, line in enumerate(below) if line.startswith("| ---")) + 1 :])
    table = []
    for line in rows:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table
