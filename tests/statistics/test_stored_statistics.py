from __future__ import annotations

import json
import random
import string
import zlib
from base64 import b64decode, b64encode
from datetime import UTC, date, datetime
from typing import Any

import pytest
from online_features.errors import OnlineDataError
from online_features.statistics._feature_measures import BINS, COMMONEST, DIGITS, TEXT_BYTES
from online_features.statistics.stored_statistics import decode, encode
from online_features.statistics.view_statistics import (
    PERCENTS,
    CommonValue,
    FeatureStatistics,
    Histogram,
    ViewStatistics,
)

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
    "carrier": FeatureStatistics(
        type="text", rows=10, nulls=0, commonest=(CommonValue("UA", 0.3), CommonValue("é", 0.1)),
    ),
    "late": FeatureStatistics(
        type="boolean", rows=10, nulls=0, zeros=4, commonest=(CommonValue(value=True, share=0.6),),
    ),
    "tags": FeatureStatistics(type="text[]", rows=10, nulls=10),
}  # fmt: skip
STATISTICS = ViewStatistics(rows=10, sampled=10, features=FEATURES)


def test_statistics_come_back_as_they_were() -> None:
    assert decode(encode(STATISTICS), "key") == STATISTICS


def test_any_other_language_reads_them() -> None:
    rows, sampled, features = json.loads(zlib.decompress(b64decode(encode(STATISTICS))))
    assert (rows, sampled) == (10, 10)
    assert features[1][:7] == ["day", "date", 0, None, 0, 0, 3_652_058]
    assert features[4] == ["carrier", "text", 0, *[None] * 8, [["UA", 3], ["é", 1]]]


@pytest.mark.parametrize(
    "content",
    [
        "nonsense",
        [1, 1],
        [-1, 1, []],
        [1, True, []],
        [1, 1, [["x", "integer", "1", *[None] * 9]]],
        [1, 1, [["x", "integer", 0, None, None, float("nan"), *[None] * 6]]],
        [1, 1, [["x", "date", 0, None, None, 10**12, *[None] * 6]]],
        [1, 0, [["x", "text", 0, *[None] * 8, [["a", 1]]]]],
        [1, 1, [["x", "integer", 0]]],
        {"rows": 1},
    ],
)
def test_damage_is_named(content: Any) -> None:
    with pytest.raises(OnlineDataError, match="'the key' in Redis is damaged"):
        decode(b64encode(zlib.compress(json.dumps(content).encode())), "the key")


def test_every_changed_or_missing_byte_is_noticed() -> None:
    stored, chance = encode(STATISTICS).encode(), random.Random(1)
    for _ in range(2000):
        damaged = bytearray(stored)
        damaged[chance.randrange(len(stored))] = chance.randrange(256)
        if damaged != stored:
            with pytest.raises(OnlineDataError):
                decode(bytes(damaged), "key")
    for length in range(len(stored)):
        with pytest.raises(OnlineDataError):
            decode(stored[:length], "key")


def text_of(chance: random.Random, letters: str, length: int) -> str:
    return "".join(chance.choices(letters, k=length))


def test_200_features_take_64_kib_at_most() -> None:
    chance = random.Random(2)
    latin, chinese = string.ascii_letters + string.digits, "".join(map(chr, range(0x4E00, 0x9FA5)))

    def sampled() -> float:
        return float(f"{chance.gauss():.{DIGITS}g}")

    def number() -> FeatureStatistics:
        quantiles = {percent: sampled() for percent in PERCENTS}
        bins = tuple(chance.randrange(10_000) for _ in range(BINS))
        return FeatureStatistics(
            type="double precision", rows=2**32, nulls=chance.randrange(2**32), zeros=chance.randrange(2**32),
            not_finite=chance.randrange(2**32), minimum=chance.gauss(), maximum=chance.gauss(), mean=chance.gauss(),
            deviation=chance.gauss(), quantiles=quantiles, histogram=Histogram(sampled(), sampled(), bins),
        )  # fmt: skip

    def text(letters: str) -> FeatureStatistics:
        length = TEXT_BYTES // COMMONEST // len(letters[0].encode())
        commonest = [CommonValue(text_of(chance, letters, length), chance.random()) for _ in range(COMMONEST)]
        return FeatureStatistics(
            type="character varying", rows=2**32, nulls=chance.randrange(2**32), commonest=tuple(commonest)
        )

    for make in (number, lambda: text(latin), lambda: text(chinese)):
        features = {text_of(chance, latin, 63): make() for _ in range(200)}  # the longest names that Postgres allows
        assert len(encode(ViewStatistics(rows=2**32, sampled=10_000, features=features))) <= 64 * 1024


def test_statistics_make_a_table_of_features() -> None:
    table = STATISTICS.to_pandas()
    assert list(table.index) == list(FEATURES)
    assert table.loc["distance", ["null_share", "mean", "50%"]].to_list() == [0.1, 2.25, 2.5]
    assert table.loc["carrier", ["commonest", "commonest_share", "mean"]].to_list() == ["UA", 0.3, None]
