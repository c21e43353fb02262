"""The types in the guide for those who come from Feast are those of the code."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from itertools import takewhile
from typing import Any

import pytest
from online_features.layouts.feast import feast_columns
from online_features.layouts.feast.feast_types import FeastType

from demo.workplace import PROJECT

GUIDE = (PROJECT / "docs" / "from-feast.md").read_text()

Types = Callable[[str], Collection[FeastType | None]]


def documented(beginning: str) -> dict[str, tuple[list[str], set[str]]]:
    """Postgres type to default and further Feast types, as in the table after these words."""
    lines = GUIDE[GUIDE.index(beginning) :].splitlines()[2:]
    rows = [line.split("|")[1:4] for line in takewhile(lambda line: line.startswith("|"), lines)][2:]
    cells = [[re.findall("`(.+?)`", cell) for cell in row] for row in rows]
    return {name: (default, set(others)) for names, default, others in cells for name in names}


@pytest.mark.parametrize(
    "beginning, known, types",
    [
        ("A feature of\n", feast_columns._BY_POSTGRES_TYPE, feast_columns.feature_types),
        ("A join key of\n", feast_columns._KEY_TYPES, feast_columns.key_types),
    ],
)
def test_the_types_are_those_of_the_code(beginning: str, known: Mapping[str, Any], types: Types) -> None:
    table = documented(beginning)
    assert table.keys() == known.keys()
    for name, (default, others) in table.items():
        first, *rest = types(name)
        assert default == ([first] if first else [])
        assert others == {kind for kind in rest if kind != first}


def test_lists_are_of_what_the_elements_are() -> None:
    for name in feast_columns._BY_POSTGRES_TYPE:
        elements = {kind for kind in feast_columns.feature_types(name) if kind not in (None, "PdfBytes", "ImageBytes")}
        lists = {kind.element for kind in feast_columns.feature_types(f"{name}[]") if kind is not None}
        assert lists == (set() if name in ("json", "jsonb") else elements)
