"""What pages refer to exists: tests, files, headings, imports, targets of the Makefile."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from demo.workplace import PROJECT

PAGES = sorted((PROJECT / "docs").rglob("*.md"))
LINKING = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + PAGES
PUBLIC = ("online_features", "online_features.checks", "online_features.embedded", "online_features_provider.")
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


def imports(page: Path) -> Iterator[tuple[str, str]]:
    """Modules of ours, and names in them, that the code of a page imports."""
    for block in re.findall(r"^```python.*\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        code = doctest.script_from_examples(block) if block.startswith(">>>") else block
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("online_features"):
                yield from ((node.module, name.name) for name in node.names)


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_import_works(page: Path) -> None:
    for module, name in imports(page):
        assert module.startswith(PUBLIC[-1]) or module in PUBLIC, f"{module} is private"
        assert hasattr(import_module(module), name), f"{module}.{name}"


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_target_exists(page: Path) -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert set(re.findall(r"^make ([\w-]+)|`make ([\w-]+)", page.read_text(), re.MULTILINE)) <= {
        pair for target in phony[1].split() for pair in ((target, ""), ("", target))
    }
