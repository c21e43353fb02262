"""Values are compared with the tolerance of their type."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from online_features.types.registry import typed_column
from online_features.verification._values import mismatches

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "kind, one, other",
    [
        ("real", 0.1, 0.10000000149011612),  # the nearest number of 32 bits, in 64
        ("double precision", 0.1 + 0.2, 0.3),
        ("double precision", 1, 1.0),
        ("double precision", NAN, NAN),
        ("double precision", INFINITY, INFINITY),
        ("double precision[]", [0.3, NAN, None], [0.1 + 0.2, NAN, None]),
        ("numeric", Decimal("1.0"), Decimal("1.00")),
        ("numeric", Decimal("NaN"), Decimal("NaN")),
        ("json", {"a": 1, "b": [2]}, {"b": [2], "a": 1}),
        ("text", None, None),
    ],
)
def test_equal_values(kind: str, one: Any, other: Any) -> None:
    assert mismatches([typed_column("x", kind)], {"x": one}, {"x": other}) == {}


@pytest.mark.parametrize(
    "kind, one, other, distance",
    [
        ("real", 1.0, 1.000001, pytest.approx(1e-6)),
        ("double precision", 1.0, 1.0 + 1e-14, pytest.approx(1e-14, rel=0.1)),
        ("double precision", NAN, 1.0, None),
        ("double precision", INFINITY, -INFINITY, None),
        ("double precision", 1e308, -1e308, None),
        ("double precision", 1.0, None, None),
        ("double precision[]", [1.0, 2.0], [1.0, 5.0], 3.0),
        ("double precision[]", [1.0], [1.0, 5.0], None),
        ("numeric", Decimal(1), Decimal("1.0000000000000000000001"), 1e-22),
        ("numeric", Decimal(10) ** 400, Decimal(0), None),
        ("bigint", 10**18, 10**18 + 1, 1.0),
        ("boolean", True, False, None),
        ("text", "1", "2", None),
    ],
)
def test_different_values(kind: str, one: Any, other: Any, distance: Any) -> None:
    for theirs, ours in ((one, other), (other, one)):
        assert mismatches([typed_column("x", kind)], {"x": theirs}, {"x": ours}) == {"x": distance}
