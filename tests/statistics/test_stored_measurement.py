"""Measurements of parts, kept as texts, merge to what one measurement of all rows says."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from online_features.errors import OnlineDataError
from online_features.statistics import _row_sample
from online_features.statistics._row_sample import RowSample
from online_features.statistics.measurement import Measurement
from online_features.statistics.stored_measurement import encode, merge, rows_of_part

from tests.statistics.test_measurement import INF, NAN, batch_of, schema_of

INSTANTS = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), None]
COLUMNS: dict[str, pa.Array] = {
    "bigint": pa.array([2**63 - 1, -(2**63), 0, None], pa.int64()),
    "smallint": pa.array([1, 2, 3, -7], pa.int16()),
    "double precision": pa.array([0.1, -1e308, 1e308, NAN]),
    "real": pa.array([0.1, 2.5, INF, None], pa.float32()),
    "numeric": pa.array(["1.10", "-3", "NaN", None]),
    "boolean": pa.array([True, False, None, True]),
    "text": pa.array(["a", "\U0001f600 é\n", "a", None]),
    "uuid": pa.array(["0e37df36-f698-11e6-8dd4-cb9ced3df976"] * 4),
    "date": pa.array([date(1, 1, 1), date(9999, 12, 31), None, date(1970, 1, 1)]),
    "timestamp without time zone": pa.array([datetime(1, 1, 1), datetime(9999, 12, 31), None, None]),
    "timestamp with time zone": pa.array([*INSTANTS, None], pa.timestamp("us", "UTC")),
    "jsonb": pa.array(['{"a": 1}', None, "2", "[]"]),
}
SCHEMA = schema_of(**{f"x{place}": kind for place, kind in enumerate(COLUMNS)})
KEY = "@online_features:parts:{p:v:g}"


def measurement_of(*columns: pa.Array, seed: int = 0) -> Measurement:
    measurement = Measurement(SCHEMA, np.random.default_rng(seed))
    if columns:
        measurement.add(batch_of(*columns))
    return measurement


def test_every_type_is_kept() -> None:
    parts = [measurement_of(*(column.slice(at, 2) for column in COLUMNS.values())) for at in (0, 2)]
    direct, kept = measurement_of(), measurement_of()
    for part in (*parts, measurement_of()):
        merge(kept, encode(part, rows=100), SCHEMA, KEY)
        direct.merge(part)
    assert kept.statistics() == direct.statistics()
    assert kept.statistics().rows == 4
    assert kept.statistics().features["x3"].minimum == 0.1  # as Postgres prints a real


def test_nothing_was_measured() -> None:
    kept = measurement_of()
    merge(kept, encode(measurement_of(), rows=1), SCHEMA, KEY)
    assert kept.statistics() == measurement_of().statistics()
    assert rows_of_part(1_000_000) == 1


def test_rows_of_parts_are_equally_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_row_sample, "SAMPLE_ROWS", 1000)
    schema = schema_of(x="integer")
    sizes = [50, 1000, 1000, 14_000]  # the last one's sample is cut to less than its share
    share = np.zeros(len(sizes))
    for seed in range(40):
        whole = Measurement(schema)
        for number, size in enumerate(sizes):
            part = Measurement(schema, np.random.default_rng([seed, number]))
            for batch in np.array_split(np.full(size, number), 3):
                part.add(batch_of(pa.array(batch, pa.int32())))
            merge(whole, encode(part, rows=500), schema, KEY)
        found = whole.statistics()
        assert found.rows == sum(sizes)
        assert 450 < found.sampled <= 1000
        (drawn,) = whole._sample.content[2]
        share += np.bincount(drawn, minlength=len(sizes)) / len(drawn) / 40
    # A uniform sample; if the bounds were not heeded, the last part would have half of the rows.
    assert share == pytest.approx(np.array(sizes) / sum(sizes), abs=0.02)


def test_cut_samples_of_few_rows_are_not_biased() -> None:
    chance = np.random.default_rng(3)
    trials, small, one_at_least = 6000, 0, 0
    for _ in range(trials):
        whole = RowSample(1)
        for number, rows in enumerate((2, 1)):
            part = RowSample(1, chance)
            part.add([pa.array([number] * rows)])
            whole.merge(part.least(1))
        (kept,) = whole.columns()
        if len(kept):
            one_at_least += 1
            small += kept.to_pylist().count(1) / len(kept)
    assert small / one_at_least == pytest.approx(1 / 3, abs=0.02)


def test_a_value_of_another_type_is_not_kept() -> None:
    measurement = Measurement(schema_of(x="numeric"))
    measurement.add(batch_of(pa.array(["one"])))
    with pytest.raises(pa.ArrowException):
        encode(measurement, rows=1)


def test_damage_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = encode(measurement_of(*COLUMNS.values()), rows=100)
    content = zlib.decompress(b64decode(stored))
    chance = np.random.default_rng(1)
    damaged = [content[:cut] for cut in range(0, len(content), 97)]
    damaged += [
        content[:place] + bytes([content[place] ^ 1 << int(chance.integers(7))]) + content[place + 1 :]
        for place in chance.integers(len(content), size=300)
    ]
    texts = ["", "a", stored[:-8], *(b64encode(zlib.compress(each)).decode() for each in damaged)]
    refused = 0
    for each in texts:
        try:
            whole = measurement_of(*COLUMNS.values())
            merge(whole, each, SCHEMA, KEY)
        except OnlineDataError as error:
            assert KEY in str(error)
            refused += 1
    assert refused > len(texts) / 2  # others have another number in place of a digit
    for schema in (schema_of(x0="bigint"), schema_of(other="bigint")):
        with pytest.raises(OnlineDataError):
            merge(Measurement(schema), stored, schema, KEY)
    monkeypatch.setattr("online_features.statistics.stored_measurement.MOST_BYTES", 10)
    with pytest.raises(OnlineDataError, match="too long"):
        merge(measurement_of(), stored, SCHEMA, KEY)


def test_the_kinds_of_the_columns_are_those_of_the_types() -> None:
    """Each kind of measure is among the columns above."""
    kinds: set[Any] = {type(measure) for measure in measurement_of()._measures.values()}
    assert len(kinds) == 5
