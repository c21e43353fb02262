"""What scripts make of the timestamps and flags of rows of layout msgpack."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from online_features.layouts.keyspace import PUSHED, TOMBSTONE
from online_features.layouts.msgpack.msgpack_layout import STAMP_BYTES, MsgpackLayout
from online_features.online.redis import scripts

from tests.support.fuzzing import FIRST, LAST, instant
from tests.support.msgpack_rows import packed_row

pytestmark = pytest.mark.servers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NONE = bytes(STAMP_BYTES)
COMPARE = """
local found = {}
for i = 2, #ARGV, 2 do
  found[#found + 1] = is_before(ARGV[i], ARGV[i + 1]) and 1 or 0
end
return found
"""
LAYOUT = MsgpackLayout(None, "0")  # type: ignore[arg-type]


@pytest.fixture
def store(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as store:
        yield store


def ask(store: redis.Redis, script: str, keys: list[str], *arguments: Any) -> Any:
    """Run a script with the functions of the layout."""
    source = scripts.row_functions(MsgpackLayout) + script
    return store.eval(source, len(keys), *keys, "0", *arguments)


def stamps(store: redis.Redis, key: str) -> Any:
    return ask(store, "local a, b, c = stamp_of(KEYS[1]); return { a, b, c }", [key])


def test_timestamps_are_compared_as_numbers(store: redis.Redis) -> None:
    chance = random.Random(0)
    moments = [FIRST, LAST, *(instant(chance) for _ in range(200))]
    pairs = [(chance.choice(moments), chance.choice(moments)) for _ in range(500)]
    pairs += [(moment, moment + timedelta(microseconds=1)) for moment in moments if moment < LAST]
    words = [LAYOUT.stamp(moment) for pair in pairs for moment in pair]
    assert ask(store, COMPARE, [], *words) == [int(first < second) for first, second in pairs]
    assert ask(store, COMPARE, [], NONE, LAYOUT.stamp(FIRST), LAYOUT.stamp(FIRST), NONE) == [1, 0]


@pytest.mark.parametrize("flags", [0, TOMBSTONE, PUSHED, TOMBSTONE | PUSHED])
def test_a_row_has_timestamps_and_flags(store: redis.Redis, project: str, flags: int) -> None:
    for moment, created in ((FIRST, None), (LAST, NOW), (NOW, LAST)):
        store.set(project, packed_row([], [], moment, created, flags))
        assert stamps(store, project) == [LAYOUT.stamp(moment), LAYOUT.stamp(created), flags]


def test_where_nothing_is_there_are_none(store: redis.Redis, project: str) -> None:
    assert stamps(store, project) == [None]


ROW = packed_row([], [], NOW, NOW, PUSHED)


@pytest.mark.parametrize(
    "damaged", [b"x", ROW[:-1], b"\xdd" + ROW[1:], ROW[:3] + b"\xce" + ROW[4:], ROW[:12] + b"\xce" + ROW[13:]]
)
def test_a_damaged_row_is_older_than_any(store: redis.Redis, project: str, damaged: bytes) -> None:
    store.set(project, damaged)
    assert stamps(store, project) == [NONE, NONE, 0]


def test_a_timestamp_after_the_year_9999_is_damaged(store: redis.Redis, project: str) -> None:
    store.set(project, ROW[:4] + (int.from_bytes(LAYOUT.stamp(LAST)) + 1).to_bytes(8) + ROW[12:])  # type: ignore[arg-type]
    assert stamps(store, project) == [NONE, LAYOUT.stamp(NOW), PUSHED]


def test_a_tombstone_is_a_row_without_features(store: redis.Redis, project: str) -> None:
    for created in (None, LAST):
        ask(store, "bury(KEYS[1], ARGV[2], ARGV[3], 0, 0)", [project], LAYOUT.stamp(NOW), LAYOUT.stamp(created))
        assert store.get(project) == packed_row([], [], NOW, created, TOMBSTONE)
    assert not LAYOUT.is_row(store.execute_command(*LAYOUT.read_presence.on(project)))
    store.set(project, ROW)
    assert LAYOUT.is_row(store.execute_command(*LAYOUT.read_presence.on(project)))


def test_a_key_of_another_type_is_named(store: redis.Redis, project: str) -> None:
    store.rpush(project, "x")
    with pytest.raises(redis.ResponseError, match=f"WRONGTYPE.*key {project}"):
        stamps(store, project)
