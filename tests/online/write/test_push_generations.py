"""Pushes while a view has several generations: all of them that may be published get the rows."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import InvalidRowsError
from online_features.layouts import keyspace
from online_features.online.generations.push_states import PushStates
from online_features.online.redis.scripts import state_script

from tests.conftest import at
from tests.support.layouts import LAYOUTS_OF_TEXTS
from tests.support.moments import just_before
from tests.support.online import published
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.layouts(*LAYOUTS_OF_TEXTS), pytest.mark.servers]

MakeView = Callable[..., FeatureView]

BUILDING, READY, RETIRED, FAILED = "0000000b", "0000000c", "0000000d", "0000000e"


@pytest.fixture
def view(database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore) -> FeatureView:
    database("CREATE TABLE rows AS SELECT 'a' AS id, %s AS ts, 1 AS x", at(1))
    view = make_view()
    materialize(view, offline, online, full=True)
    return view


def add(client: redis.Redis, view: FeatureView, generation: str, state: str, **fields: str) -> None:
    """Add a generation to the list, with the schema of the published one or other fields."""
    hashed = client.hgetall(keyspace.generation_key(view, published(client, view)))
    kept = {name: hashed[name] for name in ("layout", "definition", "fingerprint", "schema", "schema_fingerprint")}
    client.hset(keyspace.generation_key(view, generation), mapping={**kept, **fields})
    client.hset(keyspace.generations_key(view), generation, json.dumps({"state": state}))
    client.hset(keyspace.generations_key(view), "@version", uuid.uuid4().hex)


def recorded(client: redis.Redis, view: FeatureView, generation: str) -> list[Any]:
    """Return what pushes have recorded in a generation: whether there were any, and how many rows it lacks."""
    return client.hmget(keyspace.generation_key(view, generation), "pushed", "missed")  # type: ignore[no-any-return]


def is_there(client: redis.Redis, view: FeatureView, generation: str, name: str) -> bool:
    return client.exists(keyspace.entity_key(view, generation, [name])) == 1


def commands_of(client: redis.Redis, act: Callable[[], Any]) -> Iterator[str]:
    """Yield the commands that are sent while something is done."""
    with client.monitor() as monitor:
        act()
        client.echo("the end")
        while (command := monitor.next_command())["command"] != "ECHO the end":
            if command["client_type"] != "lua":
                yield command["command"]


def test_all_generations_that_may_be_published_get_a_push_and_the_published_one_last(
    view: FeatureView, online: OnlineStore, client: redis.Redis
) -> None:
    for generation, state in {BUILDING: "building", READY: "ready", RETIRED: "retired", FAILED: "failed"}.items():
        add(client, view, generation, state)
    online.push(view, [{"id": "a", "ts": at(2), "x": 2}])  # the server has the script from here on
    now = published(client, view)
    row_key = re.compile(rf"{re.escape(keyspace.view_id(view))}:(\w+):{{b}}")
    commands = commands_of(client, lambda: online.push(view, [{"id": "b", "ts": at(2), "x": 2}]))
    written = [found[1] for command in commands if (found := row_key.search(command))]
    assert written == [keyspace.FIRST_GENERATION, BUILDING, READY, now]
    assert not is_there(client, view, RETIRED, "b")
    assert not is_there(client, view, FAILED, "b")
    for generation in (BUILDING, READY, now):
        assert is_there(client, view, generation, "b")
        assert online.get_online_features(view, [{"id": "b"}], at_generation=generation)[0].values == {"x": 2}
        assert recorded(client, view, generation) == ["1", None]
    assert recorded(client, view, RETIRED) == [None, None]


def test_a_push_is_written_again_to_a_generation_that_is_registered_meanwhile(
    view: FeatureView, online: OnlineStore, client: redis.Redis
) -> None:
    online.push(view, [{"id": "a", "ts": at(2), "x": 2}])
    add(client, view, BUILDING, "building")
    result = online.push(view, [{"id": "b", "ts": at(2), "x": 2}])
    assert (result.rows_read, result.rows_written) == (1, 1)
    assert is_there(client, view, BUILDING, "b")
    assert not is_there(client, view, BUILDING, "a")  # the build carries over what was pushed before it
    assert recorded(client, view, BUILDING) == ["1", None]


def test_after_a_switch_it_is_another_generation_that_has_to_hold_a_push(
    view: FeatureView, online: OnlineStore, client: redis.Redis
) -> None:
    schema = client.hget(keyspace.generation_key(view, published(client, view)), "schema")
    assert schema is not None
    add(client, view, READY, "ready", schema=schema.replace('"integer"', '"boolean"'), schema_fingerprint="b")
    assert online.push(view, [{"id": "b", "ts": at(2), "x": 2}]).rows_written == 1
    client.hset(keyspace.published_key(view.project), view.name, f"{READY} 2")
    with pytest.raises(InvalidRowsError, match="column 'x': 2 is not of type boolean"):
        online.push(view, [{"id": "b", "ts": at(3), "x": 2}])
    assert online.push(view, [{"id": "b", "ts": at(3), "x": True}]).rows_written == 1
    assert online.get_online_features(view, [{"id": "b"}])[0].values == {"x": True}
    assert recorded(client, view, READY) == ["1", "1"]


def test_only_a_change_of_the_list_makes_a_push_be_written_again(
    view: FeatureView, online: OnlineStore, client: redis.Redis
) -> None:
    rows = [{"id": "b", "ts": at(2), "x": 2}]
    online.push(view, rows)
    push = state_script("push").source.split("\n", 1)[0]

    def pushes() -> int:
        return sum(push in command for command in commands_of(client, lambda: online.push(view, rows)))

    assert pushes() == 1
    add(client, view, BUILDING, "building")
    assert pushes() == 2
    assert pushes() == 1


@pytest.mark.parametrize("states", [["building"], ["ready", "building"]])
def test_rows_that_another_generation_cannot_hold_are_counted_as_missed_there(
    view: FeatureView, online: OnlineStore, client: redis.Redis, states: list[str]
) -> None:
    now = published(client, view)
    schema = client.hget(keyspace.generation_key(view, now), "schema")
    assert schema is not None
    for generation, state in zip((BUILDING, READY), states, strict=False):
        add(client, view, generation, state, schema=schema.replace('"integer"', '"boolean"'), schema_fingerprint="b")
    for missed, rows in ((2, "bc"), (3, "d")):
        result = online.push(view, [{"id": name, "ts": at(2), "x": 2} for name in rows])
        assert (result.rows_read, result.rows_written) == (len(rows), len(rows))
        for generation in (BUILDING, READY)[: len(states)]:
            assert recorded(client, view, generation) == [None, str(missed)]
            assert not is_there(client, view, generation, rows[0])
    assert recorded(client, view, now) == ["1", None]


def test_a_push_that_the_published_generation_cannot_hold_is_refused_and_written_nowhere(
    view: FeatureView, online: OnlineStore, client: redis.Redis
) -> None:
    add(client, view, BUILDING, "building")
    with pytest.raises(InvalidRowsError, match="column 'x': 'two' is not of type integer"):
        online.push(view, [{"id": "b", "ts": at(2), "x": "two"}])
    assert not is_there(client, view, BUILDING, "b")
    assert recorded(client, view, BUILDING) == [None, None]


def test_features_that_are_new_to_generation_0_come_last(make_view: MakeView, online: OnlineStore) -> None:
    for names in (["m"], ["a", "m", "z"], ["b"], ["m", "z"]):
        row = {"id": names[0], "ts": at(1), **dict.fromkeys(names, 1)}
        online.push(make_view(features=names), [row])
    state = online.state(make_view())
    assert state.generation == keyspace.FIRST_GENERATION
    assert state.schema is not None
    assert [feature.name for feature in state.schema.features] == ["m", "a", "z", "b"]
    rows = online.get_online_features(make_view(), [{"id": "m"}, {"id": "a"}, {"id": "b"}])
    assert [row.values for row in rows] == [
        {"m": 1, "a": None, "z": 1, "b": None},
        {"m": 1, "a": 1, "z": 1, "b": None},
        {"m": None, "a": None, "z": None, "b": 1},
    ]


def test_a_generation_whose_hash_is_lost_does_not_get_one_from_a_push(
    view: FeatureView, online: OnlineStore, client: redis.Redis
) -> None:
    add(client, view, READY, "ready")
    client.delete(keyspace.generation_key(view, READY))
    online.push(view, [{"id": "b", "ts": at(2), "x": 2}])
    assert not client.exists(keyspace.generation_key(view, READY))
    assert recorded(client, view, published(client, view)) == ["1", None]


def test_a_first_push_goes_to_a_generation_that_is_registered_while_types_are_recorded(
    make_view: MakeView, online: OnlineStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = make_view(name="new")

    def register() -> None:
        OnlineStore(client).push(view, [{"id": "other", "ts": at(1), "x": 1}])  # records the same types
        client.hset(keyspace.generation_key(view, BUILDING), "layout", view.layout)
        client.hset(keyspace.generations_key(view), BUILDING, json.dumps({"state": "building"}))
        client.hset(keyspace.generations_key(view), "@version", uuid.uuid4().hex)

    just_before(monkeypatch, PushStates, "record", register)
    online.push(view, [{"id": "a", "ts": at(1), "x": 1}])
    assert is_there(client, view, BUILDING, "a")
    assert is_there(client, view, keyspace.FIRST_GENERATION, "a")
