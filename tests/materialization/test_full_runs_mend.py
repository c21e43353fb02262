"""What a full run puts right: bad loads, changed types, keys removed or changed by hand, and what Redis has lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from online_features import BuildInProgressError, FeatureView, OnlineStore, PublishError
from online_features.layouts import keyspace
from online_features.online.generations.building import take_lease
from online_features.online.generations.leases import release_lease
from online_features.online.redis import deployment_of

from tests.support.online import key_of
from tests.support.servers.databases import Database
from tests.support.stores import COLUMNS, Stores, at

pytestmark = pytest.mark.layouts("msgpack", "hash", "json")

AHEAD = 3 * 24 * 60  # minutes


@pytest.fixture
def stores(database: Database, online: OnlineStore, make_view: Callable[..., FeatureView], layout: str) -> Stores:
    database(f"CREATE TABLE rows ({COLUMNS})")
    view = make_view(features=["x"], layout=layout, source={"created_timestamp_column": "created"})
    return Stores(database, online, view)


def test_a_column_that_changes_its_type_leaves_no_row_behind_that_fails(stores: Stores) -> None:
    stores.database("ALTER TABLE rows ALTER x TYPE text")
    stores.database("INSERT INTO rows (id, ts, x) VALUES ('a', %s, 'one'), ('gone', %s, 'two')", at(0), at(0))
    stores.run()
    stores.online.push(stores.view, [{"id": "ahead", "ts": at(5), "x": "three"}])
    stores.database("DELETE FROM rows")
    stores.database("ALTER TABLE rows ALTER x TYPE int USING 0")
    stores.insert("a", 1, 1)
    # What was pushed does not fit the new type: a person decides.
    with pytest.raises(PublishError, match="lacks 1 pushed rows that its definition did not allow"):
        stores.run(full=True)
    assert stores.x("a", "gone", "ahead") == ["one", "two", "three"]
    stores.online.publish([stores.view], ignore_missed=True)
    assert stores.x("a", "gone", "ahead") == [1, None, None]
    stores.push("ahead", 6, 3)
    assert stores.run(full=True).is_published
    assert stores.x("a", "gone", "ahead") == [1, None, 3]


def test_a_bad_load_is_corrected_in_the_source_and_built(stores: Stores) -> None:
    for name in ("a", "b", "c"):
        stores.insert(name, 0, 1)
    stores.run()
    stores.push("pushed", 1, 7)
    stores.push("b", 20, 8)
    stores.push("both", 1, 7)
    # A load with newer timestamps, some of them of the future, and entities that do not exist.
    for name, minutes in (("a", 10), ("b", 10), ("c", AHEAD), ("new", AHEAD), ("both", 10)):
        stores.insert(name, minutes, -1)
    stores.run()
    assert stores.x("a", "b", "c", "new", "both", "pushed") == [-1, 8, -1, -1, -1, 7]
    stores.database("DELETE FROM rows WHERE x = -1")
    stores.run()
    assert stores.x("a", "c", "new") == [-1, -1, -1]
    stores.run(full=True)
    # The bad load has replaced what was pushed of "both", which is gone with it.
    assert stores.x("a", "b", "c", "new", "both", "pushed") == [1, 8, 1, None, None, 7]
    stores.run()
    assert stores.x("a", "b", "c", "new", "both", "pushed") == [1, 8, 1, None, None, 7]


@pytest.mark.parametrize("by_hand", ["removed", "changed", "of another type"])
def test_keys_that_were_changed_by_hand_are_put_right(stores: Stores, by_hand: str) -> None:
    for name in ("a", "b"):
        stores.insert(name, 0, 1)
    stores.run()
    client, key = stores.online._client, key_of(stores.online, stores.view, id="a")
    if by_hand == "removed":
        client.delete(key)
    elif by_hand == "of another type":
        client.delete(key)
        client.rpush(key, "a list")
    elif stores.view.layout == "hash":
        client.hset(key, mapping={"_ts": "2999-01-01T00:00:00.000000Z", "x": "9"})
    elif stores.view.layout == "msgpack":
        stored = client.get(key)
        client.set(key, stored[:5] + b"\xff" + stored[6:-1] + b"\t")  # a later event timestamp, and 9
    else:
        client.set(key, '{"_ts":"2999-01-01T00:00:00.000000Z","_flags":0,"x":9}')
    stores.run()  # an increment does not know
    assert stores.x("a") != [1]
    stores.run(full=True)
    assert stores.x("a", "b") == [1, 1]


def test_a_view_is_dropped_with_all_that_is_of_it_but_its_erasures(stores: Stores, client: redis.Redis) -> None:
    stores.insert("a", 0, 1)
    stores.insert("b", 0, 1)
    stores.run()
    stores.online.delete(stores.view, [{"id": "a"}])
    stores.run(full=True, publish=False)
    deployment = deployment_of(stores.online._client)
    take_lease(deployment, stores.view, "another")
    with pytest.raises(BuildInProgressError, match="another"):
        stores.online.drop(stores.view)
    assert stores.x("b") == [1]
    release_lease(deployment, stores.view, "another")
    assert stores.online.drop(stores.view) > 0
    assert stores.x("a", "b") == [None, None]
    left = list(client.scan_iter(f"*{stores.view.project}*", count=10_000))
    assert all(key.startswith("@online_features:erased:") for key in left)
    assert client.sismember(keyspace.VIEWS_KEY, keyspace.view_id(stores.view)) == 0
    stores.run()
    assert stores.x("a", "b") == [None, 1]
    stores.online.drop(stores.view, with_erasures=True)
    assert not list(client.scan_iter(f"*{stores.view.project}*", count=10_000))


def test_nothing_that_was_pushed_vanishes_when_runs_begin(stores: Stores) -> None:
    """A view that producers alone have written, its first full run, and its first increments."""
    pushed = {f"p{i}": i for i in range(5)}
    for name, x in pushed.items():
        stores.push(name, 1, x)
    stores.insert("p0", 0, -1)  # older than what was pushed
    stores.insert("p1", 2, 11)  # newer
    stores.insert("a", 0, 1)
    expected = {**pushed, "p1": 11, "a": 1}

    def check(**more: int) -> None:
        expected.update(more)
        assert dict(zip(expected, stores.x(*expected), strict=True)) == expected

    stores.run()
    check()
    stores.push("p5", 1, 5)
    stores.insert("a", 3, 2)
    stores.run()
    check(a=2, p5=5)
    stores.run(full=True)
    check()
    stores.run()
    stores.run(full=True)
    check()


def lose_the_pointer(client: redis.Redis, view: FeatureView) -> None:
    client.delete(keyspace.published_key(view.project))


def lose_the_list(client: redis.Redis, view: FeatureView) -> None:
    client.delete(keyspace.generations_key(view))


def lose_both(client: redis.Redis, view: FeatureView) -> None:
    client.delete(keyspace.generations_key(view), keyspace.published_key(view.project))


def lose_the_records(client: redis.Redis, view: FeatureView) -> None:
    client.delete(*client.scan_iter(f"@online_features:generation:{{{view.project}}}:*", count=10_000))


def lose_what_is_beside_the_rows(client: redis.Redis, view: FeatureView) -> None:
    client.delete(*client.scan_iter(f"@online_features:*{{{view.project}}}*", count=10_000))


def lose_the_rows(client: redis.Redis, view: FeatureView) -> None:
    client.delete(*client.scan_iter(f"{view.project}:*", count=10_000))


LOSSES = [lose_the_pointer, lose_the_list, lose_both, lose_the_records, lose_what_is_beside_the_rows, lose_the_rows]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_what_redis_has_lost_is_mended_by_the_next_runs(
    stores: Stores, client: redis.Redis, lose: Callable[[redis.Redis, FeatureView], None]
) -> None:
    stores.insert("a", 0, 1)
    first = stores.run()
    stores.run(full=True)
    stores.online.delete(stores.view, [{"id": "erased"}])
    stores.insert("erased", 0, 1)
    lose(client, stores.view)
    stores.insert("b", 1, 2)
    stores.run()
    if lose is lose_the_rows:  # an increment cannot know
        stores.run(full=True)
    assert stores.x("a", "b", "erased") == [1, 2, None]
    last = stores.run(full=True)
    assert last.generation > first.generation
    stores.insert("c", 1, 3)
    assert stores.run().watermark > last.watermark
    assert stores.x("a", "b", "c", "erased") == [1, 2, 3, None]
    stores.online.rollback([stores.view])
    assert stores.x("a", "b", "erased") == [1, 2, None]


@pytest.mark.parametrize("lose", [lose_the_pointer, lose_the_list], ids=lambda lose: lose.__name__)
def test_what_was_pushed_outlives_such_a_loss(
    stores: Stores, client: redis.Redis, lose: Callable[[redis.Redis, FeatureView], None]
) -> None:
    stores.insert("a", 0, 1)
    stores.run()
    stores.push("before", 1, 2)
    lose(client, stores.view)
    stores.push("after", 1, 3)
    stores.run()
    stores.run(full=True)
    assert stores.x("a", "before", "after") == [1, 2, 3]
