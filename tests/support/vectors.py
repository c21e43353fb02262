"""Test vectors for readers in other languages: values of every type in Redis, and the values that a reader returns.

``python -m tests.support.vectors`` writes them to docs/examples/vectors.json.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import redis
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize
from online_features.embedded import postgres_server, redis_server
from online_features.layouts import keyspace
from online_features.schema import Column, Encoding

from demo.workplace import PROJECT, workplace
from tests.support.online import held, state_key
from tests.support.postgres_values import ADDRESS, TYPES, VALUES
from tests.support.servers.databases import Database, new_database

FILE = PROJECT / "docs" / "examples" / "vectors.json"
PROJECT_NAME = "vectors"
LAYOUTS = ("msgpack", "hash", "json")
LONGEST_TEXT = 1000

SAMPLES = [(kind, text) for kind, text, _ in VALUES if len(text) <= LONGEST_TEXT]
# Values of join keys as Postgres writes them, and those of a key of two columns.
KEYS = [
    ("boolean", "true"), ("smallint", "-7"), ("bigint", "9223372036854775807"), ("oid", "4294967295"),
    ("numeric", "1.50"), ("numeric", "100"), ("text", "a:b{c}%é"), ("text", ""), ("character(4)", "ab"),
    ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"), ("bytea", "\\x00ff"), ("date", "2026-01-31"),
    ("timestamp without time zone", "2026-01-31 12:00"), ("timestamp with time zone", "2026-01-31 12:00+02"),
    ("inet", "10.0.0.1/8"), ("cidr", "10.0.0.0/8"), ("macaddr", "08:00:2b:01:02:03"), ("bit varying", "10101"),
    ("mood", "so so"),
]  # fmt: skip
COMPOSITE = [("bigint", "7"), ("text", "a:b")]
TIMESTAMP = datetime(2026, 1, 1, 1, tzinfo=UTC)


def vectors(database: Database, online: OnlineStore) -> dict[str, Any]:
    """Return all vectors, from rows that a materialization writes."""
    offline = OfflineStore(database.uri)
    database(TYPES + ADDRESS)
    columns = [f"f{number}" for number in range(len(SAMPLES))]
    declared = ", ".join(f"{column} {kind}" for column, (kind, _) in zip(columns, SAMPLES, strict=True))
    database(f"CREATE TABLE typed (id text, ts timestamptz, {declared})")
    marks = ", ".join(["%s"] * len(SAMPLES))
    database(f"INSERT INTO typed VALUES ('a', %s, {marks})", TIMESTAMP, *(text for _, text in SAMPLES))
    rows = {layout: _row(offline, online, layout) for layout in LAYOUTS}
    return {
        "event_timestamp": "2026-01-01T01:00:00.000000Z",
        "keys": [_key(database, offline, online, number, [key]) for number, key in enumerate(KEYS)]
        + [_key(database, offline, online, len(KEYS), COMPOSITE)],
        "schema": json.loads(rows["hash"].pop("schema")),
        "rows": rows,
        "values": _values(online, rows["hash"]["stored"]),
    }


def _view(name: str, table: str, layout: str, entities: list[str]) -> FeatureView:
    source = PostgresSource(table=table, timestamp_field="ts")
    return FeatureView(name=name, project=PROJECT_NAME, entities=entities, source=source, layout=layout)


def _row(offline: OfflineStore, online: OnlineStore, layout: str) -> dict[str, Any]:
    view = _view(layout, "typed", layout, ["id"])
    materialize(view, offline, online)
    stored = held(online, view, "a")
    state = {
        name.decode(): value.decode() for name, value in online._client.hgetall(state_key(online._client, view)).items()
    }
    schema = {"schema": state["schema"]} if layout == "hash" else {}
    return {
        "view": f"{PROJECT_NAME}:{layout}",
        "key": keyspace.entity_key(view, keyspace.FIRST_GENERATION, ["a"]),
        "stored": _readable(stored, layout),
        **schema,
    }


def _readable(stored: Any, layout: str) -> Any:
    """Return what Redis holds as JSON has it: bytes in hexadecimal."""
    match layout:
        case "msgpack":
            return stored.hex()
        case "hash":
            return {name.decode(): value.decode() for name, value in sorted(stored.items())}
    return stored.decode()


def _values(online: OnlineStore, stored: dict[str, str]) -> list[dict[str, Any]]:
    view = _view("hash", "typed", "hash", ["id"])
    schema = online.state(view).schema
    assert schema is not None
    (row,) = online.get_online_features(view, [{"id": "a"}])
    return [
        {
            "feature": column.name, "type": column.type, "encoding": column.encoding.value, "postgres": text,
            "value": _expected(column, row.values[column.name], stored[column.name]),
        }
        for column, (_, text) in zip(schema.features, SAMPLES, strict=True)
    ]  # fmt: skip


def _expected(column: Column, value: Any, stored: str) -> Any:
    """Return what a reader returns: JSON as such, bytes in hexadecimal, numbers with all their digits as text."""
    match column.encoding:
        case Encoding.BOOLEAN:
            return value
        case Encoding.JSON:
            return json.loads(stored)
        case Encoding.BASE64:
            return value.hex()
        case Encoding.INTEGER | Encoding.FLOAT | Encoding.NUMERIC:
            return str(value)
    return stored


def _key(
    database: Database, offline: OfflineStore, online: OnlineStore, number: int, columns: list[tuple[str, str]]
) -> dict[str, Any]:
    table, names = f"keyed{number}", [f"k{place}" for place in range(len(columns))]
    declared = ", ".join(f"{name} {kind}" for name, (kind, _) in zip(names, columns, strict=True))
    database(f"CREATE TABLE {table} ({declared}, ts timestamptz, x int)")
    marks = ", ".join(["%s"] * len(columns))
    database(f"INSERT INTO {table} VALUES ({marks}, %s, 1)", *(text for _, text in columns), TIMESTAMP)
    view = _view(table, table, "hash", names)
    materialize(view, offline, online)
    schema = online.state(view).schema
    assert schema is not None
    (key,) = set(online._client.scan_iter(f"{PROJECT_NAME}:{table}:*", count=10_000))
    generation = online.state(view).generation
    return {
        "types": [column.type for column in schema.keys],
        "encodings": [column.encoding.value for column in schema.keys],
        "postgres": [text for _, text in columns],
        "view": f"{PROJECT_NAME}:{table}",
        "key": key.decode().replace(f":{generation}:", f":{keyspace.FIRST_GENERATION}:", 1),
    }


def text_of(made: dict[str, Any]) -> str:
    """Return the text of the file of vectors: one a line."""
    return "{\n" + ",\n".join(f'"{name}": {_lines(part)}' for name, part in made.items()) + "\n}\n"


def _lines(part: Any) -> str:
    if not isinstance(part, list):
        return json.dumps(part, ensure_ascii=False)
    return "[\n" + ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in part) + "\n]"


def _write() -> None:
    with (
        workplace("vectors") as folder,
        postgres_server(folder) as uri,
        redis_server(folder) as url,
        new_database(uri) as database,
        redis.Redis.from_url(url) as client,
    ):
        FILE.write_text(text_of(vectors(database, OnlineStore(client))), encoding="utf-8")


if __name__ == "__main__":
    _write()
