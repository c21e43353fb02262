"""Damage is found without assertions, too: ``python -O`` leaves them out."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import online_features
import pytest
from online_features.errors import OnlineDataError
from online_features.layouts.feast import feast_values
from online_features.layouts.feast.feast_types import FIELD_NUMBER, FeastType
from online_features.schema import Column, Encoding

from tests.support.online import from_feast

DAMAGED_LISTS = {
    "a number in place of elements": b"\x08\x05",
    "an element of another number": b"\x12\x01\x05",
    "elements cut off": b"\x0a\x05\x01",
}


def message(kind: FeastType, content: bytes) -> bytes:
    """A value of Feast's whose content has a length."""
    key = FIELD_NUMBER[kind] << 3 | feast_values.LENGTH
    head = bytes([key]) if key < feast_values.MORE else bytes([key & 0x7F | feast_values.MORE, key >> 7])
    return head + bytes([len(content)]) + content


@pytest.mark.parametrize("damage", DAMAGED_LISTS.values(), ids=DAMAGED_LISTS)
@pytest.mark.parametrize("kind", [kind for kind in FeastType if kind.is_list])
def test_a_damaged_list_is_refused(kind: FeastType, damage: bytes) -> None:
    with pytest.raises(OnlineDataError, match="not a value of Feast's"):
        from_feast(Column("x", "text[]", Encoding.JSON, kind), message(kind, damage))


@pytest.mark.parametrize("kind", list(FeastType))
def test_content_of_the_other_kind_is_refused(kind: FeastType) -> None:
    column = Column("x", "text", Encoding.TEXT, kind)
    number = FIELD_NUMBER[kind]
    is_number = not kind.is_list and kind in feast_values._VARINTS
    wire_type, content = (feast_values.LENGTH, b"\x01a") if is_number else (feast_values.VARINT, b"\x05")
    key = number << 3 | wire_type
    head = bytes([key]) if key < feast_values.MORE else bytes([key & 0x7F | feast_values.MORE, key >> 7])
    with pytest.raises(OnlineDataError):
        from_feast(column, head + content)


@pytest.mark.parametrize("damage", [b"\x0a\x01a", b"\x08\x05\x12\x01a", b"\x0d\x00\x00\x00\x00"])
def test_a_timestamp_that_is_none_is_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="is not a timestamp"):
        feast_values.decode_timestamp(damage)


def test_all_of_it_holds_without_assertions() -> None:
    if sys.flags.optimize:
        return  # this is the process without them
    words = [sys.executable, "-O", "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


# What mypy is told, and Python itself knows: none of it comes from outside.
OURS = {
    "entity_freshness_check.py": 3, "_feast_encoder.py": 3, "feast_format.py": 1, "transformation.py": 2,
    "source_rows.py": 1, "_messagepack.py": 1, "_view_cache.py": 1,
}  # fmt: skip


def test_assertions_are_about_our_own_data_only() -> None:
    found: dict[str, int] = {}
    for file in Path(online_features.__file__).parent.rglob("*.py"):
        count = sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        if count:
            found[file.name] = count
    assert found == OURS
