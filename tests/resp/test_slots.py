"""Slots of many keys are those of redis-py for each of them."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from online_features.resp.slots import slots
from redis.crc import key_slot

pytestmark = pytest.mark.oldest

KEYS = st.lists(st.text(alphabet="{}ab\0é", max_size=8).map(str.encode) | st.binary(max_size=300), max_size=20)


@given(KEYS, st.integers(0, 3))
def test_slots_are_those_of_redis_py(keys: list[bytes], start: int) -> None:
    column = pa.array(keys, pa.binary()).slice(start)
    assert slots(column).tolist() == [key_slot(key) for key in keys[start:]]
