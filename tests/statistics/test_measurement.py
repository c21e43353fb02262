from __future__ import annotations

import pickle
import statistics
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from online_features import FeastOptions, FeatureView, OfflineStore
from online_features.producers.transformation import Transformation
from online_features.schema import RowSchema
from online_features.statistics import _row_sample
from online_features.statistics._row_sample import RowSample
from online_features.statistics.measurement import Measurement
from online_features.statistics.stored_statistics import decode, encode
from online_features.statistics.view_statistics import CommonValue, FeatureStatistics, Histogram, ViewStatistics
from online_features.types.registry import typed_column
from online_features.window import Window

from tests.conftest import at
from tests.support.postgres_values import SAME, VALUES
from tests.support.servers.databases import Database

INF, NAN = float("inf"), float("nan")


def schema_of(**types: str) -> RowSchema:
    return RowSchema(
        keys=(typed_column("id", "bigint"),),
        event_timestamp=typed_column("ts", "timestamp with time zone"),
        created_timestamp=None,
        deleted=None,
        features=tuple(typed_column(name, kind) for name, kind in types.items()),
    )


def batch_of(*columns: pa.Array) -> pa.RecordBatch:
    """Rows with these columns behind a join key and an event timestamp."""
    rows = len(columns[0])
    own = [pa.array(range(rows), pa.int64()), pa.nulls(rows, pa.timestamp("us", "UTC"))]
    return pa.record_batch([*own, *columns], [str(i) for i in range(len(columns) + 2)])


def measured(kind: str, *batches: pa.Array) -> FeatureStatistics:
    measurement = Measurement(schema_of(x=kind))
    for batch in batches:
        measurement.add(batch_of(batch))
    return measurement.statistics().features["x"]


@pytest.mark.parametrize("offset", [0.0, 1e9])
@pytest.mark.parametrize("kind, arrow", [("double precision", pa.float64()), ("bigint", pa.int64())])
def test_moments_are_exact_over_many_batches(kind: str, arrow: pa.DataType, offset: float) -> None:
    random = np.random.default_rng(7)
    values = [round(offset + value) for value in random.normal(0, 50, 5000)]
    parts = np.split(np.array(values), sorted(random.choice(5000, 40)))  # of any length, some of them empty
    found = measured(kind, *(pa.array([*part, None], arrow) for part in parts))
    assert (found.rows, found.nulls) == (5000 + len(parts), len(parts))
    assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-14)
    assert found.deviation == pytest.approx(statistics.stdev(values), rel=1e-9)
    assert (found.minimum, found.maximum) == (min(values), max(values))
    assert found.zeros == values.count(0)
    assert found.null_share == found.nulls / found.rows


def test_large_integers_do_not_overflow() -> None:
    values = [2**63 - 1 - i for i in range(1000)]
    found = measured("bigint", pa.array(values, pa.int64()))
    assert found.mean == pytest.approx(2**63)
    assert (found.minimum, found.maximum) == (values[-1], values[0])


def test_nan_and_infinity_are_counted_and_left_out() -> None:
    found = measured("double precision", pa.array([1.0, NAN, None]), pa.array([INF, -INF, 3.0]))
    assert (found.rows, found.nulls, found.not_finite) == (6, 1, 3)
    assert (found.minimum, found.maximum, found.mean) == (1.0, 3.0, 2.0)
    assert found.deviation == pytest.approx(2**0.5)
    assert found.quantiles == {1: 1.0, 5: 1.0, 25: 1.0, 50: 1.0, 75: 3.0, 95: 3.0, 99: 3.0}


def test_numbers_that_floats_cannot_add_have_no_mean() -> None:
    found = measured("double precision", pa.array([1e308, 1e308]), pa.array([-1e308, -1e308]))
    assert (found.minimum, found.maximum, found.mean, found.deviation) == (-1e308, 1e308, None, None)
    assert found.histogram is None


def test_a_real_is_the_decimal_that_postgres_prints() -> None:
    found = measured("real", pa.array([0.1, 0.3], pa.float32()))
    assert (found.minimum, found.maximum) == (0.1, 0.3)
    assert found.quantiles is not None
    assert found.quantiles[50] == 0.1


def test_quantiles_of_floats_have_seven_digits() -> None:
    found = measured("double precision", pa.array([1 / 3]))
    assert (found.quantiles or {})[50] == 0.3333333
    assert found.minimum == 1 / 3


def test_numerics_are_measured_as_floats() -> None:
    found = measured("numeric", pa.array(["1.50", "NaN", "Infinity", "0.00", None, "1" + "0" * 400]))
    assert (found.nulls, found.zeros, found.not_finite) == (1, 1, 3)
    assert (found.minimum, found.maximum, found.mean) == (0.0, 1.5, 0.75)


