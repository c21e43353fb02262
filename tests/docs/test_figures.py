"""Figures on pages are those that were measured last."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import figures
from demo.workplace import PROJECT


@pytest.mark.parametrize("page", figures.pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_a_page_quotes_the_figures_that_were_measured_last(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert figures.with_figures(text) == text, "run make docs"
    assert text.count("<!-- figure ") == len(figures.MARKED.findall(text)), "a figure has no end"


def test_every_figure_is_quoted() -> None:
    quoted = {name for page in figures.pages() for _, name, _, _ in figures.MARKED.findall(page.read_text())}
    assert quoted == figures.FIGURES.keys()
