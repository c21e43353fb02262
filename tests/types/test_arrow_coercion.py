"""What producers give, in every form, becomes what the source's types hold, or is refused by name."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from online_features.errors import InvalidRowsError
from online_features.producers.given_rows import batches
from online_features.schema import Column
from online_features.types.arrow import coercion as arrow_coercion
from online_features.types.arrow import instants as arrow_instants
from online_features.types.arrow.coercion import TYPE_BY_KIND, coerced, inferred, inferred_key
from online_features.types.arrow.instants import coerced_instants
from online_features.types.arrow.texts import texts
from online_features.types.arrow.values import Values
from online_features.types.registry import typed_column

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SOME = uuid.UUID(int=10)


def column(type_name: str) -> Column:
    return typed_column("x", type_name.partition("(")[0])


def given(rows: Any) -> Values:
    (batch,) = batches(rows, 100)
    return batch.columns["x"]


def as_mappings(values: list[Any]) -> Any:
    return [{"x": value} for value in values]


def as_frame(dtype: Any = None) -> Any:
    return lambda values: pd.DataFrame({"x": pd.Series(values, dtype=dtype)})


def as_arrow(kind: pa.DataType) -> Any:
    return lambda values: pa.table({"x": pa.array(values, kind)})


FITTING: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("integer", as_mappings, [1, 2.0, None, Decimal(3), np.int64(4), pd.NA, float("nan")],
     [1, 2, None, 3, 4, None, None]),
    ("integer", as_frame(), [1, None], [1, None]),
    ("integer", as_frame("Int64"), [1, None], [1, None]),
    ("integer", as_frame(object), [1, None, pd.NA], [1, None, None]),
    ("smallint", as_arrow(pa.uint64()), [1, None], [1, None]),
    ("bigint", as_arrow(pa.float64()), [1.0, None, float("nan")], [1, None, None]),
    ("bigint", as_arrow(pa.decimal128(10, 2)), [Decimal("1.00")], [1]),
    ("boolean", as_mappings, [True, None, np.bool_(0)], [True, None, False]),
    ("boolean", as_frame("boolean"), [True, None], [True, None]),
    ("boolean", as_frame(object), [True, None], [True, None]),
    ("double precision", as_mappings, [1, 0.5, float("nan"), Decimal("0.25")], [1.0, 0.5, "nan", 0.25]),
    ("double precision", as_frame(), [1.5, float("nan"), float("inf")], [1.5, None, float("inf")]),
    ("double precision", as_frame("Float64"), [1.5, None], [1.5, None]),
    ("double precision", as_arrow(pa.float64()), [1.5, None, float("nan")], [1.5, None, "nan"]),
    ("double precision", as_arrow(pa.int32()), [1, None], [1.0, None]),
    ("double precision", as_mappings, [2**53 + 1, Decimal(2**53 + 1)], [2.0**53, 2.0**53]),
    ("double precision", as_frame("Int64"), [2**53 + 1, None], [2.0**53, None]),
    ("double precision", as_arrow(pa.int64()), [2**53 + 1, None], [2.0**53, None]),
    ("real", as_arrow(pa.int32()), [2**24 + 1, None], [2.0**24, None]),
    ("real", as_mappings, [2**24 + 1], [2.0**24]),
    ("real", as_arrow(pa.float64()), [0.5, None], [0.5, None]),
    ("text", as_mappings, ["a", None, np.str_("b")], ["a", None, "b"]),
    ("text", as_frame(), ["a", None], ["a", None]),
    ("text", as_frame(object), ["a", float("nan")], ["a", None]),
    ("text", as_frame("string"), ["a", None], ["a", None]),
    ("text", as_frame("category"), ["a", None, "a"], ["a", None, "a"]),
    ("text", as_arrow(pa.dictionary(pa.int8(), pa.large_string())), ["a", None], ["a", None]),
    ("text", as_arrow(pa.large_string()), ["a", None], ["a", None]),
    ("text", as_arrow(pa.string_view()), ["a", None], ["a", None]),
    ("mood", as_frame(), ["so so", None], ["so so", None]),
    ("numeric", as_mappings, [Decimal("1.50"), 2, 1e-7, None], ["1.50", "2", "0.0000001", None]),
    ("numeric", as_frame(), [Decimal("1.50"), Decimal("1.5"), None], ["1.50", "1.5", None]),
    ("numeric", as_frame(), [0.1, None], ["0.1", None]),
    ("numeric", as_arrow(pa.decimal128(30, 9)), [Decimal("0.000000001"), None], ["0.000000001", None]),
    ("numeric", as_arrow(pa.int64()), [7, None], ["7", None]),
    ("uuid", as_mappings, [SOME, str(SOME).upper()], [str(SOME), str(SOME)]),
    ("uuid", as_frame(), [SOME, None], [str(SOME), None]),
    ("uuid", as_arrow(pa.uuid()), [SOME.bytes, None], [str(SOME), None]),
    ("uuid", as_arrow(pa.string()), [str(SOME).upper()], [str(SOME)]),
    ("date", as_mappings, [date(2026, 1, 1), datetime(2026, 1, 1), pd.NaT], ["2026-01-01", "2026-01-01", None]),
    ("date", as_frame(), [date(2026, 1, 1), None], ["2026-01-01", None]),
    ("date", as_frame("datetime64[ns]"), [datetime(2026, 1, 1), None], ["2026-01-01", None]),
    ("date", as_arrow(pa.date32()), [date(2026, 1, 1), None], ["2026-01-01", None]),
    ("timestamp without time zone", as_frame("datetime64[ns]"), [datetime(2026, 1, 1, 5), None],
     ["2026-01-01T05:00:00.000000", None]),
    ("timestamp without time zone", as_arrow(pa.timestamp("s", "Europe/Berlin")), [NOON],
     ["2026-06-01T14:00:00.000000"]),
    ("timestamp with time zone", as_frame(), [NOON, None], ["2026-06-01T12:00:00.000000Z", None]),
    ("timestamp with time zone", as_frame("datetime64[ns, Europe/Berlin]"), [NOON, None],
     ["2026-06-01T12:00:00.000000Z", None]),
    ("timestamp with time zone", as_mappings, [NOON.astimezone(BERLIN), np.datetime64("NaT")],
     ["2026-06-01T12:00:00.000000Z", None]),
    ("time without time zone", as_arrow(pa.time64("us")), [time(12, 0, 0, 500000), None], ["12:00:00.5", None]),
    ("interval", as_frame(), [timedelta(days=1, seconds=1), None], ["P1DT1S", None]),
    ("interval", as_arrow(pa.duration("us")), [timedelta(days=-1)], ["P-1D"]),
    ("bytea", as_arrow(pa.large_binary()), [b"\x00\xff", None], ["AP8=", None]),
    ("jsonb", as_mappings, [{"bb": 1.50, "a": [1, None]}, [], None], ['{"a": [1, null], "bb": 1.5}', "[]", None]),
    ("jsonb", as_frame(), [{"a": np.array([1, 2])}, None], ['{"a": [1, 2]}', None]),
    ("jsonb", as_arrow(pa.struct({"a": pa.list_(pa.int8())})), [{"a": [1, None]}, None], ['{"a": [1, null]}', None]),
    ("jsonb", as_arrow(pa.map_(pa.string(), pa.int8())), [[("k", 1)]], ['{"k": 1}']),
    ("jsonb", as_arrow(pa.json_()), ['{"b":1.50, "a":[]}', None], ['{"a": [], "b": 1.50}', None]),
    ("jsonb", as_mappings, [{"a": pd.NaT, "b": [pd.NA]}], ['{"a": null, "b": [null]}']),
    ("integer[]", as_arrow(pa.list_(pa.int64())), [[1, None, 3], [], None], ["[1,null,3]", "[]", None]),
    ("double precision[]", as_mappings, [[1.0, float("nan"), 1e15, 1e-5]], ['[1,"NaN",1e+15,1e-05]']),
    ("numeric[]", as_mappings, [[Decimal("1.50"), Decimal("NaN")]], ['[1.50,"NaN"]']),
    ("text[]", as_frame(), [np.array(["a", None], dtype=object), None], ['["a",null]', None]),
    ("timestamp with time zone[]", as_mappings, [[NOON, pd.NaT]], ['["2026-06-01T12:00:00+00:00",null]']),
    ("timestamp without time zone[]", as_frame(), [np.array(["2026-01-01T05", "NaT"], "datetime64[ns]")],
     ['["2026-01-01T05:00:00",null]']),
    ("integer[]", as_mappings, [[[1.0, float("nan")], [np.int8(3), Decimal(4)]]], ["[[1,null],[3,4]]"]),
    ("integer[]", as_frame(), [[np.array([1, 2]), np.array([3, 4])]], ["[[1,2],[3,4]]"]),
    ("integer[]", as_arrow(pa.json_()), ["[1, 2]"], ["[1,2]"]),
    ("double precision[]", as_mappings, [[2**53 + 1, Decimal("0.5")]], ["[9.007199254740992e+15,0.5]"]),
    ("uuid[]", as_mappings, [[SOME, str(SOME).upper()]], [f'["{SOME}","{SOME}"]']),
    ("bytea[]", as_mappings, [[bytearray(b"a"), None]], ['["\\\\x61",null]']),
    ("jsonb[]", as_mappings, [[{"a": [1, 2]}, [3, 4]]], ['[{"a": [1, 2]},[3, 4]]']),
    ("oid[]", as_mappings, [[5]], ['["5"]']),
    ("mood[]", as_mappings, [["so so", None]], ['["so so",null]']),
]  # fmt: skip


@pytest.mark.parametrize("type_name, form, values, expected", FITTING)
def test_values_of_every_form_become_what_the_type_holds(
    type_name: str, form: Any, values: list[Any], expected: list[Any]
) -> None:
    array = coerced(column(type_name), given(form(values)))
    shown = texts(array) if any(isinstance(value, str) and value != "nan" for value in expected) else array
    assert ["nan" if str(value) == "nan" else value for value in shown.to_pylist()] == expected


MISFITS: list[tuple[str, Any, list[Any], str]] = [
    ("integer", as_frame(), [1.0, 2.5, None], "2.5 is not of type integer"),
    ("integer", as_arrow(pa.int64()), [1, 2**31], "2147483648 is not of type integer"),
    ("integer", as_frame(object), [1, True], "True is not of type integer"),
    ("integer", as_frame(), [True, False], "True is not of type integer"),
    ("integer", as_arrow(pa.string()), ["1"], "'1' is not of type integer"),
    ("bigint", as_mappings, [10**30], f"{10**30} is not of type bigint"),
    ("bigint", as_frame(), [float("inf")], "inf is not of type bigint"),
    ("real", as_mappings, [1.0, 1e300], "1e+300 is not of type real"),
    ("real", as_arrow(pa.float64()), [1e300], "1e+300 is not of type real"),
    ("double precision", as_mappings, [10**400], f"{10**400} is not of type double precision"),
    ("double precision", as_mappings, [Decimal("1e400")], "is not of type double precision"),
    ("double precision", as_mappings, [True], "True is not of type double precision"),
    ("boolean", as_frame("Int64"), [1, None], "1 is not of type boolean"),
    ("text", as_frame(), [1], "1 is not of type text"),
    ("text", as_frame(object), ["a", b"b"], "b'b' is not of type text"),
    ("text", as_arrow(pa.string()), ["a\0b"], r"'a\\x00b' is not of type text"),
    ("text", as_mappings, ["\ud800"], "cannot be encoded as UTF-8"),
    ("uuid", as_frame(), ["nonsense"], "'nonsense' is not of type uuid"),
    ("date", as_frame(), [datetime(2026, 1, 1, 5)], "is not of type date"),
    ("timestamp with time zone", as_frame(), [datetime(2026, 1, 1)], "is not of type timestamp with time zone"),
    ("timestamp with time zone", as_arrow(pa.timestamp("s", "UTC")), [10**12], "is not of type timestamp with"),
    ("jsonb", as_mappings, [{"a": float("inf")}], "is not of type jsonb"),
    ("jsonb", as_mappings, [{"a": object()}], "is not of type jsonb"),
    ("jsonb", as_arrow(pa.json_()), ['1,"z":666'], "not of type jsonb"),
    ("jsonb", as_arrow(pa.json_()), ["not json"], "not of type jsonb"),
    ("jsonb", as_arrow(pa.json_()), ["[NaN]"], "not of type jsonb"),
    ("integer[]", as_mappings, [["x", 1.5, None]], "'x' is not of type integer"),
    ("integer[]", as_mappings, [[1.5]], "1.5 is not of type integer"),
    ("integer[]", as_mappings, [[2**40]], f"{2**40} is not of type integer"),
    ("integer[]", as_mappings, [[True]], "True is not of type integer"),
    ("integer[]", as_mappings, [5], r"5 is not of type integer\[\]"),
    ("integer[]", as_mappings, ["abc"], r"'abc' is not of type integer\[\]"),
    ("integer[]", as_mappings, [{"k": 1}], r"is not of type integer\[\]"),
    ("integer[]", as_mappings, [[[1], [2, 3]]], r"is not of type integer\[\]"),
    ("integer[]", as_mappings, [[1, [2]]], r"is not of type integer\[\]"),
    ("integer[]", as_arrow(pa.list_(pa.string())), [["1"]], "'1' is not of type integer"),
    ("real[]", as_mappings, [[1e300]], "is not of type real"),
    ("date[]", as_mappings, [["nonsense"]], "'nonsense' is not of type date"),
    ("date[]", as_mappings, [[datetime(2026, 1, 1, 10)]], "is not of type date"),
    ("timestamp with time zone[]", as_mappings, [[datetime(2026, 1, 1)]], "is not of type timestamp with time zone"),
    ("numeric[]", as_mappings, [["abc"]], "'abc' is not of type numeric"),
    ("text[]", as_mappings, [["a\0b"]], "is not of type text"),
    ("mood[]", as_mappings, ["so so"], r"is not of type mood\[\]"),
    ("numeric", as_frame(), ["1"], "'1' is not of type numeric"),
    ("oid", as_mappings, [-1], "-1 is not of type oid"),
    ("oid", as_arrow(pa.int64()), [1, 2**32], "4294967296 is not of type oid"),
]  # fmt: skip


@pytest.mark.parametrize("type_name, form, values, message", MISFITS)
def test_a_value_that_does_not_fit_is_named_with_its_column(
    type_name: str, form: Any, values: list[Any], message: str
) -> None:
    with pytest.raises(InvalidRowsError, match=f"column 'x'.*{message}".replace("+", r"\+")):
        coerced(column(type_name), given(form(values)))


@pytest.mark.parametrize(
    "type_name, form, values, expected",
    [
        ("timestamp with time zone", as_mappings, [NOON, pd.NaT, None], [NOON, None, None]),
        ("timestamp with time zone", as_frame("datetime64[ns, UTC]"), [NOON, None], [NOON, None]),
        ("timestamp with time zone", as_arrow(pa.timestamp("ns", "UTC")), [-1, 1999],
         [datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), datetime(1970, 1, 1, 0, 0, 0, 1, UTC)]),
        ("timestamp with time zone", as_arrow(pa.timestamp("s", "UTC")), [10**12, 10**14, -(10**12)], [None] * 3),
        ("timestamp with time zone", as_arrow(pa.timestamp("s", "UTC")), [253402300799, 253402300800],
         [datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), None]),
        ("timestamp with time zone", as_arrow(pa.timestamp("us", "UTC")), [-62135596800000000, -62135596800000001],
         [datetime(1, 1, 1, tzinfo=UTC), None]),
        ("timestamp without time zone", as_arrow(pa.timestamp("ms")), [10**17], [None]),
        ("timestamp without time zone", as_arrow(pa.timestamp("us")), [datetime(1, 1, 1)], [None]),
        ("date", as_arrow(pa.date32()), [2**31 - 1], [None]),
        ("timestamp without time zone", as_frame(), [datetime(2026, 6, 1, 14)], [NOON]),
        ("timestamp without time zone", as_frame("datetime64[ns, UTC]"), [NOON], [NOON]),
        ("date", as_arrow(pa.date32()), [date(2026, 6, 1)], [datetime(2026, 5, 31, 22, tzinfo=UTC)]),
        ("timestamp with time zone", as_arrow(pa.null()), [None], [None]),
    ],
)  # fmt: skip
def test_event_timestamps_of_every_form_become_instants(
    type_name: str, form: Any, values: list[Any], expected: list[Any]
) -> None:
    assert coerced_instants(column(type_name), given(form(values)), BERLIN).to_pylist() == expected


@pytest.mark.parametrize("day", [datetime(2026, 3, 29), datetime(2026, 10, 25)])
def test_naive_columns_mean_the_same_instants_as_naive_values_where_clocks_change(day: datetime) -> None:
    local = [day + i * timedelta(minutes=30) for i in range(8)]
    kind = column("timestamp without time zone")
    one_by_one = coerced_instants(kind, list(local), BERLIN)
    assert coerced_instants(kind, pa.array(local), BERLIN).equals(one_by_one)


@pytest.mark.parametrize("form", [as_mappings, as_frame(), as_arrow(pa.timestamp("us"))])
def test_event_timestamps_need_a_zone_where_the_source_has_one(form: Any) -> None:
    with pytest.raises(InvalidRowsError, match="column 'x': 2026-01-01T00:00:00 has no time zone"):
        coerced_instants(column("timestamp with time zone"), given(form([datetime(2026, 1, 1)])), BERLIN)


def test_types_are_told_from_arrows_where_nothing_else_is_known() -> None:
    kinds = [
        pa.null(), pa.bool_(), pa.int8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(), pa.float64(),
        pa.string_view(), pa.uuid(), pa.json_(), pa.date64(), pa.timestamp("ns", "UTC"), pa.timestamp("ns"),
        pa.time32("s"), pa.duration("ns"), pa.binary(3), pa.struct({"a": pa.int8()}),
    ]  # fmt: skip
    told = [inferred("x", pa.array([], kind)).type for kind in kinds]
    assert told == [type_name for _, type_name in TYPE_BY_KIND]
    with pytest.raises(InvalidRowsError, match="'x': values of Arrow type month_day_nano_interval cannot go online"):
        inferred("x", pa.array([], pa.month_day_nano_interval()))


def test_join_keys_that_pandas_made_floats_are_integers_again_and_others_are_refused() -> None:
    assert inferred_key("x", given(as_frame()([1, None]))).type == "bigint"
    with pytest.raises(InvalidRowsError, match="a join key cannot be of type jsonb"):
        inferred_key("x", given(as_mappings([[1]])))


@pytest.mark.parametrize(
    "rows, message",
    [
        (7, "rows of type int cannot be pushed"),
        ({"x": 1}, "rows of type dict cannot be pushed"),
        ("x", "rows of type str cannot be pushed"),
        ([7], "a row must be a mapping"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "column 'x' twice"),
        (pa.Table.from_arrays([pa.array([1])] * 2, names=["x", "x"]), "column 'x' twice"),
    ],
)
def test_what_holds_no_rows_is_refused(rows: Any, message: str) -> None:
    with pytest.raises(InvalidRowsError, match=message):
        list(batches(rows, 10))


@pytest.mark.parametrize(
    "rows",
    [
        as_mappings([1, 2, 3]),
        iter(as_mappings([1, 2, 3])),
        as_frame()([1, 2, 3]),
        as_arrow(pa.int64())([1, 2, 3]),
        as_arrow(pa.int64())([1, 2, 3]).to_batches()[0],
        as_arrow(pa.int64())([1, 2, 3]).to_reader(),
        (as_frame()([i]) for i in (1, 2, 3)),
    ],
)
def test_rows_come_in_bounded_batches(rows: Any) -> None:
    sizes = [batch.num_rows for batch in batches(rows, 2)]
    assert sum(sizes) == 3
    assert max(sizes) <= 2


@pytest.mark.parametrize(
    "form",
    [
        as_mappings, as_frame(), as_frame(object), as_frame("category"), as_arrow(pa.string()),
        as_arrow(pa.dictionary(pa.int8(), pa.string())), as_arrow(pa.string_view()),
        lambda values: as_mappings([[value] for value in values]), lambda values: as_mappings([{"a": values[0]}] * 8),
        lambda values: as_mappings([np.arange(len(value) / 16) for value in values]),
        lambda values: pd.DataFrame({"x": [np.arange(len(value) / 8) for value in values]}),
    ],
)  # fmt: skip
def test_wide_rows_come_in_smaller_batches(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("online_features.producers.given_rows.BATCH_BYTES", 3000)
    sizes = [batch.num_rows for batch in batches(form(["a" * 1000] * 8), 100)]
    assert sum(sizes) == 8
    assert max(sizes) <= 3
    monkeypatch.setattr("online_features.producers.given_rows.BATCH_BYTES", 10)
    assert [batch.num_rows for batch in batches(form(["a" * 1000] * 8), 100)] == [1] * 8


def test_times_with_a_zone_keep_it() -> None:
    zoned = time(12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert coerced(column("time with time zone"), [zoned]).to_pylist() == ["12:00:00+05:30"]


@pytest.mark.parametrize(
    "type_name, values",
    [
        ("integer", pa.array([1.0, None])),
        ("bigint", pa.array([1, None], pa.int32())),
        ("real", pa.array([0.5, None])),
        ("double precision", pa.array([1, None])),
        ("boolean", pa.array([True, None])),
        ("text", pa.array(["a", None], pa.large_string())),
        ("numeric", pa.array([1, None])),
        ("date", pa.array([date(2026, 1, 1), None])),
        ("timestamp without time zone", pa.array([1999, None], pa.timestamp("ns"))),
        ("timestamp with time zone", pa.array([1999, None], pa.timestamp("ns", "Europe/Berlin"))),
    ],
)
def test_columns_of_plain_types_are_cast_as_a_whole(
    type_name: str, values: pa.Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(arrow_coercion, "python_values")
    monkeypatch.delattr(arrow_instants, "python_values")
    assert len(coerced(column(type_name), values)) == 2
    if pa.types.is_timestamp(values.type):
        assert len(coerced_instants(column(type_name), values, BERLIN)) == 2


def test_nan_is_null_in_a_frame_whoever_holds_its_numbers() -> None:
    numbers = [float("nan"), 1.0]
    held_by_arrow = pd.Series(pd.arrays.ArrowExtensionArray(pa.array(numbers)))
    for series in (pd.Series(numbers), pd.Series(numbers, dtype="Float64"), held_by_arrow):
        assert coerced(column("double precision"), given(pd.DataFrame({"x": series}))).to_pylist() == [None, 1.0]