def test_booleans_have_shares() -> None:
    found = measured("boolean", pa.array([True, False, None]), pa.array([False, False]))
    assert (found.nulls, found.zeros, found.mean) == (1, 3, 0.25)
    assert found.deviation == pytest.approx(0.5)
    assert found.commonest == (CommonValue(value=False, share=0.6), CommonValue(value=True, share=0.2))
    assert found.minimum is None


@pytest.mark.parametrize(
    "kind, texts, typed",
    [
        ("date", ["2026-01-02", "2026-01-01"], [date(2026, 1, 1), date(2026, 1, 2)]),
        (
            "timestamp without time zone",
            ["2026-01-01T00:00:00.000001", "0001-01-01T00:00:00.000000"],
            [datetime(1, 1, 1), datetime(2026, 1, 1, microsecond=1)],
        ),
        (
            "timestamp with time zone",
            ["9999-12-31T23:59:59.999999Z", "2026-01-01T00:00:00.000000Z"],
            [datetime(2026, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)],
        ),
    ],
)
def test_times_are_measured_as_python_has_them(kind: str, texts: list[str], typed: list[Any]) -> None:
    found = measured(kind, pa.array([*texts, None]), pa.array(["infinity", "0044-03-15 BC", "-infinity", None]))
    assert (found.rows, found.nulls, found.not_finite) == (7, 2, 3)
    assert [found.minimum, found.maximum] == typed
    assert found.quantiles is not None
    assert [found.quantiles[1], found.quantiles[99]] == typed
    assert found.mean is None
    as_times = measured(kind, pa.array([*typed, None]))
    assert (as_times.minimum, as_times.histogram) == (found.minimum, found.histogram)


def test_texts_have_commonest_values_of_bounded_size() -> None:
    texts = ["b", "a", "b", None, *(f"{i:02}" + "é" * 1000 for i in range(20))]
    found = measured("text", pa.array(texts))
    assert found.commonest is not None
    assert found.commonest[0] == CommonValue("b", 2 / 24)
    assert found.commonest[1] == CommonValue("00" + "é" * 30, 1 / 24)
    assert sum(len(str(common.value).encode()) for common in found.commonest) <= 128
    assert measured("text", pa.array([str(i) for i in range(20)])).commonest == tuple(
        CommonValue(value, 0.05) for value in sorted(map(str, range(20)))[:10]
    )


@pytest.mark.parametrize("kind", ["real[]", "jsonb", "uuid", "interval", "bytea"])
def test_other_types_have_counts_alone(kind: str) -> None:
    found = measured(kind, pa.array(["[1]", None]))
    assert found == FeatureStatistics(type=kind, rows=2, nulls=1)


def test_a_histogram_counts_every_value_of_the_sample_once() -> None:
    found = measured("integer", pa.array(range(100), pa.int32()))
    assert found.histogram == Histogram(0, 99, (5,) * 20)
    assert found.histogram is not None
    assert found.histogram.edges[:2] == (0, 4.95)
    assert found.histogram.edges[-1] == 99
    alone = measured("integer", pa.array([3, 3], pa.int32())).histogram
    assert alone == Histogram(3, 3, (2,))
    assert alone.edges == (3, 3)
    days = measured("date", pa.array(["2026-01-01", "2026-01-11"])).histogram
    assert days is not None
    assert days.edges[:2] == (datetime(2026, 1, 1), datetime(2026, 1, 1, 12))


def test_rows_that_delete_their_entity_are_not_measured() -> None:
    schema = replace(schema_of(x="integer"), deleted=typed_column("gone", "boolean"))
    measurement = Measurement(schema)
    measurement.add(batch_of(pa.array([True, False, True]), pa.array([None, 2, 3], pa.int32())))
    found = measurement.statistics()
    assert (found.rows, found.sampled) == (1, 1)
    assert (found.features["x"].nulls, found.features["x"].mean) == (0, 2.0)


def test_no_rows_and_no_features_can_be_measured() -> None:
    assert Measurement(schema_of(x="text")).statistics().features["x"] == FeatureStatistics(
        type="text", rows=0, nulls=0
    )
    empty = measured("integer", pa.array([], pa.int32()))
    assert (empty.rows, empty.null_share, empty.minimum, empty.mean, empty.quantiles) == (0, 0.0, None, None, None)
    measurement = Measurement(schema_of())
    measurement.add(batch_of(pa.array([1, 2])).select(["0", "1"]))
    assert measurement.statistics() == ViewStatistics(rows=2, sampled=0, features={})


