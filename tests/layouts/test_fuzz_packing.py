"""Packed rows of random lengths, as the server reads them, and their checksums, as it counts them."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pyarrow as pa
import pytest
import redis
from online_features.layouts.hash._crc64 import crc64
from online_features.layouts.hash.packing import MAX_BYTES, Packing, packing

from tests.layouts.test_packing import checksum, server  # noqa: F401
from tests.support.online import replies

pytestmark = pytest.mark.faults

ROWS = 100
BATCHES = 40
SEED = random.randrange(1_000_000)
ENDS = (0, 1, 11, 12, 13, 62, 63, 64, 65, 125, 126, 127, 128, 247, 248, 249, MAX_BYTES)


def value(chance: random.Random) -> bytes | None:
    """Bytes of any kind, or what a server might take for a number."""
    match chance.randrange(8):
        case 0:
            return None
        case 1:
            return str(chance.randrange(-(2**66), 2**66) >> chance.randrange(66)).encode()
        case 2:
            return chance.randbytes(chance.choice(ENDS))
    return chance.randbytes(chance.randrange(30))


def fields_of(chance: random.Random) -> list[tuple[str, pa.Array]]:
    """Columns with names of any length, and as the last one the one that every row has."""
    names = {
        "n" * chance.choice(ENDS[1:]) if chance.random() < 0.3 else f"f{i}" for i in range(chance.randrange(1, 40))
    }
    columns = [(name, pa.array([value(chance) for _ in range(ROWS)], pa.binary())) for name in sorted(names)]
    return [*columns, ("_ts", pa.array([b"t" * chance.choice(ENDS) for _ in range(ROWS)], pa.binary()))]


@pytest.fixture
def packing_of_server(server: redis.Redis) -> Packing:  # noqa: F811
    found = packing(replies(server), "packed")
    assert found is not None
    return found


def test_what_is_packed_is_what_the_server_unpacks(
    server: redis.Redis, packing_of_server: Packing  # noqa: F811
) -> None:  # fmt: skip
    inputs = 0
    for number in range(BATCHES):
        fields = fields_of(random.Random(f"{SEED} {number}"))
        with server.pipeline(transaction=False) as pipeline:
            for word in packing_of_server.packed(fields).to_pylist():
                pipeline.restore("packed", 0, word, replace=True)
                pipeline.hgetall("packed")
            found = pipeline.execute()[1::2]
        columns = [(name.encode(), column.to_pylist()) for name, column in fields]
        expected = [{name: column[row] for name, column in columns if column[row] is not None} for row in range(ROWS)]
        assert found == expected, f"seed {SEED}, batch {number}"
        inputs += ROWS * len(fields)
    print(f"{inputs} values packed and unpacked by Redis, seed {SEED}")
    assert inputs > 30_000


def strings(chance: random.Random) -> Iterator[bytes]:
    for _ in range(5000):
        yield chance.randbytes(chance.choice([chance.randrange(24), chance.randrange(70)]))


def test_checksums_are_those_of_a_loop_over_bytes() -> None:
    column = pa.array([b"before", *strings(random.Random(SEED))], pa.binary())
    assert crc64(column.slice(1)).tolist() == [checksum(string) for string in column.to_pylist()[1:]], f"seed {SEED}"
