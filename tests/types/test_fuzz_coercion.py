"""Hostile values that are pushed: what is taken can be read again; what is not is refused by the name of its column."""

from __future__ import annotations

import enum
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from online_features import FeatureView, PostgresSource
from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.layouts.layout_registry import layout_of
from online_features.producers.given_rows import batches
from online_features.producers.pushed_rows import pushed_rows, pushed_schema
from online_features.schema import Column, Encoding, RowSchema
from online_features.types import values
from online_features.types.arrow.texts import texts

from tests.support.fuzzing import KINDS, instant, json_value, text

pytestmark = pytest.mark.faults

SEED = random.randrange(1_000_000)
PUSHES = 12_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)

KEY, TS = Column("id", "text", Encoding.TEXT), Column("ts", "timestamp with time zone", Encoding.INSTANT)
VIEW = FeatureView(
    name="view", project="p", entities=["id"], source=PostgresSource(table="rows", timestamp_field="ts")
)  # fmt: skip


class Told(str, enum.Enum):  # noqa: UP042
    """Texts whose ``str()`` is not what they are."""

    A = "a"


class Counted(enum.IntEnum):
    """Likewise integers."""

    SEVEN = 7


class Odd(int):
    """A number that says something else of itself."""

    def __repr__(self) -> str:
        return "none"

    __str__ = __repr__


class OddFloat(float):
    """Likewise."""

    def __repr__(self) -> str:
        return "none"

    __str__ = __repr__


class Unsaid(tzinfo):
    """A zone that does not say how far it is off."""

    def utcoffset(self, _: Any) -> None:
        return None

    dst = tzname = utcoffset


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def circular_mapping() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["x"] = value
    return value


