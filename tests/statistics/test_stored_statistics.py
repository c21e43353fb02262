from __future__ import annotations

import random
from datetime import UTC, date, datetime

import msgpack
import pytest
from online_features.errors import OnlineDataError
from online_features.statistics.stored_statistics import decode, encode
from online_features.statistics.view_statistics import Common, FeatureStatistics, Histogram, ViewStatistics

FEATURES = {
    "distance": FeatureStatistics(
        type="double precision", rows=10, nulls=1, zeros=2, not_finite=3, minimum=-1.5, maximum=7, mean=2.25,
        deviation=0.1, quantiles={1: -1.5, 5: 0, 25: 1, 50: 2.5, 75: 3, 95: 6, 99: 7},
        histogram=Histogram(-1.5, 7, (3, 0, 1)),
    ),
    "day": FeatureStatistics(
        type="date", rows=10, nulls=0, not_finite=0, minimum=date(1, 1, 1), maximum=date(9999, 12, 31),
        histogram=Histogram(date(2026, 1, 1), date(2026, 1, 2), (1, 1)),
    ),
    "at": FeatureStatistics(
        type="timestamp with time zone", rows=10, nulls=10, minimum=datetime(2026, 1, 1, tzinfo=UTC),
    ),
    "local": FeatureStatistics(type="timestamp without time zone", rows=10, nulls=0, maximum=datetime(2026, 1, 1, 5)),
    "carrier": FeatureStatistics(type="text", rows=10, nulls=0, commonest=(Common("UA", 0.3), Common("é", 0.1))),
    "late": FeatureStatistics(type="boolean", rows=10, nulls=0, zeros=4, commonest=(Common(value=True, share=0.6),)),
    "tags": FeatureStatistics(type="text[]", rows=10, nulls=10),
}  # fmt: skip
STATISTICS = ViewStatistics(rows=10, sampled=10, features=FEATURES)


def test_statistics_come_back_as_they_were() -> None:
    assert decode(encode(STATISTICS), "key") == STATISTICS


def test_any_other_language_reads_them() -> None:
    rows, sampled, features = msgpack.unpackb(encode(STATISTICS))
    assert (rows, sampled) == (10, 10)
    assert features[1][:7] == ["day", "date", 0, None, 0, 0, 3_652_058]
    assert features[4] == ["carrier", "text", 0, *[None] * 8, [["UA", 3], ["é", 1]]]


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"nonsense",
        msgpack.packb([1, 1]),
        msgpack.packb([-1, 1, []]),
        msgpack.packb([1, True, []]),
        msgpack.packb([1, 1, [["x", "integer", "1", *[None] * 9]]]),
        msgpack.packb([1, 1, [["x", "integer", 0, None, None, float("nan"), *[None] * 6]]]),
        msgpack.packb([1, 1, [["x", "date", 0, None, None, 10**12, *[None] * 6]]]),
        msgpack.packb([1, 0, [["x", "text", 0, *[None] * 8, [["a", 1]]]]]),
        msgpack.packb([1, 1, [["x", "integer", 0]]]),
    ],
)
def test_damage_is_named(stored: bytes) -> None:
    with pytest.raises(OnlineDataError, match="'the key' in Redis is damaged"):
        decode(stored, "the key")


def test_any_damage_is_named_or_reads_as_statistics() -> None:
    stored, chance = encode(STATISTICS), random.Random(1)
    for _ in range(2000):
        damaged = bytearray(stored)
        damaged[chance.randrange(len(stored))] = chance.randrange(256)
        try:
            assert isinstance(decode(bytes(damaged), "key"), ViewStatistics)
        except OnlineDataError:
            continue
    for length in range(len(stored)):
        with pytest.raises(OnlineDataError):
            decode(stored[:length], "key")


def test_200_features_take_64_kib_at_most() -> None:
    most, name = 2**63 - 1, "n" * 60
    quantiles = dict.fromkeys((1, 5, 25, 50, 75, 95, 99), 0.1)
    number = FeatureStatistics(
        type="double precision", rows=most, nulls=2**32, zeros=2**32, not_finite=2**32, minimum=0.1, maximum=0.2,
        mean=0.1, deviation=0.1, quantiles=quantiles, histogram=Histogram(0.1, 0.2, (10_000,) * 20),
    )  # fmt: skip
    text = FeatureStatistics(
        type="character varying", rows=most, nulls=2**32,
        commonest=tuple(Common("é" * 6, 1000 / 10_000) for _ in range(10)),
    )  # fmt: skip
    for feature in (number, text):
        wide = ViewStatistics(rows=most, sampled=10_000, features={f"{name}{i:03}": feature for i in range(200)})
        assert len(encode(wide)) <= 64 * 1024


def test_statistics_make_a_table_of_features() -> None:
    table = STATISTICS.to_pandas()
    assert list(table.index) == list(FEATURES)
    assert table.loc["distance", ["null_share", "mean", "50%"]].to_list() == [0.1, 2.25, 2.5]
    assert table.loc["carrier", ["commonest", "commonest_share", "mean"]].to_list() == ["UA", 0.3, None]
