"""The vectors for writers of readers are what this package writes, of every type, and the reader in Node agrees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from online_features import OnlineStore
from online_features.types.registry import CODECS

from tests.conftest import Database
from tests.online.read.test_reading_in_node import PROGRAM
from tests.support import node
from tests.support.postgres_values import NOT_EVERYWHERE
from tests.support.vectors import FILE, LAYOUTS, PROJECT_NAME, text_of, vectors

VECTORS: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
KINDS: dict[str, Any] = {"number": float, "bigint": int, "string": str, "boolean": lambda told: told == "true"}


@pytest.fixture(autouse=True)
def nothing_left(client: redis.Redis) -> Iterator[None]:
    yield
    for key in client.scan_iter(f"*{PROJECT_NAME}:*", count=10_000):
        client.delete(key)


def test_the_file_is_what_is_written(database: Database, online: OnlineStore) -> None:
    assert text_of(vectors(database, online)) == FILE.read_text(encoding="utf-8"), (
        f"python -m {vectors.__module__} writes it"
    )


def test_every_type_is_in_it() -> None:
    assert CODECS.keys() - {vector["type"] for vector in VECTORS["values"]} <= NOT_EVERYWHERE


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_reader_in_node_reads_the_vectors(client: redis.Redis, redis_url: str, layout: str) -> None:
    row = VECTORS["rows"][layout]
    state = {"schema": json.dumps(VECTORS["schema"]), "schema_fingerprint": "1", "layout": layout}
    client.hset(f"@online_features:view:{{{row['view']}}}", mapping=state)
    if layout == "hash":
        client.hset(row["key"], mapping=row["stored"])
    else:
        client.set(row["key"], row["stored"])
    with node.running(PROGRAM, redis_url, row["view"]) as ask:
        (found,) = ask([{"id": "a"}])["rows"]
    assert found["eventTimestamp"] == VECTORS["event_timestamp"]
    for vector in VECTORS["values"]:
        told, expected = found["values"][vector["feature"]], vector["value"]
        match vector["encoding"]:
            case "json":
                assert _plain(told) == json.loads(json.dumps(expected), parse_int=_number), vector
            case "boolean":
                assert told == ["boolean", str(expected).lower()], vector
            case "float":
                assert (told[0], float(told[1])) == ("number", pytest.approx(float(expected), rel=0, nan_ok=True)), (
                    vector
                )
            case _:
                assert told[1] == expected, vector


def _plain(told: Any) -> Any:
    """JSON as the program tells it, without the names of types."""
    if isinstance(told, dict):
        return {name: _plain(value) for name, value in told.items()}
    if isinstance(told, list) and len(told) == 2 and isinstance(told[0], str) and told[0] in KINDS:
        return KINDS[told[0]](told[1])
    return [_plain(value) for value in told] if isinstance(told, list) else told


def _number(digits: str) -> float:
    """An integer as JavaScript holds it: where digits would be lost, with all of them."""
    return int(digits) if abs(int(digits)) >= 2**53 else float(digits)
