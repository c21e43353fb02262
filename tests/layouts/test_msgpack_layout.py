"""The columnar encoder of layout msgpack against the obvious one: a loop over rows."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import hiredis
import numpy as np
import pyarrow as pa
import pytest
from online_features import FeatureView, PostgresSource
from online_features.layouts import keyspace
from online_features.layouts.layout_registry import layout_of
from online_features.schema import Column, Encoding, RowSchema
from online_features.types.registry import typed_column

from demo.workplace import PROJECT
from tests.support.fuzzing import FIRST, KINDS, LAST, column_of, instant
from tests.support.msgpack_rows import packed_row

pytestmark = pytest.mark.oldest

SOURCE = PostgresSource(table="rows", timestamp_field="ts", created_timestamp_column="created")
VIEW = FeatureView(name="view", project="p", entities=["id"], source=SOURCE, layout="msgpack")
KEY = typed_column("id", "bigint")
INSTANT = "timestamp with time zone"
UTC_MICROSECONDS = pa.timestamp("us", "UTC")
NOW = datetime(2026, 1, 1, tzinfo=UTC)

VECTOR, HALFVEC = Column("v", "vector", Encoding.VECTOR), Column("h", "extensions.halfvec", Encoding.VECTOR)


def encoded(
    features: Sequence[Column],
    columns: Sequence[pa.Array],
    timestamps: Sequence[datetime],
    created: Sequence[datetime | None],
    *,
    is_pushed: bool = False,
) -> list[bytes]:
    """Return the rows that the encoder makes."""
    schema = RowSchema(
        keys=(KEY,), event_timestamp=typed_column("ts", INSTANT), created_timestamp=typed_column("created", INSTANT),
        deleted=None, features=tuple(features),
    )  # fmt: skip
    arrays = [pa.array(range(len(timestamps))), pa.array(timestamps, UTC_MICROSECONDS),
              pa.array(created, UTC_MICROSECONDS), *columns]  # fmt: skip
    batch = pa.record_batch(arrays, names=[str(i) for i in range(len(arrays))])
    rows = layout_of(VIEW, "0").encoder(schema, is_pushed=is_pushed).encode(batch)
    reader = hiredis.Reader()
    assert set(rows.word_counts.tolist()) <= {1}
    for row in rows.words.to_pylist():
        reader.feed(row)
    return [reader.gets() for _ in range(len(rows))]


def expected(
    features: Sequence[Column],
    columns: Sequence[pa.Array],
    timestamps: Sequence[datetime],
    created: Sequence[datetime | None],
) -> list[bytes]:
    values = zip(*(column.to_pylist() for column in columns), strict=True)
    return [packed_row(features, *row) for row in zip(values, timestamps, created, strict=True)]


def check(kind: str | Column, column: pa.Array) -> None:
    """Compare the rows with one feature."""
    feature = kind if isinstance(kind, Column) else typed_column("x", kind)
    stamps, created = [NOW] * len(column), [None] * len(column)
    assert encoded([feature], [column], stamps, created) == expected([feature], [column], stamps, created)


@pytest.mark.parametrize("seed", range(10))
def test_the_encoder_writes_what_a_loop_over_rows_would(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.choice([1, 40])
    kinds = chance.sample(KINDS, len(KINDS))
    # Batches of a run are slices of longer ones.
    columns = [column_of(kind, size + 5, chance).slice(chance.randrange(5)).slice(0, size) for kind in kinds]
    features = [kind.column for kind in kinds]
    stamps = [instant(chance) for _ in range(size)]
    created = [None if chance.random() < 0.2 else instant(chance) for _ in range(size)]
    assert encoded(features, columns, stamps, created) == expected(features, columns, stamps, created)


def test_an_empty_batch_has_no_rows() -> None:
    assert encoded([kind.column for kind in KINDS], [pa.array([], kind.arrow) for kind in KINDS], [], []) == []


def test_columns_of_nulls_are_nil() -> None:
    for kind in KINDS:
        check(kind.name, pa.nulls(3, kind.arrow))


def test_integers_have_the_smallest_width() -> None:
    borders = [
        sign * 2**bits + more for bits in (0, 5, 7, 8, 15, 16, 31, 32) for sign in (1, -1) for more in (-1, 0, 1)
    ]
    check("bigint", pa.array([*borders, -(2**63), 2**63 - 1, None]))
    for border in borders:  # alone, so that all numbers of the column have one width
        check("bigint", pa.array([border]))


def test_floats_have_the_width_that_gives_them_back() -> None:
    numbers = [0.0, -0.0, 0.1, 0.5, 1400.0, 1e300, 5e-324, 2.0**-149, float("nan"), float("inf"), float("-inf"), None]
    check("double precision", pa.array(numbers))
    check("double precision", pa.array(np.array([-1], dtype=np.int64).view(np.float64)))  # a NaN of other bits
    check("real", pa.array([0.1, 0.5, 3.4028235e38, -1e-45, float("nan"), float("-inf"), -0.0, None], pa.float32()))


@pytest.mark.parametrize("length", [0, 31, 32, 255, 256, 65_535, 65_536])
def test_lengths_have_the_smallest_width(length: int) -> None:
    check("text", pa.array(["x" * length, None, "é"]))
    check("bytea", pa.array([b"x" * length, None], pa.binary()))
    numbers = ",".join(["1"] * length)
    check("smallint[]", pa.array([f"[{numbers}]", None, "[]"]))


def test_times_since_the_first_of_python_to_its_last() -> None:
    days, moments = [date(1, 1, 1), date(9999, 12, 31), None], [FIRST, LAST, datetime(1969, 12, 31, 23, 59, 59, 999999)]
    check("date", pa.array(days))
    check("date", pa.array(["0001-01-01", "9999-12-31", None]))
    check(
        "timestamp without time zone", pa.array([moment.replace(tzinfo=None) for moment in moments], pa.timestamp("us"))
    )
    check(INSTANT, pa.array([moment.replace(tzinfo=UTC) for moment in moments], UTC_MICROSECONDS))
    assert encoded([], [], [FIRST, LAST], [LAST, FIRST]) == [
        packed_row([], [], FIRST, LAST),
        packed_row([], [], LAST, FIRST),
    ]


def test_other_years_are_text() -> None:
    check("date", pa.array(["2026-01-01", "infinity", "0044-03-15 BC", "10000-01-01", None]))
    check(INSTANT, pa.array(["12000-01-01 00:00:00+00", "12000-01-01 00:00:00.123+00", "2026-01-01T00:00:00.000001Z"]))


def test_vectors_are_raw_numbers() -> None:
    check(VECTOR, pa.array(["[0.1,-2,3e-05]", None, "[-0]"]))
    check(HALFVEC, pa.array(["[0.099975586,65504,-0]", None]))
    check("real[]", pa.array(["[0.1]", "[[0.1]]", '["NaN","-Infinity"]', "[1,null]", "[]"]))


def test_rows_that_were_pushed_are_marked() -> None:
    (row,) = encoded([], [], [NOW], [None], is_pushed=True)
    assert row == packed_row([], [], NOW, flags=keyspace.PUSHED)


def test_the_row_in_the_documentation_is_what_is_written() -> None:
    features = [typed_column("carrier", "text"), typed_column("dep_delay", "integer"),
                typed_column("distance", "double precision"), typed_column("gust", "double precision")]  # fmt: skip
    columns = [pa.array(["UA"]), pa.array([-7], pa.int32()), pa.array([1400.0]), pa.array([None], pa.float64())]
    (row,) = encoded(features, columns, [datetime(2013, 12, 31, 21, 15, tzinfo=UTC)], [None])
    (documented,) = re.findall("^dc0007 .*$", (PROJECT / "docs" / "keyspace.md").read_text(), re.MULTILINE)
    assert row == bytes.fromhex(documented)


def test_stamps_are_those_of_rows() -> None:
    layout = layout_of(VIEW, "0")
    for moment in (FIRST, LAST, NOW, NOW + timedelta(microseconds=1)):
        assert layout.stamp(moment) == packed_row([], [], moment)[4:12]
        assert layout.instant(layout.stamp(moment)) == moment
        assert layout.created(layout.stamp(moment)) == moment
    assert layout.stamp(None) == packed_row([], [], NOW)[13:21] == bytes(8)
    assert (layout.created(layout.stamp(None)), layout.created(b"")) == (None, None)
    for damaged in (bytes(8), b"\xff" * 8):
        assert layout.instant(damaged) == FIRST
