"""Packed hashes as servers read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.layouts.hash._crc64 import REFLECTED_POLYNOMIAL, crc64
from online_features.layouts.hash.packing import MAX_BYTES, PACKINGS, Listpack, Packing, Ziplist, packing

from tests.conftest import Database
from tests.support.online import replies

LENGTHS = st.sampled_from([0, 1, 7, 62, 63, 64, 65, 125, 126, 127, 128, 249, MAX_BYTES])
NAMES = LENGTHS.flatmap(lambda length: st.text("aä0", min_size=length, max_size=length)).filter(
    lambda name: len(name.encode()) <= MAX_BYTES
)
VALUES = st.none() | LENGTHS.flatmap(lambda length: st.binary(min_size=length, max_size=length)) | st.integers(
    -(2**70), 2**70
).map(lambda number: b"%d" % number)  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[bytes | None]]:
    """Columns of up to five rows, with "_ts" as the last one."""
    rows = draw(st.integers(1, 5))
    names = draw(st.lists(NAMES, max_size=8, unique=True))
    columns = {name: draw(st.lists(VALUES, min_size=rows, max_size=rows)) for name in names}
    return {**columns, "_ts": [b"2026-01-01T00:00:00.%06dZ" % row for row in range(rows)]}


@pytest.fixture(scope="module")
def server(redis_url: str) -> Iterator[redis.Redis]:
    """A server that looks at all that it is given to restore."""
    with redis.Redis.from_url(redis_url) as client:
        usual = client.config_get("sanitize-dump-payload")
        client.config_set("sanitize-dump-payload", "yes")
        yield client
        client.config_set("sanitize-dump-payload", usual["sanitize-dump-payload"])
        client.delete("packed")


@pytest.fixture(scope="module")
def packing_of_server(server: redis.Redis) -> Packing:
    found = packing(replies(server), "packed")
    assert isinstance(found, Packing)
    return found


def test_asking_a_server_what_it_takes_leaves_nothing_behind(server: redis.Redis) -> None:
    found = packing(replies(server), "packed")
    major = int(server.info("server")["redis_version"].split(".")[0])
    assert isinstance(found, Listpack if major >= 7 else Ziplist)
    assert not server.exists("packed")


@pytest.fixture
def careful(server: redis.Redis) -> Iterator[redis.Redis]:
    """A user who may do all but restore."""
    server.acl_setuser("careful", enabled=True, nopass=True, keys="*", commands=["+@all", "-restore"])
    address = {name: server.connection_pool.connection_kwargs[name] for name in ("host", "port")}
    with redis.Redis(**address, username="careful", password="any") as client:
        yield client
    server.acl_deluser("careful")


def test_a_user_who_may_not_restore_packs_nothing(careful: redis.Redis) -> None:
    assert packing(replies(careful), "packed") is None


def test_runs_of_a_user_who_may_not_restore_write_the_same(
    careful: redis.Redis, server: redis.Redis, database: Database, offline: OfflineStore,
    make_view: Callable[..., FeatureView],
) -> None:  # fmt: skip
    database("CREATE TABLE rows (id int, ts timestamptz, x int, y text)")
    database("INSERT INTO rows SELECT i, now(), nullif(i % 3, 0), repeat('y', i) FROM generate_series(1, 300) AS i")
    written = []
    for name, client in (("view", server), ("other", careful)):
        view = make_view(name=name)
        assert materialize(view, offline, OnlineStore(client), full=True).rows_written == 300
        written.append([server.hgetall(f"{view.project}:{name}:{i}") for i in range(1, 301)])
    assert written[0] == written[1]
    assert written[0][299][b"y"] == b"y" * 300


@given(table=tables())
def test_what_is_packed_is_what_a_server_reads(
    server: redis.Redis, packing_of_server: Packing, table: dict[str, list[bytes | None]]
) -> None:
    fields = [(name, pa.array(values, pa.binary())) for name, values in table.items()]
    for row, word in enumerate(packing_of_server.packed(fields).to_pylist()):
        server.restore("packed", 0, word, replace=True)
        present = {name.encode(): values[row] for name, values in table.items() if values[row] is not None}
        assert server.hgetall("packed") == present
        assert server.hmget("packed", [*table]) == [values[row] for values in table.values()]
        # Backwards and in place, as the sizes around the strings say.
        server.hdel("packed", *present)
        assert not server.exists("packed")


@pytest.mark.parametrize("tried", PACKINGS, ids=lambda tried: type(tried).__name__)
def test_what_is_too_long_is_not_packed(tried: Packing) -> None:
    last = ("_ts", pa.array(["t", "t", "t"]))
    values = pa.array(["x" * (MAX_BYTES + 1), None, "x" * MAX_BYTES])
    assert tried.packed([("name", values), last]).is_null().to_pylist() == [True, False, False]
    assert tried.packed([("n" * (MAX_BYTES + 1), values), last]).null_count == 3


@given(st.lists(st.binary(max_size=40)))
def test_checksums_are_those_of_a_loop_over_bytes(strings: list[bytes]) -> None:
    column = pa.array([b"in front", *strings, b"behind"], pa.binary())
    assert crc64(column.slice(1, len(strings))).tolist() == [checksum(string) for string in strings]


def test_the_checksum_of_the_digits_is_the_one_that_redis_documents() -> None:
    assert crc64(pa.array([b"123456789"])).tolist() == [0xE9C6D914C4B8D9CA]


def checksum(string: bytes) -> int:
    value = 0
    for byte in string:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (int(REFLECTED_POLYNOMIAL) if value & 1 else 0)
    return value
