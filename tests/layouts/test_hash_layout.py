"""The columnar encoder against the obvious one: a loop over rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from online_features import FeatureView, PostgresSource
from online_features.common.instants import to_text
from online_features.layouts import keyspace
from online_features.layouts.hash.hash_layout import HashLayout
from online_features.online.redis import row_calls
from online_features.online.redis.scripts import row_script
from online_features.schema import Column, RowSchema
from online_features.types.registry import typed_column
from redis._parsers import Encoder
from redis.connection import PythonRespSerializer

from tests.support.layouts import write_calls

pytestmark = pytest.mark.oldest

SOURCE = PostgresSource(table="rows", timestamp_field="ts", created_timestamp_column="created", deleted_field="gone")


def column(name: str, type_name: str) -> Column:
    return typed_column(name, type_name)


SCHEMA = RowSchema(
    keys=(column("user", "text"), column("shop", "bigint")),
    event_timestamp=column("ts", "timestamp with time zone"),
    created_timestamp=column("created", "timestamp with time zone"),
    deleted=column("gone", "boolean"),
    features=(column("count", "integer"), column("näme", "text"), column("ratio", "double precision")),
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UTC_MICROSECONDS = pa.timestamp("us", "UTC")
ARROW_TYPES = (pa.string(), pa.int64(), UTC_MICROSECONDS, UTC_MICROSECONDS, pa.bool_(), pa.int32(), pa.string(),
               pa.float64())  # fmt: skip

instants = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 1), timezones=st.just(UTC))
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8")) | st.sampled_from(
    ["a:b", "{x}", "%3A", "\r\n$1"]
)
rows = st.tuples(
    texts,
    st.integers(-(2**63), 2**63 - 1),
    instants,
    st.none() | instants,
    st.booleans(),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | texts,
    st.none() | st.floats(allow_nan=False),
)


def batch_of(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    arrays = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(ARROW_TYPES)]
    return pa.record_batch(arrays, names=[str(i) for i in range(len(ARROW_TYPES))])


NO_OWN_WORDS = "0"


def words_of(view: FeatureView, row: tuple[Any, ...]) -> tuple[str, list[str]]:
    user, shop, ts, created, gone, count, name, ratio = row
    key = keyspace.entity_key(view, keyspace.FIRST_GENERATION, [user, str(shop)])
    fields = {"_ts": to_text(ts), "_created": to_text(created) if created else None}
    if not gone:
        ratio_text = None if ratio is None else pa.scalar(ratio).cast(pa.string()).as_py()
        fields |= {"count": None if count is None else str(count), "näme": name, "ratio": ratio_text}
    pairs = [word for field, value in fields.items() if value is not None for word in (field, value)]
    row_words = [str(len(pairs)), *pairs]
    expiry = max(1, (ts + view.ttl - EPOCH) // timedelta(milliseconds=1)) if view.ttl else 0
    return key, [f"{'-' if gone else ''}{expiry}", *row_words]


def commands_of(view: FeatureView, rows: list[tuple[Any, ...]], rows_per_call: int) -> bytes:
    packer = PythonRespSerializer(2**30, Encoder("utf-8", "strict", False).encode)
    sha = row_script("write", HashLayout).sha
    packed = b""
    for start in range(0, len(rows), rows_per_call):
        some = [words_of(view, row) for row in rows[start : start + rows_per_call]]
        keys, arguments = [key for key, _ in some], [word for _, words in some for word in words]
        packed += b"".join(packer.pack("EVALSHA", sha, str(len(keys)), *keys, NO_OWN_WORDS, *arguments))
    return packed


@pytest.fixture(scope="module", params=[None, timedelta(days=3)])
def view(request: pytest.FixtureRequest) -> FeatureView:
    return FeatureView(name="view", project="p", entities=["user", "shop"], source=SOURCE, ttl=request.param,
                       layout="hash")  # fmt: skip


@given(rows=st.lists(rows, min_size=1, max_size=12))
def test_the_encoder_writes_what_a_loop_over_rows_would(view: FeatureView, rows: list[tuple[Any, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_calls, "ROWS_PER_CALL", 5)
        calls = write_calls(view, SCHEMA, batch_of(rows))
        assert b"".join(buffer for call in calls for buffer in call) == commands_of(view, rows, 5)


def test_a_sliced_batch_is_encoded_like_a_whole_one(view: FeatureView) -> None:
    row: Callable[[int], tuple[Any, ...]] = lambda i: (  # noqa: E731
        f"u{i}", i, datetime(2026, 1, 1, tzinfo=UTC), None, False, None if i % 2 else i, "x", 0.5)  # fmt: skip
    many = [row(i) for i in range(10)]
    calls = write_calls(view, SCHEMA, batch_of(many).slice(3, 4))
    assert b"".join(buffer for call in calls for buffer in call) == commands_of(view, many[3:7], 64)


def test_an_empty_batch_makes_no_call(view: FeatureView) -> None:
    assert list(write_calls(view, SCHEMA, batch_of([]))) == []


def test_wide_rows_make_short_calls(view: FeatureView) -> None:
    wide = ("u", 1, datetime(2026, 1, 1, tzinfo=UTC), None, False, 1, "x" * (row_calls.CALL_BYTES // 2), 0.5)
    assert len(list(write_calls(view, SCHEMA, batch_of([wide] * 4)))) == 4


@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=8, unique=True))
def test_different_entities_never_share_a_key(view: FeatureView, entities: list[tuple[str, str]]) -> None:
    keys = {keyspace.entity_key(view, keyspace.FIRST_GENERATION, list(entity)) for entity in entities}
    assert len(keys) == len(entities)
