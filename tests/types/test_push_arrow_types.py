"""Every type that Arrow has, pushed: the rows go online, or the column is named."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from online_features import FeatureView, OfflineStore, OnlineStore
from online_features.errors import InvalidRowsError, UnsupportedTypeError

from tests.conftest import at
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]


def dictionary(values: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), values)


def union(mode: str) -> pa.Array:
    kinds = pa.array([0, 1, 0], pa.int8())
    if mode == "sparse":
        return pa.UnionArray.from_sparse(kinds, [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])])
    return pa.UnionArray.from_dense(kinds, pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2]), pa.array(["a"])])


VALUES: dict[str, Callable[[], pa.Array]] = {
    "null": lambda: pa.nulls(3),
    "bool": lambda: pa.array([True, False, None]),
    **{
        str(kind): lambda kind=kind: pa.array([1, 2, None], kind)
        for kind in (
            pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
            pa.float16(), pa.float32(), pa.float64(), pa.duration("s"), pa.duration("ns"), pa.time32("s"),
            pa.time64("us"), pa.time64("ns"), pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns"),
            pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("us", "+02:00"), pa.timestamp("us", "Nowhere/Land"),
        )
    },
    "uint64 beyond": lambda: pa.array([2**64 - 1, 1, None], pa.uint64()),
    "float with nan": lambda: pa.array([float("nan"), float("inf"), None]),
    **{
        str(kind): lambda kind=kind: pa.array([Decimal("1.5"), Decimal(2), None], kind)
        for kind in (pa.decimal32(5, 1), pa.decimal64(9, 1), pa.decimal128(20, 1), pa.decimal256(60, 1))
    },
    "date64 beyond": lambda: pa.array([2**62, 1, None], pa.int64()).view(pa.date64()),
    "timestamp beyond": lambda: pa.array([2**62, 1, None], pa.int64()).view(pa.timestamp("s")),
    "duration beyond": lambda: pa.array([2**62, 1, None], pa.duration("s")),
    **{
        str(kind): lambda kind=kind: pa.array(["a", "b", None], kind)
        for kind in (pa.string(), pa.large_string(), pa.string_view())
    },
    **{
        str(kind): lambda kind=kind: pa.array([b"a", b"b", None], kind)
        for kind in (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(1))
    },
    "string that is none": lambda: pa.array([b"\xff", b"b", None], pa.binary()).view(pa.string()),
    "string_view that is none": lambda: pa.array([b"\xff", b"b", None], pa.binary_view()).view(pa.string_view()),
    "interval": lambda: pa.array([pa.MonthDayNano([1, 2, 3]), None, None], pa.month_day_nano_interval()),
    **{
        f"dictionary of {kind}": lambda kind=kind: dictionary(pa.array(["a", "b"], kind))
        for kind in (pa.string(), pa.large_string(), pa.string_view())
    },
    "dictionary of binary_view": lambda: dictionary(pa.array([b"a", b"b"], pa.binary_view())),
    "dictionary of int": lambda: dictionary(pa.array([1, 2])),
    "dictionary of NULL": lambda: dictionary(pa.array(["a", None])),
    "dictionary of lists": lambda: dictionary(pa.array([[1], [2]])),
    "dictionary of dictionaries": lambda: dictionary(dictionary(pa.array(["a", "b"]))),
    "run-end encoded": lambda: pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "b"])),
    "run-end encoded ints": lambda: pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([1, 2])),
    "list": lambda: pa.array([[1, None], [], None]),
    "list of string_view": lambda: pa.array([["a"], [], None], pa.list_(pa.string_view())),
    "list of dictionaries": lambda: pa.array([["a"], [], None], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
    "list of intervals": lambda: pa.array([[pa.MonthDayNano([1, 2, 3])], [], None]),
    "large_list": lambda: pa.array([[1.5], [], None], pa.large_list(pa.float32())),
    "list_view": lambda: pa.array([[1], [], None], pa.list_view(pa.int64())),
    "large_list_view": lambda: pa.array([[1], [], None], pa.large_list_view(pa.int64())),
    "fixed_size_list": lambda: pa.array([[1, 2], [3, 4], None], pa.list_(pa.int64(), 2)),
    "list of lists": lambda: pa.array([[[1], [2]], [], None]),
    "list of times": lambda: pa.array([[datetime(2026, 1, 1, tzinfo=UTC)], [], None]),
    "struct": lambda: pa.array([{"a": 1, "b": "x"}, {"a": None, "b": None}, None]),
    "struct of binary": lambda: pa.array([{"a": b"\xff"}, {"a": b""}, None]),
    "struct of the same name twice": lambda: pa.StructArray.from_arrays([pa.array([1, 2, 3])] * 2, ["a", "a"]),
    "map": lambda: pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    "map with a key twice": lambda: pa.array([[("a", 1), ("a", 2)], [], None], pa.map_(pa.string(), pa.int64())),
    "map of ints": lambda: pa.array([[(1, 1)], [], None], pa.map_(pa.int64(), pa.int64())),
    "sparse union": lambda: union("sparse"),
    "dense union": lambda: union("dense"),
    "uuid": lambda: pa.array([b"0" * 16, b"1" * 16, None], pa.uuid()),
    "json": lambda: pa.array(['{"a": 1}', "[]", None], pa.json_(pa.string())),
    "json that is none": lambda: pa.array(["{", "[]", None], pa.json_(pa.string())),
    "bool8": lambda: pa.array([1, 0, None], pa.bool8()),
    "opaque": lambda: pa.array([b"a", b"b", None], pa.opaque(pa.binary(), "t", "v")),
    "tensor": lambda: pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int32(), [2]), pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int32(), 2))
    ),
}  # fmt: skip

# What earlier rows, or a run, have made of the column.
EARLIER: dict[str, Any] = {
    "nothing": None, "bool": True, "integer": 1, "double": 1.5, "numeric": Decimal("1.5"), "text": "a", "bytea": b"a",
    "date": date(2026, 1, 1), "time": time(1), "timestamptz": at(1), "timestamp": datetime(2026, 1, 1),
    "interval": timedelta(1), "array": [1], "json": {"a": 1},
}  # fmt: skip


def outcome(act: Callable[[], Any], column: str) -> str:
    """What is wrong with how a push ended; empty when it wrote the rows, or named the column."""
    try:
        act()
    except (InvalidRowsError, UnsupportedTypeError) as error:
        return "" if repr(column) in str(error) else f"names no column: {error}"
    except Exception as error:  # noqa: BLE001 - that is what must not be
        return f"raises {type(error).__name__}: {str(error)[:200]}"
    return ""


def rows_of(form: str, **columns: Any) -> Any:
    """The rows as a table, as a reader's batches, or in pieces."""
    table = pa.table(columns)
    return {"table": table, "batches": table.to_batches()}[form]


