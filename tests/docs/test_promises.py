"""Tests that pages quote as a proof exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from demo.workplace import PROJECT

PAGES = sorted((PROJECT / "docs").rglob("*.md"))
LINKING = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + PAGES
QUOTED = re.compile(r"`(test_\w+)(?:\.py)?(…?)`")
LINKED = re.compile(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)")
HEADING = re.compile(r"^#+ (.*)", re.MULTILINE)


@cache
def proofs() -> set[str]:
    """Names of all tests, and of the files that hold them."""
    files = list((PROJECT / "tests").rglob("test_*.py"))
    trees = [ast.parse(file.read_text()) for file in files]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)} | {
        file.stem for file in files
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_test_that_a_page_quotes_exists(page: Path) -> None:
    existing = proofs()
    for name, cut in QUOTED.findall(page.read_text()):
        assert name in existing or (cut and any(test.startswith(name) for test in existing)), name


def anchors(page: Path) -> set[str]:
    """Names of the headings of a page, as GitHub makes them."""
    titles = HEADING.findall(page.read_text())
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link, anchor in LINKED.findall(page.read_text()):
        target = page.parent / link if link else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}"
