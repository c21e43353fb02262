"""Deleted, erased, pruned and expired entities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import InvalidRowsError, WindowError
from online_features.layouts.layout_registry import layout_of
from online_features.materialization.reporting.progress import Progress
from online_features.online.read._entity_sample import sample_online
from online_features.online.redis.conversation import hold
from online_features.online.write import row_removal
from online_features.online.write._row_script import RowScript
from online_features.online.write.row_removal import prune

from tests.conftest import at
from tests.support.layouts import LAYOUTS_OF_EVERY_TYPE
from tests.support.online import names_buried, names_online, row_key
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.layouts, pytest.mark.servers]

MakeView = Callable[..., FeatureView]


@pytest.fixture
def table(database: Database) -> Database:
    database(
        "CREATE TABLE rows (id text, ts timestamptz, created timestamptz DEFAULT clock_timestamp(), gone bool, x int)"
    )
    return database


@pytest.fixture
def view(table: Database, make_view: MakeView) -> FeatureView:
    return make_view(source={"created_timestamp_column": "created", "deleted_field": "gone"}, features=["x"])


def insert(table: Database, name: str, ts: datetime, gone: bool | None = False, x: int = 1) -> None:
    table("INSERT INTO rows (id, ts, gone, x) VALUES (%s, %s, %s, %s)", name, ts, gone, x)


def status(online: OnlineStore, view: FeatureView, name: str) -> str:
    return online.get_online_features(view, [{"id": name}])[0].status


def test_a_newest_row_that_says_gone_takes_the_entity_offline_and_keeps_older_rows_out(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    insert(table, "a", at(1))
    insert(table, "b", at(1), gone=None)
    materialize(view, offline, online)
    insert(table, "a", at(3), gone=True)
    assert materialize(view, offline, online).rows_deleted == 1
    assert names_online(online, view) == {"b"}
    assert online.push(view, [{"id": "a", "ts": at(2), "x": 2}]).rows_stale == 1
    assert materialize(view, offline, online, full=True).rows_deleted == 1
    assert status(online, view, "a") == "not_found"
    insert(table, "a", at(4))
    assert materialize(view, offline, online).rows_written == 1
    assert status(online, view, "a") == "present"
    assert names_buried(online, view) == set()


def test_what_is_erased_in_the_source_too_stays_gone_after_a_flush(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    for name in ("deleted", "marked", "left"):
        insert(table, name, at(1))
    materialize(view, offline, online)
    table("DELETE FROM rows WHERE id = 'deleted'")
    insert(table, "marked", at(2), gone=True)
    online.delete(view, [{"id": name} for name in ("deleted", "marked", "left")])
    materialize(view, offline, online, full=True)
    assert names_online(online, view) == set()
    client.delete(*client.scan_iter(f"*{view.project}*", count=10_000))  # as a flush does
    materialize(view, offline, online)
    assert names_online(online, view) == {"left"}
    assert names_buried(online, view) == {"marked"}


@pytest.mark.layouts(*LAYOUTS_OF_EVERY_TYPE)
def test_a_tombstone_lasts_as_long_as_an_older_row_could_be_written(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    view = make_view(source={"deleted_field": "gone"}, features=["x"], ttl=timedelta(hours=2))
    insert(table, "a", datetime.now(UTC) - timedelta(hours=1), gone=True)
    materialize(view, offline, online)
    assert names_buried(online, view) == {"a"}
    assert 3500 < client.ttl(row_key(client, view, ["a"])) <= 3600
    for_ever = make_view(name="for-ever", source={"deleted_field": "gone"}, features=["x"])
    materialize(for_ever, offline, online)
    assert names_buried(online, for_ever) == {"a"}
    assert client.ttl(row_key(client, for_ever, ["a"])) == -1


def test_erased_entities_are_gone_and_stay_gone(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    insert(table, "a", at(1))
    insert(table, "b", at(1))
    materialize(view, offline, online)
    assert online.delete(view, [{"id": "a"}, {"id": "never there"}]) == 1
    assert names_online(online, view) == {"b"}
    assert materialize(view, offline, online, full=True).rows_stale == 1
    assert status(online, view, "a") == "not_found"
    online.push(view, [{"id": "a", "ts": datetime.now(UTC) + timedelta(seconds=1), "x": 2}])
    assert status(online, view, "a") == "present"


def test_a_tombstone_is_not_a_row_to_readers_samples_and_pruning(view: FeatureView, online: OnlineStore) -> None:
    rows = [{"id": name, "ts": at(1), "gone": name == "marked", "x": 1} for name in ("erased", "marked", "there")]
    online.push(view, rows)
    assert online.delete(view, [{"id": "erased"}]) == 1
    state = online.state(view)
    assert state.schema is not None
    layout = layout_of(view, state.generation)
    for name, expected in (("erased", "not_found"), ("marked", "not_found"), ("there", "present")):
        assert status(online, view, name) == expected
    assert hold(online._deployment, sample_online(view, 10, 1)) == [{"id": "there"}]
    found: list[Any] = []

    def none_exists(asked: Any) -> set[int]:
        found.extend(asked)
        return set()

    assert prune(online._deployment, layout, state.schema.keys, datetime.max.replace(tzinfo=UTC), none_exists) == 1
    assert found == [["there"]]
    assert names_buried(online, view) == {"erased", "marked"}


def test_a_row_from_the_future_is_erased_too(view: FeatureView, online: OnlineStore) -> None:
    future = datetime.now(UTC) + timedelta(days=1)
    online.push(view, [{"id": "a", "ts": future, "x": 1}])
    assert online.delete(view, [{"id": "a"}]) == 1
    assert online.push(view, [{"id": "a", "ts": future - timedelta(seconds=1), "x": 1}]).rows_stale == 1
    assert status(online, view, "a") == "not_found"


def test_entities_to_erase_must_have_their_join_keys(view: FeatureView, online: OnlineStore) -> None:
    with pytest.raises(InvalidRowsError, match=r"entity \{'x': 1\} lacks join key 'id'"):
        online.delete(view, [{"x": 1}])


def test_pruning_removes_what_the_source_no_longer_has_and_nothing_else(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    for name in ("kept", "removed", "pushed:later"):
        insert(table, name, at(1))
    materialize(view, offline, online)
    table("DELETE FROM rows WHERE id <> 'kept'")
    online.push(view, [{"id": "ahead", "ts": datetime.now(UTC) + timedelta(hours=1), "x": 1}])

    def push_meanwhile(_: Progress) -> None:
        online.push(view, [{"id": "pushed:later", "ts": datetime.now(UTC) + timedelta(hours=1), "x": 2}])

    result = materialize(
        view, offline, online, full=True, in_place=True, prune=True, on_progress=push_meanwhile
    )  # fmt: skip
    assert (result.rows_written, result.entities_pruned) == (1, 1)
    assert names_online(online, view) == {"kept", "ahead", "pushed:later"}
    assert online.runs(view)[0]["entities_pruned"] == 1


def test_an_entity_written_while_it_is_being_pruned_stays(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    online.push(view, [{"id": "a", "ts": at(1), "x": 1}])

    def none_exists_but_a_push_comes(_: Any) -> set[int]:
        online.push(view, [{"id": "a", "ts": at(2), "x": 2}])
        return set()

    state = online.state(view)
    assert state.schema is not None
    layout = layout_of(view, state.generation)
    assert prune(online._deployment, layout, state.schema.keys, at(5), none_exists_but_a_push_comes) == 0
    assert status(online, view, "a") == "present"


def test_pruning_needs_all_of_history(view: FeatureView, offline: OfflineStore, online: OnlineStore) -> None:
    with pytest.raises(WindowError, match="give full=True with it"):
        materialize(view, offline, online, prune=True)


@pytest.mark.parametrize("window", [{}, {"full": True}, {"start": at(5), "end": at(6)}])
def test_other_entities_leave_no_orphans_behind(
    table: Database,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    client: redis.Redis,
    window: dict[str, Any],
) -> None:
    insert(table, "a", at(1), x=7)
    materialize(make_view(features=["gone"]), offline, online)
    by_x = make_view(entities=["x"], features=["gone"])
    result = materialize(by_x, offline, online, **window)
    assert result.rows_written == 1
    assert names_online(online, by_x) == {"7"}


@pytest.mark.layouts(*LAYOUTS_OF_EVERY_TYPE)
def test_a_newer_row_that_is_past_its_ttl_does_not_leave_an_older_one_as_if_it_were_fresh(
    table: Database,
    view: FeatureView,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    client: redis.Redis,
) -> None:
    now = datetime.now(UTC)
    insert(table, "a", now - timedelta(hours=3))
    materialize(view, offline, online)
    insert(table, "a", now - timedelta(hours=2))
    shorter = make_view(
        source={"created_timestamp_column": "created", "deleted_field": "gone"}, features=["x"], ttl=timedelta(hours=1)
    )
    assert materialize(shorter, offline, online, full=True, in_place=True).rows_expired == 1
    assert names_online(online, view) == set()


@pytest.mark.layouts(*LAYOUTS_OF_EVERY_TYPE)
@pytest.mark.parametrize("ttl, expected", [(timedelta(hours=2), 3600), (timedelta(hours=5), 4 * 3600), (None, -1)])
def test_a_changed_ttl_is_applied_to_rows_that_are_online(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis,
    ttl: timedelta | None, expected: int,
) -> None:  # fmt: skip
    insert(table, "a", datetime.now(UTC) - timedelta(hours=1))
    before, after = (make_view(features=["x"], ttl=each) for each in (timedelta(hours=3), ttl))
    materialize(before, offline, online)
    materialize(after, offline, online)
    assert client.ttl(row_key(client, after, ["a"])) == pytest.approx(expected, abs=60)


@pytest.mark.layouts("feast")  # all others build beside what is there
def test_a_crash_while_clearing_is_made_up_for_by_the_next_run(
    table: Database,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(5):
        insert(table, f"e{number}", at(1), x=number)
    materialize(make_view(features=["gone"]), offline, online)
    by_x = make_view(entities=["x"], features=["gone"])
    clear = RowScript.__call__
    calls: list[Any] = []

    def crash(self: RowScript, *arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return clear(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(row_removal, "KEYS_PER_CALL", 2)
        patch.setattr(RowScript, "__call__", crash)
        with pytest.raises(KeyboardInterrupt):
            materialize(by_x, offline, online)
    assert online.freshness(by_x).watermark is None
    materialize(by_x, offline, online)
    assert names_online(online, by_x) == {"0", "1", "2", "3", "4"}


def test_erased_entities_stay_gone_through_changes_of_type_layout_and_ttl(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    future = datetime.now(UTC) + timedelta(days=1)
    insert(table, "past", at(1))
    insert(table, "future", future)
    materialize(view, offline, online)
    assert online.delete(view, [{"id": "past"}, {"id": "future"}]) == 2
    other = "json" if view.layout == "hash" else "hash"
    for changed in (
        view,
        replace(view, ttl=timedelta(days=20_000)),
        replace(view, ttl=None, layout=other),
        replace(view, layout=other),
    ):
        materialize(changed, offline, online, full=True)
        assert [status(online, changed, name) for name in ("past", "future")] == ["not_found", "not_found"]
    table("ALTER TABLE rows ALTER id TYPE varchar")
    materialize(view, offline, online, full=True)
    assert status(online, view, "past") == "not_found"
    online.push(view, [{"id": "future", "ts": future + timedelta(seconds=1), "x": 1}])
    assert status(online, view, "future") == "present"


def test_what_is_online_is_neither_read_nor_erased_by_other_entities(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    insert(table, "a", at(1))
    materialize(view, offline, online)
    finer = replace(view, entities=["id", "x"], features=["gone"])
    (row,) = online.get_online_features(finer, [{"id": "a", "x": 9}])
    assert row.status == "not_found"
    with pytest.raises(InvalidRowsError, match="materialize the view before you erase"):
        online.delete(finer, [{"id": "a", "x": 9}])


@pytest.mark.layouts(*LAYOUTS_OF_EVERY_TYPE)
def test_join_keys_that_are_spelled_differently_in_another_type_leave_no_orphans_behind(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    table("ALTER TABLE rows ALTER id TYPE text")
    insert(table, "00000000-0000-0000-0000-0000000000FF", at(1))
    view = make_view(features=["x"])
    materialize(view, offline, online)
    table("ALTER TABLE rows ALTER id TYPE uuid USING id::uuid")
    materialize(view, offline, online)
    assert names_online(online, view) == {"00000000-0000-0000-0000-0000000000ff"}
