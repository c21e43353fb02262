"""The reader of the documentation in Node finds what a materialization wrote, in the types that are documented."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.common.instants import to_text

from tests.conftest import at
from tests.support import node
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]

# Answers each list of entities with their rows, each value with its type.
PROGRAM = """
import { createInterface } from 'node:readline'
import { createClient } from 'redis'
import { FeatureReader } from './reading.mjs'

const [url, view] = process.argv.slice(1)
const typed = (value) => {
  if (value === null) return null
  if (Buffer.isBuffer(value)) return ['bytes', value.toString('hex')]
  if (Array.isArray(value)) return value.map(typed)
  if (typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, typed(v)]))
  return [typeof value, Object.is(value, -0) ? '-0' : String(value)]
}
const client = await createClient({ url }).connect()
const reader = new FeatureReader(client)
for await (const line of createInterface({ input: process.stdin })) {
  const { watermark, rows } = await reader.read(view, JSON.parse(line))
  const told = rows.map((row) => row && { ...row, values: typed(row.values) })
  console.log(JSON.stringify({ watermark, rows: told }))
}
client.destroy()
"""

COLUMNS = {
    "flag": ("boolean", "true", ["boolean", "true"]),
    "small": ("smallint", "-3", ["number", "-3"]),
    "big": ("bigint", "9223372036854775807", ["bigint", "9223372036854775807"]),
    "ratio": ("float8", "0.1", ["number", "0.1"]),
    "huge": ("float8", "1e300", ["number", "1e+300"]),
    "whole": ("float8", "'10000000000000000000'", ["number", "10000000000000000000"]),
    "below": ("float8", "'-0'", ["number", "-0"]),
    "nan": ("float8", "'NaN'", ["number", "NaN"]),
    "endless": ("real", "'-Infinity'", ["number", "-Infinity"]),
    "exact": ("numeric", "12345678901234567890.10", ["string", "12345678901234567890.10"]),
    "words": ("text", "'é: \"🛩\"'", ["string", 'é: "🛩"']),
    "number like": ("text", "'1'", ["string", "1"]),
    "day": ("date", "'2026-01-31'", ["string", "2026-01-31"]),
    "seen": ("timestamptz", "'2026-01-01 01:00:00.5+00'", ["string", "2026-01-01T01:00:00.500000Z"]),
    "took": ("interval", "'1 day 2 hours'", ["string", "P1DT2H"]),
    "raw": ("bytea", "'\\x00ff'", ["bytes", "00ff"]),
    "which": ("uuid", "'00000000-0000-0000-0000-0000000000FF'", ["string", "00000000-0000-0000-0000-0000000000ff"]),
    "tree": ("jsonb", """'{"a": [1, null, "1"]}'""", {"a": [["number", "1"], None, ["string", "1"]]}),
    "said": ("jsonb", """'"null"'""", ["string", "null"]),
    "many": ("bigint[]", "'{1,NULL,9007199254740993}'", [["number", "1"], None, ["bigint", "9007199254740993"]]),
    "nothing": ("text", "NULL", None),
}


@pytest.fixture
def read(redis_url: str, make_view: MakeView) -> Iterator[Callable[[list[dict[str, Any]]], Any]]:
    view = make_view()
    with node.running(PROGRAM, redis_url, f"{view.project}:{view.name}") as ask:
        yield ask


@pytest.fixture
def table(database: Database) -> None:
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    values = ", ".join(f"CAST({value} AS {kind})" for kind, value, _ in COLUMNS.values())
    columns = ", ".join(f'"{name}" {kind}' for name, (kind, _, _) in COLUMNS.items())
    database(f"CREATE TABLE rows (shop text, id int, ts timestamptz, {columns})")
    database(f"INSERT INTO rows (shop, id, ts, {names}) VALUES ('a:{{%%}}é', 7, %s, {values})", at(1))


@pytest.mark.parametrize("layout", ["hash", "json"])
def test_node_reads_typed_values(
    table: None, make_view: MakeView, offline: OfflineStore, online: OnlineStore, read: Callable[..., Any]
) -> None:
    watermark = materialize(make_view(entities=["shop", "id"]), offline, online).watermark
    assert watermark is not None
    assert read([{"shop": "a:{%}é", "id": 7}, {"shop": "nobody", "id": 7}]) == {
        "watermark": to_text(watermark),
        "rows": [
            {
                "eventTimestamp": "2026-01-01T01:00:00.000000Z",
                "values": {name: expected for name, (_, _, expected) in COLUMNS.items()},
            },
            None,
        ],
    }


def test_node_follows_a_view_that_appears_changes_and_goes(
    table: None,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    client: redis.Redis,
    read: Callable[..., Any],
) -> None:
    def values() -> Any:
        (row,) = read([{"id": 7}])["rows"]
        return row and row["values"]

    assert values() is None
    for layout, features in (("hash", ["small"]), ("hash", ["small", "flag"]), ("json", ["flag"]), ("hash", ["flag"])):
        materialize(make_view(features=features, layout=layout), offline, online)
        for _ in range(2):
            assert values() == {name: COLUMNS[name][2] for name in features}
    client.delete(*client.scan_iter(f"*{make_view().project}*"))
    assert values() is None


def test_an_old_node_is_told_which_one_is_needed() -> None:
    program = """
        Object.defineProperty(process.versions, 'node', { value: '20.11.1' })
        await import('./reading.mjs').catch((error) => console.log(error.message))
    """
    assert node.run(program).strip() == "reading.mjs needs Node 22 or newer, and this is 20.11.1"
