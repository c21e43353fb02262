"""The columnar encoder of protobuf and Feast's values against the obvious one: a loop over values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from online_features.errors import OnlineDataError
from online_features.layouts.feast import _feast_encoder as feast
from online_features.layouts.feast import _protobuf as protobuf
from online_features.layouts.feast import feast_values
from online_features.layouts.feast.feast_types import FIELD_NUMBER, FeastType
from online_features.layouts.row_format import DAMAGE
from online_features.schema import Column, Encoding

from tests.support.online import from_feast

integers = st.integers(-(2**63), 2**63 - 1)


def varint(value: int) -> bytes:
    rest, encoded = value % 2**64, b""
    while rest > 0x7F:
        encoded += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return encoded + bytes([rest])


def length_first(content: bytes) -> bytes:
    return varint(len(content)) + content


@given(st.lists(integers | st.sampled_from([0, 127, 128, 2**14, -1, 2**63 - 1, -(2**63)])))
def test_varints(values: list[int]) -> None:
    assert protobuf.varints(np.array(values, dtype=np.int64)).to_pylist() == [varint(value) for value in values]


@given(st.lists(st.lists(integers) | st.none(), max_size=6), st.integers(0, 3))
def test_lists_of_numbers_are_packed(values: list[list[int] | None], start: int) -> None:
    column = Column("x", "bigint[]", Encoding.JSON, FeastType.INT64_LIST)
    array = pa.array(values, pa.list_(pa.int64())).slice(start)
    expected = []
    for value in values[start:]:
        packed = b"".join(map(varint, value or []))
        inner = b"\x0a" + length_first(packed) if packed else b""
        expected.append(b"" if value is None else varint(14 << 3 | 2) + length_first(inner))
    assert feast._values(column, array).to_pylist() == expected


@given(st.lists(st.lists(st.text() | st.none()) | st.none(), max_size=6), st.integers(0, 3))
def test_lists_of_texts_are_a_field_each(values: list[list[str | None] | None], start: int) -> None:
    column = Column("x", "text[]", Encoding.JSON, FeastType.STRING_LIST)
    array = pa.array(values, pa.list_(pa.string())).slice(start)
    expected = []
    for value in values[start:]:
        inner = b"".join(b"\x0a" + length_first((item or "").encode()) for item in value or [])
        expected.append(b"" if value is None else varint(12 << 3 | 2) + length_first(inner))
    assert feast._values(column, array).to_pylist() == expected


VALUES: list[tuple[FeastType, pa.DataType, st.SearchStrategy[Any]]] = [
    (FeastType.INT32, pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    (FeastType.INT64, pa.int64(), integers),
    (FeastType.FLOAT32, pa.float32(), st.floats(width=32, allow_nan=False)),
    (FeastType.FLOAT64, pa.float64(), st.floats(allow_nan=False)),
    (FeastType.BOOL, pa.bool_(), st.booleans()),
    (FeastType.STRING, pa.string(), st.text()),
    (FeastType.BYTES, pa.binary(), st.binary()),
    (FeastType.UUID, pa.string(), st.uuids().map(str)),
    (FeastType.FLOAT64_LIST, pa.list_(pa.float64()), st.lists(st.floats(allow_nan=False))),
    (FeastType.BOOL_LIST, pa.list_(pa.bool_()), st.lists(st.booleans())),
    (FeastType.BYTES_LIST, pa.list_(pa.binary()), st.lists(st.binary())),
]


@pytest.mark.parametrize("kind, arrow_type, strategy", VALUES, ids=[kind.name for kind, *_ in VALUES])
@given(data=st.data())
def test_what_is_encoded_is_decoded(kind: FeastType, arrow_type: pa.DataType, strategy: Any, data: Any) -> None:
    values = data.draw(st.lists(st.none() | strategy, max_size=8))
    column = Column("x", "text", Encoding.TEXT, kind)
    messages = feast._values(column, pa.array(values, arrow_type)).to_pylist()
    assert [feast_values._decoded(column, message) for message in messages] == values
    assert feast_values.decoder(column)(messages) == values


@given(st.binary())
@example(b"\x20\x01\x20\x02")  # two fields
@example(b"\x20\x80")  # a number without an end
@example(b"\x12\x01ab")  # a text longer than it says
def test_any_bytes_are_a_value_or_a_typed_error(message: bytes) -> None:
    column = Column("x", "text", Encoding.TEXT, FeastType.STRING)
    try:
        value = feast_values._decoded(column, message)
    except DAMAGE:
        with pytest.raises(OnlineDataError, match="feature 'x' holds"):
            from_feast(column, message)
    else:
        assert repr(from_feast(column, message)) == repr(value)


def test_every_type_has_a_field_that_feast_knows() -> None:
    assert set(FIELD_NUMBER) == set(FeastType)
