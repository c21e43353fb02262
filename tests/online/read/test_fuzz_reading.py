"""Rows that are damaged in Redis: readers get the row, or an error that names it, and nothing else ever."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import redis
from online_features import FeatureView, PostgresSource
from online_features.layouts.feast.feast_types import FeastType
from online_features.layouts.keyspace import FIRST_GENERATION, generation_key, published_key
from online_features.online.generations._stored_schema import schema_fields
from online_features.online.read._row_query import RowQuery, read_rows
from online_features.online.read._view_cache import ViewCache
from online_features.online.read.freshness import FreshnessBounds
from online_features.online.read.online_rows import OnlineRows
from online_features.schema import Column, Encoding, RowSchema
from online_features.types._time_codecs import OTHER_TIME
from online_features.types.registry import element_of

from tests.layouts.test_fuzz_encoding import commands, feast_arrays, row_words
from tests.support.fuzzing import KINDS, column_of
from tests.support.layouts import write_calls

pytestmark = pytest.mark.faults

SEED = random.randrange(1_000_000)
ROWS = 40  # that are read together, one of them damaged
REQUESTS = {"msgpack": 12_000, "hash": 12_000, "json": 12_000, "feast": 12_000}
NOW = datetime(2026, 1, 1, tzinfo=UTC)

KEY = Column("id", "bigint", Encoding.INTEGER)
TS = Column("ts", "timestamp with time zone", Encoding.INSTANT)

HOSTILE: Sequence[Any] = (
    None, b"", b"\xff\xfe", b"\0", b" ", b"5", b"-", b"1_0", b" 1", b"\xd9\xa1", b"9" * 30, b"9" * 10_000, b"1e999",
    b"nan", b"sNaN", b"null", b"true", b"[", b"[]", b"{}", b"[5]", b'["x"]', b"[[1], null]", b"[NaN]", b'"\\ud800"',
    b"[" * 100_000, b'{"a":' * 100_000, b'{"_ts":5}', b'{"_ts":null}', b'{"_ts":"2026-01-01T00:00:00"}', b"infinity",
    b"x infinity", b"2026-13-01", b"20261-99-99", b"x BC", b"P", b"PT", b"\x08" + b"\xff" * 20,
    b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000, b"\xdc\0\3\0\0\0", b"\xd6\xff\0\0\0\0", b"\xdc\0\3" + b"\xff" * 3,
    b"\x20" + b"\x80" * 100_000 + b"\x01", b"\x12\xff\xff\xff\x7f",
    redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
)  # fmt: skip


def view_of(layout: str) -> FeatureView:
    source = PostgresSource(table="rows", timestamp_field="ts")
    return FeatureView(name="view", project="p", entities=["id"], source=source, layout=layout)


def features_of(layout: str, chance: random.Random) -> tuple[list[Column], list[pa.Array]]:
    if layout == "feast":
        columns, makers = zip(*feast_arrays(), strict=True)
        return list(columns), [make(chance).slice(0, ROWS) for make in makers]
    return [kind.column for kind in KINDS], [column_of(kind, ROWS, chance) for kind in KINDS]


class Online:
    """What Redis would reply to a reader of rows that were written by the encoder."""

    def __init__(self, layout: str, chance: random.Random) -> None:
        self.view, self.layout = view_of(layout), layout
        self.features, columns = features_of(layout, chance)
        key = Column("id", "bigint", Encoding.INTEGER, FeastType.INT64) if layout == "feast" else KEY
        self.schema = RowSchema(
            keys=(key,), event_timestamp=TS, created_timestamp=None, deleted=None, features=tuple(self.features)
        )
        stamps = pa.array([NOW - timedelta(minutes=number) for number in range(ROWS)], pa.timestamp("us", "UTC"))
        arrays = [pa.array(range(ROWS)), stamps, *columns]
        batch = pa.record_batch(arrays, names=[str(number) for number in range(len(arrays))])
        ((_, _, count, *words),) = commands(write_calls(self.view, self.schema, batch))
        words = words[int(count) :]
        at = 1 + int(words[0])
        self.replies = []
        for _ in range(ROWS):
            end = at + row_words(layout, words[at:], self.features)
            self.replies.append(self.reply(words[at + 1 : end]))
            at = end
        fields = schema_fields(self.schema)
        self.state = {"layout": layout, **fields}
        self.whole = self.read(self.replies, ViewCache())

    def reply(self, words: Sequence[bytes]) -> Any:
        match self.layout:
            case "json" | "msgpack":
                return words[0]
            case "feast":
                return list(words[2:])
        fields = dict(zip(words[1::2], words[2::2], strict=True))
        return [fields.get(name.encode()) for name in ("_ts", *(column.name for column in self.features))]

    def read(self, replies: Sequence[Any], views: ViewCache) -> OnlineRows:
        """Hold the conversation of a reader, with these replies to its questions for rows."""
        query = RowQuery(self.view, [{"id": number} for number in range(len(replies))], None, FreshnessBounds(), NOW)
        conversation = read_rows(query, views)
        hashes = {published_key("p"): {}, generation_key(self.view, FIRST_GENERATION): self.state}
        asked = next(conversation)
        try:
            while True:
                told = [[hashes[key].get(field) for field in form.words] for form, key in asked if key in hashes]
                asked = conversation.send([*told, *replies][: len(asked)])
        except StopIteration as end:
            return end.value


def mutated(told: bytes, chance: random.Random) -> bytes:
    """A byte changed, removed or added, or an end cut off, some times over."""
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        at = chance.randrange(len(told) + 1)
        front, back = told[:at], told[at:]
        byte, likely = chance.randbytes(1), chance.choice(b'0123456789-+_.eE:"[]{}, TZ').to_bytes()
        told = chance.choice(
            [front, back, front + byte + back, front + byte + back[1:], front + back[1:], front + likely + back[1:]]
        )
    return told


def damaged(reply: Any, chance: random.Random) -> Any:
    if isinstance(reply, bytes):
        return chance.choice(HOSTILE) if chance.random() < 0.1 else mutated(reply, chance)
    if chance.random() < 0.01:
        return HOSTILE[-1]
    parts = list(reply)
    at = chance.randrange(len(parts))
    hostile = [part for part in HOSTILE if not isinstance(part, Exception)]
    parts[at] = chance.choice(hostile) if chance.random() < 0.3 or parts[at] is None else mutated(parts[at], chance)
    return parts


# What a value of an encoding is to a reader, if it is one.
TYPES: Mapping[Encoding, Callable[[Any], bool]] = {
    Encoding.BOOLEAN: lambda value: type(value) is bool,
    Encoding.INTEGER: lambda value: type(value) is int,
    Encoding.FLOAT: lambda value: type(value) is float,
    Encoding.TEXT: lambda value: type(value) is str,
    Encoding.NUMERIC: lambda value: type(value) is Decimal and not value.is_snan(),
    Encoding.DATE: lambda value: type(value) is date or is_other_time(value),
    Encoding.TIMESTAMP: lambda value: type(value) is datetime or is_other_time(value),
    Encoding.INSTANT: lambda value: (type(value) is datetime and value.tzinfo is not None) or is_other_time(value),
    Encoding.TIME: lambda value: type(value) is time,
    Encoding.INTERVAL: lambda value: type(value) is timedelta or value in ("infinity", "-infinity"),
    Encoding.BASE64: lambda value: type(value) is bytes,
}


RANGES = {"smallint": range(-(2**15), 2**15), "integer": range(-(2**31), 2**31), "bigint": range(-(2**63), 2**63)}


def is_other_time(value: Any) -> bool:
    return type(value) is str and OTHER_TIME.fullmatch(value) is not None


def fits(column: Column, value: Any) -> bool:
    """Whether a value is one of the column's type: what a reader relies on, who does not know of damage."""
    if value is None or (column.encoding == Encoding.JSON and not column.is_array):
        return True
    if column.is_array:
        return isinstance(value, list) and all(all_fit(element_of(column), item) for item in value)
    return TYPES[column.encoding](value) and value in RANGES.get(column.type, (value,))