@pytest.mark.layouts
@pytest.mark.parametrize("form", ["table", "batches"])
def test_a_column_of_every_type_goes_online_or_is_named(
    online: OnlineStore, make_view: MakeView, layout: str, form: str
) -> None:
    wrong = {}
    times = pa.array([at(1)] * 3)
    for name, make in VALUES.items():
        for role in ("id", "ts", "x"):
            view = make_view(name=f"v{len(wrong)}-{abs(hash((name, role)))}", features=["x"])
            columns = {"id": pa.array([1, 2, 3]), "ts": times, "x": pa.array([1, 2, 3]), role: make()}
            wrong[name, role] = outcome(lambda: online.push(view, rows_of(form, **columns)), role)  # noqa: B023
            if role == "x":
                read = online.get_online_features(view, [{"id": i} for i in (1, 2, 3)])
                assert {row.status for row in read} in ({"present"}, {"not_found"}), (name, read[0].reason)
    assert "\n".join(f"{key}: {said}" for key, said in wrong.items() if said) == ""


@pytest.mark.layouts
def test_a_column_of_every_type_fits_the_column_online_or_is_named(
    online: OnlineStore, make_view: MakeView, layout: str
) -> None:
    wrong = {}
    for earlier, value in EARLIER.items():
        view = make_view(name=f"earlier-{earlier}", features=["x"])
        with suppress(UnsupportedTypeError):  # a type that Feast does not have
            online.push(view, [{"id": 1, "ts": at(1), "x": value}])
        for name, make in VALUES.items():
            table = pa.table({"id": pa.array([1, 2, 3]), "ts": pa.array([at(2)] * 3), "x": make()})
            wrong[earlier, name] = outcome(lambda: online.push(view, table), "x")  # noqa: B023
    assert "\n".join(f"{key}: {said}" for key, said in wrong.items() if said) == ""


@pytest.mark.parametrize("kind", ["text", "double precision", "jsonb", "bytea", "integer[]", "timestamptz"])
def test_a_column_of_every_type_is_appended_or_named(
    offline: OfflineStore, database: Database, make_view: MakeView, kind: str
) -> None:
    database(f"CREATE TABLE rows (id bigint, ts timestamptz, x {kind})")
    view, wrong = make_view(features=["x"]), {}
    for name, make in VALUES.items():
        table = pa.table({"id": pa.array([1, 2, 3]), "ts": pa.array([at(2)] * 3), "x": make()})
        wrong[name] = outcome(lambda: offline.append(view, table), "x")  # noqa: B023
    assert "\n".join(f"{key}: {said}" for key, said in wrong.items() if said) == ""


def test_what_polars_calls_a_categorical_is_text(online: OnlineStore, make_view: MakeView) -> None:
    view = make_view()
    column = dictionary(pa.array(["a", "b"], pa.string_view()))
    online.push(view, pa.table({"id": column, "ts": [at(1)] * 3, "x": column}))
    assert [row.values["x"] for row in online.get_online_features(view, [{"id": "a"}, {"id": "b"}])] == ["a", "b"]