HOSTILE: Sequence[Any] = (
    None, pd.NA, pd.NaT, float("nan"), np.float32("nan"), np.datetime64("NaT"), Decimal("sNaN"), Decimal("NaN"),
    Decimal("-Infinity"), Decimal("1e400"), Decimal("-0"), Fraction(1, 3), 10**30, -(10**5000), 2**63, -(2**63),
    2**31, 2**15, 0.0, -0.0, 5e-324, 1.7e308, math.inf, -math.inf, np.float16(1.5), np.longdouble(2),
    np.float64(1e300), np.int8(-1), np.uint64(2**64 - 1), np.bool_(True), np.str_("x"), np.bytes_(b"x"),
    np.complex128(1j), np.void(b"xx"), np.datetime64("2026-01-01T00:00:00.000000001", "ns"),
    np.datetime64("20000-01-01"), np.timedelta64(1, "ns"), np.array([1, 2]), np.array([[1.5], [np.nan]]),
    np.array(["a", None], dtype=object), np.array(5), np.array([], dtype="M8[ns]"), True, Told.A, Counted.SEVEN,
    Odd(7), OddFloat(0.5), "", "\0", "\ud800", "a\udfff", "x" * 70_000, b"", b"\xff", bytearray(b"x"),
    memoryview(b"abcdef")[::2], memoryview(np.arange(3)), [], [[]], [[1], [2, 3]], [[1, 2], [3, 4]], [1, [2]],
    [None], nested(50), nested(100_000), circular(), circular_mapping(), (1, 2), {1, 2}, frozenset(), range(3),
    iter([1]), {"a": 1}, {1: 2, None: 3}, {"\ud800": 1}, {"a": float("inf")}, MappingProxyType({"a": [1]}), object(),
    int, len, Ellipsis, datetime.min, datetime.max, datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    datetime(2026, 1, 1, tzinfo=Unsaid()), datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    datetime(2026, 3, 29, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")), pd.Timestamp("2026-01-01T00:00:00.000000001"),
    pd.Timestamp.max, pd.Timestamp("2026-01-01", tz="Europe/Berlin"), pd.Timedelta(1, "ns"), pd.Period("2026-01"),
    pd.Interval(0, 1), date.min, date.max, time.max, time(12, tzinfo=UTC),
    time(1, tzinfo=timezone(timedelta(seconds=1))), timedelta.min, timedelta.max, UUID(int=0),
)  # fmt: skip

MAKERS: Sequence[Callable[[random.Random], Any]] = (
    *(kind.make for kind in KINDS), json_value, instant, text, *[lambda chance: chance.choice(HOSTILE)] * 12,
    lambda chance: [chance.choice(HOSTILE) for _ in range(chance.randrange(4))],
    lambda chance: {text(chance): chance.choice(HOSTILE) for _ in range(chance.randrange(3))},
    lambda chance: np.array([chance.choice([1, 2.5, "a", None]) for _ in range(3)], dtype=object),
)  # fmt: skip

FORMS: Sequence[Callable[[dict[str, Any]], Any]] = (
    lambda row: [row],
    lambda row: iter([row]),
    lambda row: pd.DataFrame({name: pd.Series([value, value], dtype=object) for name, value in row.items()}),
    lambda row: pa.table({name: [value] for name, value in row.items()}),
)


def ends_arrow(value: Any) -> bool:
    """Whether Arrow ends the process over a value: nested deeper than its stack, or with datetimes of numpy's mixed."""
    return is_deep(value) or {"M"} < numpy_kinds(value)


def is_deep(value: Any, depth: int = 0) -> bool:
    return depth > 100 or any(is_deep(item, depth + 1) for item in items(value))


def numpy_kinds(value: Any) -> set[str]:
    """The kinds of numpy's types that stand side by side in a value."""
    if isinstance(value, (np.generic, np.ndarray)):
        return {value.dtype.kind}
    return {kind for item in items(value) for kind in numpy_kinds(item)}


def items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()


def given(chance: random.Random, row: dict[str, Any]) -> Any:
    """The row in some form; as a mapping where Arrow or pandas do not take its values."""
    forms = FORMS[:-1] if any(map(ends_arrow, row.values())) else FORMS
    try:
        return chance.choice(forms)(row)
    except Exception:  # noqa: BLE001 - pandas and Arrow refuse hostile values in every way
        return [row]


def pushed(schema: RowSchema | None, rows: Any) -> Iterator[tuple[Column, list[str | None]]]:
    """The columns that go online, as the texts that are written."""
    for batch in batches(rows, 100):
        found = pushed_schema(VIEW, schema, batch)
        made = pushed_rows(VIEW, found, batch, now=NOW).batch
        layout_of(VIEW, FIRST_GENERATION).encoder(found).encode(made)
        yield from (
            (column, texts(array).to_pylist()) for column, array in zip(found.columns, made.columns, strict=True)
        )


def test_what_is_taken_can_be_read_and_what_is_not_is_named() -> None:
    chance = random.Random(SEED)
    counts: Counter[str] = Counter()
    for number in range(PUSHES):
        column = chance.choice(KINDS).column
        known = RowSchema(keys=(KEY,), event_timestamp=TS, created_timestamp=None, deleted=None, features=(column,))
        value = chance.choice(MAKERS)(chance)
        row = {"id": "a", "ts": NOW, column.name: value}
        if chance.random() < 0.1:
            row[chance.choice(["id", "ts"])] = chance.choice(HOSTILE)
        where = f"seed {SEED}, push {number}: {type(value)} {str(type(value))[:200]} for {column.type}"
        try:
            for made, written in pushed(known if chance.random() < 0.8 else None, given(chance, row)):
                if made.encoding not in (Encoding.BOOLEAN, Encoding.INTEGER, Encoding.FLOAT) and made.name != "ts":
                    check_readable(made, written, where)
            counts["taken"] += 1
        except InvalidRowsError as error:
            assert any(named in str(error) for named in (f"{column.name!r}", "'id'", "'ts'", "nested")), (error, where)
            counts["refused"] += 1
        except Exception as error:
            raise AssertionError(where) from error
    print(f"{PUSHES} hostile rows: {counts}, seed {SEED}")
    assert min(counts["taken"], counts["refused"]) > PUSHES / 10


def check_readable(column: Column, written: Sequence[str | None], where: str) -> None:
    for told in written:
        if told is not None:
            try:
                values.decode(column, told)
            except OnlineDataError as error:
                raise AssertionError(f"{told[:100]!r} {where}") from error


@pytest.mark.parametrize(
    "type_name, value, expected",
    [
        ("text", Told.A, "a"), ("jsonb", {"x": Told.A}, '{"x": "a"}'), ("text[]", [Told.A], '["a"]'),
        ("bigint[]", [Counted.SEVEN, Odd(7)], "[7,7]"), ("jsonb", [OddFloat(0.5)], "[0.5]"), ("numeric", Odd(7), "7"),
        ("bytea", memoryview(b"abcd")[::2], "YWM="),
        ("timestamp without time zone[]", [pd.Timestamp("2026-01-01T00:00:00.000001999")],
         '["2026-01-01T00:00:00.000001"]'),
    ],
)  # fmt: skip
def test_values_count_and_not_what_they_say_of_themselves(type_name: str, value: Any, expected: str) -> None:
    kind = next((kind.column for kind in KINDS if kind.name == type_name), Column("x", type_name, Encoding.JSON))
    assert values.encode(kind, value) == expected


WORST = {"sNaN": Decimal("sNaN"), "huge": 10**5000, "circular": circular(), "mapping": circular_mapping(),
         "deep": nested(100_000)}  # fmt: skip


@pytest.mark.parametrize("value", WORST.values(), ids=WORST)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_worst_is_refused_by_every_type_but_those_that_hold_it(kind: Any, value: Any) -> None:
    known = RowSchema(keys=(KEY,), event_timestamp=TS, created_timestamp=None, deleted=None, features=(kind.column,))
    is_held = kind.name == "numeric" and isinstance(value, (Decimal, int))
    try:
        list(pushed(known, [{"id": "a", "ts": NOW, kind.column.name: value}]))
    except InvalidRowsError:
        assert not is_held
    else:
        assert is_held