def all_fit(element: Column, item: Any) -> bool:
    return all(all_fit(element, inner) for inner in item) if isinstance(item, list) else fits(element, item)


def is_refused(online: Online, views: ViewCache, first: int, reply: Any) -> bool:
    """Whether a row is refused by name; else it, and its neighbours in any case, are what they may be.

    :param first: number of the row before it.
    :param reply: in place of the row.
    """
    replies = online.replies[first : first + 3]
    replies[1] = reply
    before, row, after = online.read(replies, views)
    assert [repr(other.values) for other in (before, after)] == [
        repr(online.whole[i].values) for i in (first, first + 2)
    ]
    if row.status == "unreadable":
        assert "{'id': 1}" in row.reason
        return True
    if online.layout != "feast":  # whose messages say themselves of which type they are
        misfits = {c.name: row.values[c.name] for c in online.features if not fits(c, row.values[c.name])}
        assert not misfits
    return False


@pytest.mark.parametrize("layout", REQUESTS)
def test_a_damaged_row_is_read_or_refused_by_name(layout: str) -> None:
    chance = random.Random(f"{SEED} {layout}")
    online, views = Online(layout, chance), ViewCache()
    assert [row.status for row in online.whole] == ["present"] * ROWS
    refused = 0
    for number in range(REQUESTS[layout]):
        first = chance.randrange(ROWS - 3)
        reply = damaged(online.replies[first + 1], chance)
        try:
            refused += is_refused(online, views, first, reply)
        except Exception as error:
            error.add_note(f"seed {SEED}, request {number}: {str(reply)[:500]}")
            raise
    print(f"{REQUESTS[layout]} damaged rows in layout {layout}, {refused} refused by name, seed {SEED}")
    assert refused > REQUESTS[layout] / 4
