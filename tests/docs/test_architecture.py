"""The page about the architecture shows the rooms that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from demo.workplace import PROJECT

PAGE = (PROJECT / "docs" / "architecture.md").read_text()


def shown(root: str) -> Iterator[str]:
    """Folders below a root, as the page draws them."""
    drawn = re.search(rf"^{root}/\n((?:  .*\n)+)", PAGE, re.MULTILINE)
    assert drawn
    path: list[str] = []
    for indent, name in re.findall(r"^( +)(\w+)/", drawn[1], re.MULTILINE):
        path[len(indent) // 2 - 1 :] = [name]
        yield "/".join(path)


@pytest.mark.parametrize("root", ["engine/online_features", "provider/online_features_provider"])
def test_the_rooms_are_those_that_exist(root: str) -> None:
    folders = {path.parent.relative_to(PROJECT / root) for path in (PROJECT / root).rglob("*.*")}
    existing = {str(folder) for folder in folders if "__pycache__" not in folder.parts and str(folder) != "."}
    assert set(shown(root)) == existing
