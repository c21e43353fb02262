"""What a reader in another language finds at a key."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize

from tests.conftest import at
from tests.support.online import row_key
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]


@pytest.fixture
def table(database: Database) -> Database:
    database(
        "CREATE TABLE rows (id text, ts timestamptz, created timestamptz, n int, big bigint, ratio float8, nan float8, "
        'exact numeric, flag bool, words text, "na""me\n" text, tree jsonb, many int[], seen timestamptz, nothing text)'
    )
    every_control = "".join(map(chr, range(1, 32)))
    database(
        "INSERT INTO rows VALUES ('a', %s, %s, 7, 9223372036854775807, 0.1, 'NaN', 1.50, true, %s, 'v', "
        """'{"a": [1.50, "é"]}', '{1,NULL}', %s, NULL)""",
        at(1), at(2), f'"\\ é 🛩 {every_control}', at(3),
    )  # fmt: skip
    database("INSERT INTO rows (id, ts) VALUES ('b', %s)", at(1))
    return database


def test_json_is_one_object_with_timestamps_first(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    view = make_view(source={"created_timestamp_column": "created"}, layout="json")
    materialize(view, offline, online)
    text = client.get(row_key(client, view, ["a"]))
    assert text.startswith(
        '{"_ts":"2026-01-01T01:00:00.000000Z","_flags":0,"_created":"2026-01-01T02:00:00.000000Z","n":7,'
    )
    assert json.loads(text) == {
        "_ts": "2026-01-01T01:00:00.000000Z",
        "_flags": 0,
        "_created": "2026-01-01T02:00:00.000000Z",
        "n": 7,
        "big": 9223372036854775807,
        "ratio": 0.1,
        "nan": "nan",
        "exact": "1.50",
        "flag": True,
        "words": '"\\ é 🛩 ' + "".join(map(chr, range(1, 32))),
        'na"me\n': "v",
        "tree": {"a": [1.5, "é"]},
        "many": [1, None],
        "seen": "2026-01-01T03:00:00.000000Z",
        "nothing": None,
    }
    other = json.loads(client.get(row_key(client, view, ["b"])))
    assert "_created" not in other
    assert {value for name, value in other.items() if name not in ("_ts", "_flags")} == {None}


def test_hash_has_one_field_per_feature_that_is_not_null(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    view = make_view(source={"created_timestamp_column": "created"}, features=["n", "nan", "flag", "nothing"])
    materialize(view, offline, online)
    assert client.hgetall(row_key(client, view, ["a"])) == {
        "_ts": "2026-01-01T01:00:00.000000Z",
        "_created": "2026-01-01T02:00:00.000000Z",
        "n": "7",
        "nan": "nan",
        "flag": "true",
    }
    assert client.hgetall(row_key(client, view, ["b"])) == {"_ts": "2026-01-01T01:00:00.000000Z"}


def test_another_layout_replaces_what_was_online(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    for layout, kind in (
        ("hash", "hash"),
        ("json", "string"),
        ("hash", "hash"),
        ("msgpack", "string"),
        ("hash", "hash"),
    ):
        view = make_view(features=["n"], layout=layout)
        assert materialize(view, offline, online, full=True).rows_written == 2
        assert client.type(row_key(client, view, ["a"])) == kind
        assert online.get_online_features(view, [{"id": "a"}])[0].values == {"n": 7}


@pytest.mark.parametrize("damaged", ["", "[]", "{", '{"n":1}', '{"_ts":"yesterday","n":1}'])
def test_a_damaged_object_is_named(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis, damaged: str
) -> None:
    view = make_view(features=["n"], layout="json")
    materialize(view, offline, online)
    client.set(row_key(client, view, ["a"]), damaged)
    (row,) = online.get_online_features(view, [{"id": "a"}])
    assert row.status == "unreadable"
    assert "the row of {'id': 'a'} is damaged" in row.reason


@pytest.mark.parametrize("field, damaged", [("_ts", "yesterday"), ("n", "seven"), ("flag", "maybe"), ("tree", "{")])
def test_a_damaged_field_is_named(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis, field: str,
    damaged: str,
) -> None:  # fmt: skip
    view = make_view()
    materialize(view, offline, online)
    client.hset(row_key(client, view, ["a"]), field, damaged)
    (row,) = online.get_online_features(view, [{"id": "a"}])
    assert row.status == "unreadable"
    assert "the row of {'id': 'a'} is damaged" in row.reason