def test_the_sample_is_uniform_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("online_features.statistics._row_sample.SAMPLE_ROWS", 1000)
    random = np.random.default_rng(3)
    counts = np.zeros(10)
    for _ in range(20):
        sample = RowSample(1, random)
        for start in range(0, 50_000, 777):
            sample.add([pa.array(range(start, min(start + 777, 50_000)))])
            assert sum(map(len, sample._drawn)) <= 2 * 1000
        (kept,) = sample.columns()
        assert len(kept) == len(set(kept.to_pylist())) == 1000
        counts += np.bincount(kept.to_numpy() // 5000, minlength=10)
    # The 20,000 rows kept fall on the tenths as evenly as chance allows: 2,000 each, give or take 42.
    assert np.abs(counts - 2000).max() < 5 * 42.5


def test_wide_views_have_a_smaller_sample() -> None:
    sample = RowSample(200)
    for _ in range(4):
        sample.add([pa.array(range(9000))] * 200)
    assert len(sample.columns()[0]) == 10_000


def test_quantiles_of_a_sample_are_near_those_of_all_rows() -> None:
    random = np.random.default_rng(5)
    found = measured("double precision", *(pa.array(random.random(50_000)) for _ in range(10)))
    assert found.quantiles is not None
    for percent, value in found.quantiles.items():
        assert value == pytest.approx(percent / 100, abs=0.02)


def test_a_merged_sample_is_as_uniform_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_row_sample, "SAMPLE_ROWS", 1000)
    random = np.random.default_rng(3)
    counts = np.zeros(10)
    for _ in range(20):
        # Three parts of 25,000, 24,000 and 1,000 rows, of which the last one keeps all.
        parts = [RowSample(1, random) for _ in range(3)]
        for sample, (begin, end) in zip(parts, [(0, 25_000), (25_000, 49_000), (49_000, 50_000)], strict=True):
            for start in range(begin, end, 777):
                sample.add([pa.array(range(start, min(start + 777, end)))])
        whole = RowSample(1, random)
        for sample in parts:
            whole.merge(pickle.loads(pickle.dumps(sample)))
        (kept,) = whole.columns()
        assert len(kept) == len(set(kept.to_pylist())) == 1000
        counts += np.bincount(kept.to_numpy() // 5000, minlength=10)
    assert np.abs(counts - 2000).max() < 5 * 42.5


def as_it_is(table: pa.Table) -> pa.Table:
    return table


@pytest.mark.parametrize("transform", [None, as_it_is])
def test_every_type_is_measured_and_kept(
    typed: Database, offline: OfflineStore, make_view: Callable[..., FeatureView], transform: Any
) -> None:
    # A function gets times and arrays as Arrow has them.
    values = [
        (kind, text, given) for kind, text, given in VALUES
        if transform is None or (given is SAME and "infinity" not in text and not kind.endswith("[]"))
    ]  # fmt: skip
    names = [f"f{i}" for i in range(len(values))]
    declared = (f"{name} {kind}" for name, (kind, *_) in zip(names, values, strict=True))
    typed(f"CREATE TABLE rows (id text, ts timestamptz, {', '.join(declared)})")
    marks = ", ".join(["%s"] * len(values))
    typed(f"INSERT INTO rows VALUES ('a', %s, {marks})", at(1), *(text for _, text, _ in values))
    typed("INSERT INTO rows (id, ts) VALUES ('null', %s)", at(1))
    view = make_view(features=names, transform=transform)
    found = _measured(view, offline)
    assert found.rows == 2
    assert {feature.nulls for feature in found.features.values()} == {1}
    assert decode(encode(found), "key") == found
    assert _measured(view, offline, in_parts=True) == found


@pytest.mark.parametrize("kind", ["Int64", "Float64", "Decimal"])
def test_features_in_types_of_feast_are_measured(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView], kind: str
) -> None:
    database(
        "CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 2.0::numeric AS x, '2026-01-02'::date AS day, "
        "'2026-01-02 03:00Z'::timestamptz AS at, '{1,2}'::integer[] AS list, true AS flag, 'b' AS word"
    )
    view = make_view(layout="feast", feast=FeastOptions(types={"x": kind}))
    found = _measured(view, offline).features
    assert (found["x"].mean, found["x"].minimum) == (2, 2)
    assert (found["day"].minimum, found["at"].minimum) == (date(2026, 1, 2), datetime(2026, 1, 2, 3, tzinfo=UTC))
    assert found["list"] == FeatureStatistics(type="integer[]", rows=1, nulls=0)
    assert (found["flag"].zeros, found["word"].commonest) == (0, (CommonValue("b", 1.0),))


def _measured(view: FeatureView, offline: OfflineStore, *, in_parts: bool = False) -> ViewStatistics:
    """Measure all rows at once, or each in a part of its own."""
    source = offline._source(view)
    transformation = Transformation(view, source.describe())
    measurement = Measurement(transformation.schema)
    with source.snapshot(source.query_plan(transformation.source, Window())) as snapshot:
        for batch in snapshot.batches(1 if in_parts else 1000):
            part = Measurement(transformation.schema) if in_parts else measurement
            part.add(transformation.apply(batch))
            if in_parts:
                measurement.merge(pickle.loads(pickle.dumps(part)))
    return measurement.statistics()


def test_values_of_another_type_fail_when_all_is_read() -> None:
    measurement = Measurement(schema_of(x="integer"))
    for text in ("v1", "2"):
        measurement.add(batch_of(pa.array([text])))
    with pytest.raises(pa.ArrowInvalid, match="v1"):
        measurement.statistics()
