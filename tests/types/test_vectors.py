"""Vectors of the extension pgvector, which the servers of the tests do not have."""

from __future__ import annotations

from typing import Any

import pytest
from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.schema import Column, Encoding
from online_features.types import values
from online_features.types.registry import PostgresType, codec_of

VECTOR, HALFVEC = Column("v", "vector", Encoding.VECTOR), Column("h", "extensions.halfvec", Encoding.VECTOR)


@pytest.mark.parametrize("name", ["vector", "halfvec", "public.vector", '"my schema".halfvec'])
def test_vectors_are_known_by_their_name_in_any_schema(name: str) -> None:
    assert PostgresType(name, "b", is_array=False, is_built_in=False).encoding == Encoding.VECTOR
    assert not PostgresType(name, "b", is_array=False, is_built_in=False).can_be_key


def test_other_types_of_that_name_are_none() -> None:
    assert PostgresType("vector", "e", is_array=False, is_built_in=False).encoding == Encoding.TEXT
    assert PostgresType("vector", "c", is_array=False, is_built_in=False).encoding == Encoding.JSON
    assert PostgresType("sparsevec", "b", is_array=False, is_built_in=False).encoding == Encoding.TEXT
    assert PostgresType("vector[]", "b", is_array=True, is_built_in=False).encoding == Encoding.JSON


@pytest.mark.parametrize(
    "column, given, text, read",
    [
        (VECTOR, [0.1, 2, -0.0], "[0.1,2,-0]", [0.1, 2.0, -0.0]),
        (VECTOR, (0.123456789012,), "[0.12345679]", [0.12345679]),
        (HALFVEC, [0.1, 65504], "[0.099975586,65504]", [0.099975586, 65504.0]),
        (VECTOR, [], "[]", []),
    ],
)
def test_pushed_vectors_are_rounded_and_printed_as_pgvector_does(
    column: Column, given: Any, text: str, read: list[float]
) -> None:
    assert values.encode(column, given) == text
    assert repr(values.decode(column, text)) == repr(read)


def test_numpy_arrays_are_vectors() -> None:
    import numpy as np

    codec = codec_of(VECTOR)
    assert values.encode(VECTOR, codec.fitted(np.array([0.1, 2], dtype=np.float32))) == "[0.1,2]"


@pytest.mark.parametrize(
    "column, given",
    [(VECTOR, [float("nan")]), (VECTOR, ["1"]), (VECTOR, [True]), (VECTOR, [None]), (VECTOR, "x"), (VECTOR, [1e39]),
     (HALFVEC, [65536.0]), (VECTOR, [float("inf")])],
)  # fmt: skip
def test_what_pgvector_does_not_hold_is_refused(column: Column, given: Any) -> None:
    with pytest.raises(InvalidRowsError, match=f"column '{column.name}': .* is not of type"):
        values.encode(column, given)


@pytest.mark.parametrize("text", ["", "{1}", "[[1]]", "[null]", '["1"]', "[true]", "5"])
def test_damaged_vectors_are_named(text: str) -> None:
    with pytest.raises(OnlineDataError, match="feature 'v' holds"):
        values.decode(VECTOR, text)
