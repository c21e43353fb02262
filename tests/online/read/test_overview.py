"""How views are, and their definitions, by what Redis holds alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from online_features import (
    AsyncOnlineStore,
    ChecksFailedError,
    Condition,
    FeatureView,
    OfflineStore,
    OnlineAccessError,
    OnlineDataError,
    OnlineStore,
    UnknownViewError,
    ViewSummary,
    checks,
    materialize,
    verify,
)
from online_features.layouts import keyspace

from tests.support.servers.databases import Database

pytestmark = pytest.mark.servers

LAYOUTS = pytest.mark.layouts("msgpack", "hash", "json", "feast")


@pytest.fixture
def rows(database: Database) -> Database:
    database(
        "CREATE TABLE rows (id bigint, ts timestamptz, created timestamptz DEFAULT now(), gone bool, a text, b float8)"
    )
    database(
        "INSERT INTO rows SELECT i, now() - interval '3 hours', now() - interval '3 hours', false, 'a' || i, i / 4.0 "
        "FROM generate_series(1, 20) i"
    )
    return database


def summary_of(online: OnlineStore, view: FeatureView) -> ViewSummary:
    (found,) = [each for each in online.overview() if each.project == view.project and each.name == view.name]
    assert online.summary(str(view)).condition == found.condition
    return found


def test_a_view_within_its_objective_is_fresh(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(layout="msgpack", max_staleness=timedelta(hours=1))
    materialize(view, offline, online, origin={"dag_id": "nightly"})
    found = summary_of(online, view)
    assert (found.condition, found.reason, found.is_late) == (Condition.FRESH, "", False)
    assert (found.max_staleness, found.rows) == (timedelta(hours=1), 20)
    assert found.bytes
    assert found.bytes > 20 * 60
    assert found.generation == online.state(view).generation != "0"
    assert found.freshness.lag
    assert timedelta(0) < found.freshness.lag < timedelta(minutes=1)
    assert found.last_run
    assert found.last_run["origin"] == {"dag_id": "nightly"}


def test_a_view_without_objective_says_so(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(layout="msgpack", max_staleness=timedelta(hours=1))
    materialize(view, offline, online)
    materialize(replace(view, max_staleness=None), offline, online)
    found = summary_of(online, view)
    assert (found.condition, found.is_late) == (Condition.NO_OBJECTIVE, False)


def test_a_view_above_its_objective_is_late_also_while_it_is_held(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(layout="msgpack", max_staleness=timedelta(milliseconds=1))
    materialize(view, offline, online, full=True)
    materialize(view, offline, online, full=True)
    online.rollback([view])
    found = summary_of(online, view)
    assert (found.condition, found.is_late) == (Condition.LATE, True)
    assert "its objective is 1 ms" in found.reason


def test_a_view_with_an_objective_that_was_only_materialized_in_windows_is_late(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(max_staleness=timedelta(hours=1))
    now = datetime.now(UTC)
    materialize(view, offline, online, start=now - timedelta(seconds=30), end=now)
    assert summary_of(online, view).reason == "it has no watermark; its objective is 1:00:00"


def test_a_view_that_was_rolled_back_is_held_until_it_is_released(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(layout="msgpack", max_staleness=timedelta(hours=1))
    materialize(view, offline, online, full=True)
    materialize(view, offline, online, full=True)
    online.rollback([view])
    assert summary_of(online, view).condition == Condition.HELD
    online.release([view])
    assert summary_of(online, view).condition == Condition.FRESH


def test_the_reason_of_a_late_view_is_what_holds_it_back(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore,
    client: redis.Redis,
) -> None:  # fmt: skip
    view = make_view(layout="msgpack", max_staleness=timedelta(microseconds=1))
    materialize(view, offline, online)
    assert "; its last run ended " in summary_of(online, view).reason
    client.set(keyspace.lease_key(view), "the run", ex=30)
    assert summary_of(online, view).reason.endswith("; run the run is building")
    client.delete(keyspace.lease_key(view))
    rows("ALTER TABLE rows RENAME TO others")
    with pytest.raises(Exception, match="does not exist"):
        materialize(view, offline, online)
    found = summary_of(online, view)
    assert found.condition == Condition.LATE
    assert "; its last run failed: " in found.reason
    assert "does not exist" in found.reason
    rows("ALTER TABLE others RENAME TO rows")
    materialize(view, offline, online, full=True)
    online.rollback([view], origin={"by": "somebody"})
    found = summary_of(online, view)
    assert found.condition == Condition.LATE
    assert found.reason.endswith("release or publish ends that")


def test_a_build_that_is_not_published_is_told(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore,
    client: redis.Redis,
) -> None:  # fmt: skip
    view = make_view(layout="msgpack")
    generation = materialize(view, offline, online, full=True, publish=False).generation
    assert summary_of(online, view).reason == f"nothing of it is published; generation {generation} is ready"
    listed = json.loads(client.hget(keyspace.generations_key(view), generation))
    client.hset(keyspace.generations_key(view), generation, json.dumps({**listed, "state": "building"}))
    found = summary_of(online, view)
    assert found.reason == f"nothing of it is published; the run that built generation {generation} is gone"


def test_a_refused_build_is_told_until_another_one_is_published(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(layout="msgpack", max_staleness=timedelta(hours=1), checks=[checks.rows(at_least=10)])
    materialize(view, offline, online)
    rows("DELETE FROM rows WHERE id > 9")
    with pytest.raises(ChecksFailedError):
        materialize(view, offline, online, full=True)
    found = summary_of(online, view)
    assert found.condition == Condition.CHECK_FAILED
    assert "is not published" in found.reason
    materialize(view, offline, online)  # what is published goes on
    assert summary_of(online, view).condition == Condition.CHECK_FAILED
    rows("INSERT INTO rows (id, ts) VALUES (30, now())")
    materialize(view, offline, online, full=True)
    assert summary_of(online, view).condition == Condition.FRESH


def test_a_failed_run_is_told_until_one_succeeds(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(layout="msgpack", max_staleness=timedelta(hours=1))
    materialize(view, offline, online)
    rows("ALTER TABLE rows RENAME TO others")
    with pytest.raises(Exception, match="does not exist"):
        materialize(view, offline, online)
    found = summary_of(online, view)
    assert (found.condition, "does not exist" in found.reason) == (Condition.RUN_FAILED, True)
    rows("ALTER TABLE others RENAME TO rows")
    materialize(view, offline, online)
    assert summary_of(online, view).condition == Condition.FRESH


def test_a_view_that_is_being_built_says_so(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore,
    client: redis.Redis,
) -> None:  # fmt: skip
    view = make_view(layout="msgpack", max_staleness=timedelta(hours=1))
    materialize(view, offline, online)
    client.set(keyspace.lease_key(view), "the run", ex=30)
    found = summary_of(online, view)
    assert (found.condition, found.reason) == (Condition.BUILDING, "run the run is building")


def test_a_view_that_was_only_pushed_to(
    make_view: Callable[..., FeatureView], online: OnlineStore, project: str
) -> None:
    view = make_view(features=["a"])
    online.push(view, [{"id": 1, "ts": datetime.now(UTC), "a": "x"}])
    found = summary_of(online, view)
    assert (found.condition, found.reason) == (Condition.NO_OBJECTIVE, "it was never materialized")
    stored = online.stored_view(f"{project}:view")
    assert (stored.has_source, stored.transform) == (False, None)
    assert online.get_online_features(stored.view, [{"id": 1}])[0].values == {"a": "x"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda view, generation: ("HSET", keyspace.generations_key(view), generation, "{"),
        lambda view, generation: ("HSET", keyspace.generation_key(view, generation), "watermark", "soon"),
        lambda view, _: ("LSET", keyspace.runs_key(view), 0, "[1]"),
        lambda view, _: ("HSET", keyspace.published_key(view.project), view.name, "?"),
        lambda view, _: ("HSET", keyspace.published_key(view.project), view.name, b"\xff"),
        lambda view, generation: (
            "HSET",
            keyspace.generations_key(view),
            generation,
            '{"state": "published", "origin": [1]}',
        ),
        lambda view, _: ("LSET", keyspace.runs_key(view), 0, '{"outcome": "success"}'),
        lambda view, generation: ("HSET", keyspace.generation_key(view, generation), "max_staleness", "1e999"),
        lambda view, generation: ("HSET", keyspace.generation_key(view, generation), "bytes", "9" * 400),
        lambda view, generation: ("HSET", keyspace.generation_key(view, generation), "rows", "-1"),
        lambda view, generation: (
            "HSET",
            keyspace.generation_key(view, generation),
            "materialized_at",
            "0001-01-01T00:00:00+14:00",
        ),
        lambda view, generation: ("HSET", keyspace.generation_key(view, generation), "verification", '{"equal": "x"}'),
    ],
    ids=[
        "list",
        "state",
        "history",
        "pointer",
        "bytes of the pointer",
        "origin",
        "record",
        "objective",
        "bytes",
        "rows",
        "instant",
        "verification",
    ],
)
def test_damage_is_told_and_affects_its_view_only(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore,
    client: redis.Redis, damage: Callable[..., Any],
) -> None:  # fmt: skip
    view, other = (make_view(name=name, layout="msgpack", max_staleness=timedelta(hours=1)) for name in ("one", "two"))
    for each in (view, other):
        materialize(each, offline, online)
    client.execute_command(*damage(view, online.state(view).generation))
    found = summary_of(online, view)
    assert (found.condition, found.is_late) == (Condition.DAMAGED, False)
    assert "is damaged" in found.reason
    assert summary_of(online, other).condition == Condition.FRESH


def test_the_state_of_another_type_is_told(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore,
    client: redis.Redis,
) -> None:  # fmt: skip
    view = make_view(layout="msgpack")
    materialize(view, offline, online)
    client.delete(keyspace.runs_key(view))
    client.set(keyspace.runs_key(view), "text")
    found = summary_of(online, view)
    assert found.condition == Condition.DAMAGED
    assert "WRONGTYPE" in found.reason


def test_views_whose_keys_a_user_may_not_read_are_left_out(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, project: str,
    client: redis.Redis, redis_url: str,
) -> None:  # fmt: skip
    """Projects that share a Redis have rights of their own."""
    mine, theirs = make_view(layout="msgpack"), make_view(layout="msgpack", project=f"{project}-b")
    for each in (mine, theirs):
        materialize(each, offline, online)
    keys = f"~@online_features:*:{{{project}}}*"
    client.execute_command("ACL", "SETUSER", project, "on", ">secret", "+@all", f"~{keyspace.VIEWS_KEY}", keys)
    try:
        with redis.Redis.from_url(redis_url.replace("://", f"://{project}:secret@")) as limited:
            store = OnlineStore(limited)
            assert [str(each) for each in store.overview()] == [str(mine)]
            assert store.summary(str(mine)).rows == 20
            with pytest.raises(OnlineAccessError, match="reading the generations"):
                store.summary(str(theirs))
            client.execute_command("ACL", "SETUSER", project, "resetkeys", f"~{keyspace.VIEWS_KEY}")
            with pytest.raises(OnlineAccessError, match="reading the generations"):
                store.overview()
            client.execute_command("ACL", "SETUSER", project, keys.replace("*:{", "generation*:{"))
            with pytest.raises(OnlineAccessError):  # of a view that it may read in part
                store.overview()
    finally:
        client.execute_command("ACL", "DELUSER", project)


@LAYOUTS
def test_a_stored_view_is_the_view(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, project: str
) -> None:
    view = make_view(
        features=["a", "b"], ttl=timedelta(days=2), max_staleness=timedelta(minutes=5),
        source={"created_timestamp_column": "created", "deleted_field": "gone", "timezone": "Europe/Paris"},
    )  # fmt: skip
    materialize(view, offline, online)
    stored = online.stored_view(f"{project}:view")
    assert (stored.has_source, stored.transform) == (True, None)
    assert replace(stored.view, feast=view.feast) == view
    assert stored.view.max_staleness == timedelta(minutes=5)
    assert online.get_online_features(stored.view, [{"id": 4}])[0].values == {"a": "a4", "b": 1.0}
    materialize(stored.view, offline, online)
    assert online.runs(view)[0]["kind"] == "incremental"  # it has the same definition
    assert verify(stored.view, offline, online, sample=None).equal == 20


def test_before_anything_is_published_the_stored_view_is_that_of_the_newest_build(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> None:
    materialize(make_view(layout="msgpack", features=["b"]), offline, online, full=True, publish=False)
    materialize(make_view(layout="msgpack", features=["a"]), offline, online, full=True, publish=False)
    assert online.stored_view(str(make_view())).view.features == ("a",)
    online.publish([online.stored_view(str(make_view())).view])
    assert online.summary(str(make_view())).rows == 20


def test_a_build_without_a_state_does_not_hide_an_older_one(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore,
    client: redis.Redis,
) -> None:  # fmt: skip
    view = make_view(layout="msgpack", features=["a"])
    materialize(view, offline, online, full=True, publish=False)
    client.hset(keyspace.generations_key(view), "zzzzzzzz", json.dumps({"state": "failed", "failure": "killed"}))
    stored = online.stored_view(str(view)).view
    assert stored.features == ("a",)
    online.publish([stored])
    assert online.summary(str(view)).rows == 20


def test_a_query_is_stored(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, project: str
) -> None:
    view = make_view(layout="msgpack", source={"query": "SELECT id, ts, b * 2 AS c FROM rows"})
    materialize(view, offline, online)
    stored = online.stored_view(f"{project}:view").view
    assert stored.source == view.source
    assert stored.features == ("c",)


def test_views_are_found_by_name_alone_if_that_says_which(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, project: str
) -> None:
    for place in (project, f"{project}-b"):
        online.push(
            make_view(project=place, name=f"both{project}", features=["a"]),
            [{"id": 1, "ts": datetime.now(UTC), "a": ""}],
        )
    online.push(make_view(name=f"only{project}", features=["a"]), [{"id": 1, "ts": datetime.now(UTC), "a": ""}])
    assert online.stored_view(f"only{project}").view.project == project
    assert online.summary(f"{project}-b:both{project}").project == f"{project}-b"
    with pytest.raises(
        UnknownViewError, match=f"in several projects -> name one of {project}-b:both{project}, {project}:both"
    ):
        online.stored_view(f"both{project}")
    with pytest.raises(UnknownViewError, match=f"similar: {project}:only{project}"):
        online.summary(f"onli{project}")


def test_a_view_whose_first_run_failed_has_no_definition_yet(
    make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, project: str,
    client: redis.Redis,
) -> None:  # fmt: skip
    client.sadd(keyspace.VIEWS_KEY, f"{project}:view")
    try:
        assert summary_of(online, make_view()).condition == Condition.NO_OBJECTIVE
        with pytest.raises(OnlineDataError, match="nothing of it is online yet"):
            online.stored_view(f"{project}:view")
    finally:
        client.srem(keyspace.VIEWS_KEY, f"{project}:view")


def test_a_recorded_verification_is_there_until_the_next_build(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view(layout="msgpack")
    materialize(view, offline, online)
    verify(view, offline, online)
    assert summary_of(online, view).state.verification is None  # type: ignore[union-attr]
    rows("UPDATE rows SET b = 0 WHERE id = 3")
    report = verify(view, offline, online, record=True)
    found = summary_of(online, view).state.verification  # type: ignore[union-attr]
    assert found == json.loads(json.dumps(report.counts()))
    assert (found["equal"], found["different"], found["features"]) == (19, 1, {"b": 0.05})
    materialize(view, offline, online, full=True)
    assert summary_of(online, view).state.verification is None  # type: ignore[union-attr]


def test_hundreds_of_views_are_read_in_three_round_trips(
    make_view: Callable[..., FeatureView], online: OnlineStore, project: str, client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for i in range(300):
        client.sadd(keyspace.VIEWS_KEY, f"{project}:view{i}")
    exchanges = []
    deployment = online._deployment
    exchange = deployment.exchange
    monkeypatch.setattr(deployment, "exchange", lambda commands: exchanges.append(len(commands)) or exchange(commands))
    try:
        assert sum(each.project == project for each in online.overview()) == 300
    finally:
        client.srem(keyspace.VIEWS_KEY, *(f"{project}:view{i}" for i in range(300)))
    assert len(exchanges) == 3


def test_the_store_for_asyncio_tells_the_same(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, project: str,
    redis_url: str,
) -> None:  # fmt: skip
    view = make_view(layout="msgpack", max_staleness=timedelta(hours=1))
    materialize(view, offline, online)

    async def tell() -> tuple[Any, ...]:
        async with redis.asyncio.Redis.from_url(redis_url) as client:
            store = AsyncOnlineStore(client)
            name = f"{project}:view"
            return await store.overview(), await store.summary(name), await store.stored_view(name)

    views, summary, stored = asyncio.run(tell())
    assert summary.condition == Condition.FRESH
    assert str(summary) in map(str, views)
    assert stored == online.stored_view(f"{project}:view")


def test_all_protocols_tell_the_same(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, redis_url: str
) -> None:
    view = make_view(max_staleness=timedelta(hours=1))
    materialize(view, offline, online)
    for options in ({"protocol": 3}, {"protocol": 2, "decode_responses": True}):
        with redis.Redis.from_url(redis_url, **options) as client:
            assert summary_of(OnlineStore(client), view).condition == Condition.FRESH
