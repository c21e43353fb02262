"""What a reader makes of the rows of layout msgpack, damaged and foreign ones included."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from online_features.errors import OnlineDataError
from online_features.layouts.keyspace import PUSHED, TOMBSTONE
from online_features.layouts.msgpack.msgpack_format import MsgpackFormat
from online_features.schema import Column, Encoding
from online_features.types.registry import typed_column

from tests.support.msgpack_rows import packed_row

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FEATURES = [typed_column(name, name) for name in ("integer", "text", "real[]")]
ROW = packed_row(FEATURES, [7, "x", "[0.1,2]"], NOW)


def read(reply: Any, *names: str) -> Any:
    columns = [column for column in FEATURES if column.name in names]
    return MsgpackFormat(FEATURES, columns).row(reply)


def test_features_are_read_by_their_place() -> None:
    assert read(ROW, "text") == (NOW, {"text": "x"})
    assert read(ROW, "integer", "real[]") == (NOW, {"integer": 7, "real[]": [0.1, 2.0]})
    assert read(ROW) == (NOW, {})


def test_features_that_a_row_lacks_are_null() -> None:
    short = packed_row(FEATURES[:1], [7], NOW)
    assert read(short, "integer", "text") == (NOW, {"integer": 7, "text": None})
    names = [column.name for column in FEATURES]
    together = list(MsgpackFormat(FEATURES, FEATURES).rows([short, ROW]))
    assert together == [read(short, *names), read(ROW, *names)]


def test_a_row_that_is_longer_than_the_schema_is_read() -> None:
    assert MsgpackFormat(FEATURES[:1], FEATURES[:1]).row(ROW) == (NOW, {"integer": 7})


def test_a_tombstone_is_no_row() -> None:
    for flags in (TOMBSTONE, TOMBSTONE | PUSHED):
        timestamp, values = read(packed_row([], [], NOW, flags=flags), "text")
        assert (timestamp, set(values.values())) == (None, {None})
    assert read(packed_row(FEATURES, [7, "x", None], NOW, flags=PUSHED), "text") == (NOW, {"text": "x"})


@pytest.mark.parametrize(
    "damaged",
    [b"", b"5", b"\xc0", b"\xa3abc", b"\x80", b"\x81\x02\x00", b"\xdc\0\0", b"\x92\x01\x00", ROW[:-1], ROW + b"\0",
     b"\xff" * 30],
)  # fmt: skip
def test_what_is_not_a_row_is_refused(damaged: bytes) -> None:
    with pytest.raises(OnlineDataError, match="is not a row of layout msgpack; materialize with full=True"):
        read(damaged, "text")


@pytest.mark.parametrize("stamp", [b"\0" * 8, b"\xff" * 8])
def test_a_damaged_event_timestamp_is_named(stamp: bytes) -> None:
    with pytest.raises(OnlineDataError, match="is not an event timestamp; materialize with full=True"):
        read(ROW[:4] + stamp + ROW[12:])


DAMAGED: list[tuple[str, Any]] = [
    ("boolean", 1), ("boolean", "true"), ("smallint", 2**15), ("bigint", 2**63), ("bigint", 1.0), ("bigint", True),
    ("real", 1), ("double precision", "0.1"), ("text", b"x"), ("text", 1), ("numeric", 1), ("numeric", "x"),
    ("date", -1), ("date", 3_652_059), ("date", 0.5), ("date", True), ("date", "yesterday"),
    ("timestamp without time zone", -1), ("timestamp without time zone", 315_537_897_600_000_000),
    ("timestamp with time zone", -1), ("timestamp with time zone", 315_537_897_600_000_000),
    ("timestamp with time zone", "2026-01-01T00:00:00"), ("interval", 1), ("uuid", b"\0" * 15), ("uuid", "x"),
    ("bytea", "AA=="), ("jsonb", "{"), ("jsonb", {}), ("bigint[]", [1]), ("bigint[]", "{}"), ("text[]", [1]),
]  # fmt: skip


def with_value(value: Any) -> bytes:
    """Return a row with one feature, whatever it is."""
    return packed_row([typed_column("x", "text")], [value], NOW)


@pytest.mark.parametrize("kind, damaged", DAMAGED)
def test_a_damaged_value_is_named(kind: str, damaged: Any) -> None:
    column = typed_column("x", kind)
    with pytest.raises(
        OnlineDataError, match=f"feature 'x' holds .*, which is not of type {column.type}".replace("[", r"\[")
    ):
        MsgpackFormat([column], [column]).row(with_value(damaged))


@pytest.mark.parametrize(
    "stored", [b"\xc7\x04\x04\0\0\0\0", b"\xc7\x03\x05\0\0\0", b"\xc7\x00\x01", b"\xd6\xff\0\0\0\0"]
)
def test_foreign_extension_values_are_named(stored: bytes) -> None:
    columns = [typed_column("x", "real[]"), typed_column("y", "text")]
    for column in columns:
        with pytest.raises(OnlineDataError, match=f"feature {column.name!r} holds"):
            MsgpackFormat([column], [column]).row(with_value(None)[:-1] + stored)


def test_arrays_come_as_numpy_on_request() -> None:
    columns = [typed_column("real[]", "real[]"), typed_column("bigint[]", "bigint[]"), typed_column("text[]", "text[]"),
               Column("vector", "vector", Encoding.VECTOR), Column("halfvec", "halfvec", Encoding.VECTOR)]  # fmt: skip
    row = packed_row(columns, ["[0.1,2]", "[1,null]", '["a"]', "[0.1]", "[0.5]"], NOW)
    _, values = MsgpackFormat(columns, columns, numpy_arrays=True).row(row)
    assert values["bigint[]"] == [1, None]
    assert values["text[]"] == ["a"]
    arrays = [values[name] for name in ("real[]", "vector", "halfvec")]
    assert [array.dtype for array in arrays] == [np.float32, np.float32, np.float16]
    assert [array.tolist() for array in arrays] == [[np.float32(0.1), 2.0], [np.float32(0.1)], [0.5]]
    _, values = MsgpackFormat(columns, columns).row(row)
    assert values["real[]"] == [0.1, 2.0]
    assert values["vector"] == [0.1]
