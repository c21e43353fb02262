"""Sizes of a benchmark, from environment variables."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demo.workplace import PROJECT

REFERENCE_ENTITIES = 1_000_000  # the size that the bars are for


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The size of a benchmark.

    :param entities: of the reference part; the scaling part goes in powers of ten from 10,000 up to ``max_entities``.
    :param history: rows per entity.
    :param rounds: how often each contender runs; medians are shown.
    :param work_mem: of Postgres, in its own notation; ``None`` leaves the server's default.
    :param small: few rows, one round and one size of each sweep, to see whether everything works.
    :param contenders: of the reference part; empty for all.
    :param append: whether to keep the figures of earlier runs of the part, so that a long one can be done in pieces.
    :param output: folder for page, plots and ``results``.
    """

    entities: int
    max_entities: int
    history: int
    rounds: int
    work_mem: str | None
    small: bool
    contenders: tuple[str, ...]
    append: bool
    output: Path

    @property
    def results(self) -> Path:
        """Folder of the measured figures: one file of JSON lines for each part."""
        return self.output / "results"

    @property
    def shown(self) -> dict[str, Any]:
        """What figures depend on."""
        return {
            name: value for name, value in asdict(self).items() if name not in ("output", "contenders", "append")
        }  # fmt: skip


def settings_from_environment() -> Settings:
    """Return the settings that ``BENCH_…`` variables ask for."""
    small = os.environ.get("BENCH_SMALL", "0") != "0"
    entities = int(os.environ.get("BENCH_ENTITIES", "1000" if small else "100000"))
    return Settings(
        entities=entities,
        max_entities=int(os.environ.get("BENCH_MAX_ENTITIES", entities)),
        history=int(os.environ.get("BENCH_HISTORY", "5")),
        rounds=int(os.environ.get("BENCH_ROUNDS", "1" if small else "3")),
        work_mem=os.environ.get("BENCH_WORK_MEM"),
        small=small,
        contenders=tuple(filter(None, os.environ.get("BENCH_CONTENDERS", "").split(";"))),
        append=os.environ.get("BENCH_APPEND", "0") != "0",
        output=Path(os.environ.get("BENCH_OUTPUT", PROJECT / ("build/benchmarks" if small else "benchmarks"))),
    )
