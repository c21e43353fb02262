"""``make bench``: measure the named parts, or all of them, and write the page."""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec

from rich.console import Console

from benchmarks import report
from benchmarks.machine import machine
from benchmarks.parts import (
    catalog,
    generations,
    imports,
    processes,
    pushing,
    quality,
    reading,
    reference,
    scaling,
    wide,
)
from benchmarks.results import Record, keep
from benchmarks.servers import Servers, servers
from benchmarks.settings import Settings, settings_from_environment
from demo.workplace import unwind_on_signals, workplace

PARTS = {
    "reference": reference,
    "scaling": scaling,
    "reading": reading,
    "pushing": pushing,
    "generations": generations,
    "wide": wide,
    "quality": quality,
    "processes": processes,
    "imports": imports,
    "catalog": catalog,
}

console = Console(highlight=False)


def main() -> None:
    """Run the benchmark.

    :raises SystemExit: when a part is unknown.
    """
    unwind_on_signals()
    names = sys.argv[1:] or os.environ.get("BENCH_PARTS", "").split() or [*PARTS]
    if unknown := set(names).difference(PARTS):
        raise SystemExit(f"There is no part {min(unknown)!r}: choose from {', '.join(PARTS)}")
    settings = settings_from_environment()
    with workplace("bench") as folder, servers(folder, settings.work_mem) as running:
        for name in names:
            run_part(name, running, settings)
    if find_spec("matplotlib"):
        from benchmarks.plots import draw

        draw(settings.output)
    console.print(f"\nWritten: {report.write(settings.output)}; make docs writes the figures into other pages")


def run_part(name: str, running: Servers, settings: Settings) -> None:
    """Measure one part and store its figures."""
    console.print(f"\n[bold]{name}[/]")
    began = time.monotonic()
    context = {**machine(), **running.versions, "settings": settings.shown}
    path, records = settings.results / f"{name}.jsonl", PARTS[name].records(running, settings)
    for record in keep(path, context, records, append=settings.append):
        console.print(f"{time.monotonic() - began:7.1f} s  {in_words(record)}", soft_wrap=True)


def in_words(record: Record) -> str:
    """Format the record as one line."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in record.items()
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
