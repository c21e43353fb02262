"""Plots of the sweeps, as SVG; matplotlib is in the extra ``bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.report import SWEEPS
from benchmarks.results import Results, read

# The same figures give the same file: no random names, no date, text as text.
mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none"})


def draw(output: Path) -> None:
    """Draw each measured sweep that has several sizes."""
    results = read(output / "results" / "scaling.jsonl")
    folder = output / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    for sweep, title in SWEEPS.items():
        if results is not None and len(results.values("value", sweep=sweep)) > 1:
            _plot(results, sweep, title).savefig(folder / f"{sweep}.svg", metadata={"Date": None})


def _plot(results: Results, sweep: str, title: str) -> Figure:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for contender in results.values("contender", sweep=sweep):
        wanted = {"sweep": sweep, "contender": contender}
        # A logarithmic axis has no place for a share of zero or a full run: they are in the table only.
        sizes = [value for value in results.values("value", **wanted) if not isinstance(value, str) and value > 0]
        seconds: list[Any] = [results.median("seconds", value=value, **wanted) for value in sizes]
        axes.plot(sizes, seconds, marker="o", label=contender)
    axes.set(xscale="log", yscale="log", xlabel=title, ylabel="seconds")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    return figure
