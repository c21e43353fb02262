"""What a check finds: the words are what an operator reads at night."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import redis.asyncio
from online_features import AsyncOnlineStore, FeatureView, OfflineStore, OnlineStore, materialize
from online_features.embedded import HOST, embedded_redis, reserved_port
from online_features.errors import InvalidRowsError, OnlineDataError, OnlineStoreUnavailableError, WindowError
from online_features.feature_view import LAYOUTS
from online_features.layouts import keyspace
from online_features.online.read._entity_sample import sample_online
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
from online_features.online.read.view_freshness_check import FreshnessResult, ViewFreshnessCheck, ViewStatus
from online_features.online.redis import deployment_of
from online_features.online.redis.conversation import hold
from online_features.online.redis.deployment import SCAN_COUNT

from tests.conftest import at
from tests.support.online import row_key, state_key
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]

HOUR = timedelta(hours=1)


@pytest.fixture
def view(make_view: MakeView) -> FeatureView:
    return make_view()


@pytest.fixture(scope="module")
def empty_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


def push(online: OnlineStore, view: FeatureView, **ages: timedelta) -> None:
    """Rows of entities by how old they are."""
    now = datetime.now(UTC)
    online.push(view, [{"id": name, "ts": now - age, "x": 1} for name, age in ages.items()])


def of_view(view: FeatureView, **bounds: Any) -> ViewFreshnessCheck:
    return ViewFreshnessCheck(view=view, **({"max_staleness": HOUR} | bounds))


def test_a_watermark_is_fresh_until_it_is_too_old(
    view: FeatureView, database: Database, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() - interval '2 hours' AS ts, 1 AS x")
    watermark = materialize(view, offline, online).watermark
    assert watermark is not None
    found = online.check(of_view(view))
    assert found.is_fresh
    assert 0 <= found.measured["lag_seconds"] < 60
    assert found.measured["event_lag_seconds"] == pytest.approx(7200, abs=60)
    assert not online.check(of_view(view, max_staleness=timedelta(0))).is_fresh
    assert online.check(of_view(view, max_staleness=None, at_least=watermark)).is_fresh
    behind = online.check(of_view(view, at_least=watermark + timedelta(microseconds=1)))
    assert behind.kind == "stale"
    assert "required: a lag of at most 1:00:00 and at least 20" in behind.message
    by_event = online.check(of_view(view, measure="event_timestamp"))
    assert by_event.kind == "stale"
    assert "its newest event timestamp 20" in by_event.message
    assert "lags 2:00:0" in by_event.message


def test_what_was_only_pushed_has_no_watermark(view: FeatureView, online: OnlineStore) -> None:
    push(online, view, a=timedelta(minutes=1))
    found = online.check(of_view(view))
    assert found.kind == "absent"
    assert "only pushed to -> materialize it, or give the check measure='event_timestamp'" in found.message
    assert online.check(of_view(view, measure="event_timestamp")).is_fresh


def test_windows_that_leave_out_the_beginning_make_no_watermark(
    view: FeatureView, database: Database, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, timestamptz '2020-01-01' AS ts, 1 AS x")
    materialize(view, offline, online, start=at(0), end=at(1))
    found = online.check(of_view(view))
    assert (found.kind, "run it once with window='incremental'" in found.message) == ("stale", True)
    found = online.check(of_view(view, measure="event_timestamp"))
    assert (found.kind, "its source has had no rows yet" in found.message) == ("stale", True)


@pytest.mark.parametrize("measure", ["watermark", "event_timestamp"])
def test_a_first_run_that_is_writing_is_waited_for(
    view: FeatureView, client: redis.Redis, online: OnlineStore, measure: str
) -> None:
    client.sadd(keyspace.VIEWS_KEY, keyspace.view_id(view))
    found = online.check(of_view(view, measure=measure))
    client.srem(keyspace.VIEWS_KEY, keyspace.view_id(view))
    assert (found.kind, "a run of it has begun, but none has ended yet" in found.message) == ("stale", True)


def test_an_unknown_view_is_told_from_an_empty_redis(
    view: FeatureView, make_view: MakeView, online: OnlineStore, empty_redis: str
) -> None:
    push(online, make_view(name="views"), a=HOUR)
    unknown = online.check(of_view(view))
    assert unknown.kind == "absent"
    assert f"unknown to this Redis (similar names: '{view.project}:views'" in unknown.message
    elsewhere = OnlineStore.from_url(empty_redis)
    nothing = elsewhere.check(of_view(view))
    assert nothing.kind == "absent"
    assert "this Redis holds no feature view at all -> it was flushed" in nothing.message
    push(elsewhere, make_view(name="entirely.different", project="other"), a=HOUR)
    assert "it holds 1 other views) -> check name and project" in elsewhere.check(of_view(view)).message
    elsewhere._client.close()


@pytest.mark.parametrize("bounds, message", [
    ({}, "needs max_staleness=, at_least= or both"),
    ({"max_staleness": 3600}, "max_staleness=3600 must be a timedelta"),
    ({"max_staleness": -HOUR}, "not negative"),
    ({"at_least": datetime(2026, 1, 1)}, "at_least=2026-01-01T00:00:00 has no time zone"),
    ({"max_staleness": HOUR, "measure": "created"}, "choose one of watermark, event_timestamp"),
])  # fmt: skip
def test_bounds_that_are_none_are_refused(view: FeatureView, bounds: dict[str, Any], message: str) -> None:
    with pytest.raises(WindowError, match=message):
        ViewFreshnessCheck(view=view, **bounds)


def test_many_views_are_seen_at_once_and_fail_alone(
    make_view: MakeView, online: OnlineStore, client: redis.Redis, redis_url: str
) -> None:
    fresh, _, damaged, wrong = views = [make_view(name=name) for name in ("fresh", "absent", "damaged", "wrong")]
    push(online, fresh, a=HOUR)
    client.hset(state_key(client, damaged), "watermark", "yesterday")
    client.set(state_key(client, wrong), "a string")

    async def look() -> list[Any]:
        async with AsyncOnlineStore.from_url(redis_url) as store:
            return await store._statuses(views)

    seen = asyncio.run(look())
    assert [type(look) for look in seen] == [ViewStatus, ViewStatus, OnlineDataError, OnlineDataError]
    assert (seen[0].known_ids, keyspace.view_id(fresh) in seen[1].known_ids) == (None, True)
    assert "'wrong', Redis: WRONGTYPE" in str(seen[3])


def test_a_cluster_that_is_away_is_told_of_each_view(view: FeatureView) -> None:
    async def look() -> list[Any]:
        with reserved_port() as nobodys:
            async with AsyncOnlineStore(redis.asyncio.RedisCluster(host=HOST, port=nobodys)) as store:
                return await store._statuses([view, view])

    assert [type(look) for look in asyncio.run(look())] == [OnlineStoreUnavailableError] * 2


@pytest.mark.layouts
class TestEntities:
    @pytest.fixture(autouse=True)
    def rows(self, view: FeatureView, online: OnlineStore) -> None:
        self.rows_at_ages(view, online)

    def rows_at_ages(self, view: FeatureView, online: OnlineStore) -> None:
        push(online, view, new=timedelta(minutes=1), old=2 * HOUR, older=3 * HOUR)

    def find(self, online: OnlineStore, view: FeatureView, *names: str, **wanted: Any) -> FreshnessResult:
        entities = [{"id": name} for name in names] or None
        return online.check(EntityFreshnessCheck(view=view, entities=entities, **wanted))

    def test_all_must_be_there(self, view: FeatureView, online: OnlineStore) -> None:
        assert self.find(online, view, "new", "old", "older").is_fresh
        found = self.find(online, view, "new", "gone")
        assert found.message == (
            "feature view 'view': 1 of 2 entities are present; needed: 2; 1 missing: {'id': 'gone'}"
        )

    def test_the_stalest_are_named_first(self, view: FeatureView, online: OnlineStore) -> None:
        found = self.find(online, view, "old", "new", "older", "gone", max_staleness=HOUR)
        assert "1 of 4 entities are present and no older than 1:00:00; needed: 4; 2 stale: {'id': 'older'} (3:00:0" in (
            found.message
        )
        assert found.message.endswith("; 1 missing: {'id': 'gone'}")
        assert {name: n for name, n in found.measured.items() if name.startswith("entities")} == {
            "entities_checked": 4, "entities_fresh": 1, "entities_stale": 2, "entities_missing": 1,
            "entities_expired": 0,
        }  # fmt: skip

    def test_a_share_may_suffice(self, view: FeatureView, online: OnlineStore) -> None:
        assert self.find(online, view, "new", "old", "older", "gone", max_staleness=HOUR, share=0.25).is_fresh
        assert not self.find(online, view, "new", "old", "older", "gone", max_staleness=HOUR, share=0.26).is_fresh

    def test_what_is_online_is_sampled(self, view: FeatureView, make_view: MakeView, empty_redis: str) -> None:
        # In a database of its own: which entity a scan meets first among many keys of others is for Redis's hashes.
        online = OnlineStore.from_url(empty_redis.replace("/0", f"/{1 + LAYOUTS.index(view.layout)}"))
        self.rows_at_ages(view, online)
        push(online, make_view(name="view.2"), **{f"other{i}": timedelta(0) for i in range(50)})
        seen: set[str] = set()
        # Where rows happen to be close together, one of them is all but always met first.
        for _ in range(20_000):
            found = self.find(online, view, sample=1, max_staleness=90 * timedelta(minutes=1))
            assert found.measured["entities_checked"] <= 1
            seen.add(found.kind)
            if len(seen) > 1:
                break
        assert seen == {"fresh", "stale"}
        everything = self.find(online, view, sample=1000)
        assert (everything.kind, everything.measured["entities_fresh"]) == ("fresh", 3)


def test_a_sample_is_not_always_from_the_same_place(
    view: FeatureView, online: OnlineStore, client: redis.Redis
) -> None:
    push(online, view, **{f"e{i}": timedelta(0) for i in range(5 * SCAN_COUNT)})
    _, first_page = client.scan(0, count=SCAN_COUNT)
    in_first_page = []
    for _ in range(20):
        keys = {row_key(client, view, [row["id"]]) for row in hold(deployment_of(client), sample_online(view, 10, 1))}
        assert len(keys) == 10
        in_first_page.append(keys <= set(first_page))
    assert not all(in_first_page)


def test_a_sample_of_the_given_is_drawn_anew(view: FeatureView, online: OnlineStore) -> None:
    push(online, view, **{f"e{i}": timedelta(0) for i in range(500)})
    given = [{"id": f"{kind}{i}"} for i in range(500) for kind in ("e", "missing")]
    check = EntityFreshnessCheck(view=view, entities=given, sample=100, share=0.2)
    found = [online.check(check).measured["entities_fresh"] for _ in range(15)]
    assert len(set(found)) > 1
    assert all(20 < fresh < 80 for fresh in found)
    assert online.check(EntityFreshnessCheck(view=view, entities=given, share=0.5)).measured["entities_checked"] == 1000


def test_a_row_past_its_ttl_is_not_there(make_view: MakeView, online: OnlineStore) -> None:
    # In layout feast keys outlive the rows of a view.
    view = make_view(layout="feast", ttl=HOUR)
    push(online, make_view(layout="feast"), a=2 * HOUR, b=timedelta(0))
    found = online.check(EntityFreshnessCheck(view=view, sample=10))
    assert found.message.endswith("1 of 2 entities are present; needed: 2; 1 expired: {'id': 'a'}")


def test_entities_of_an_unknown_view_are_not_just_missing(view: FeatureView, online: OnlineStore) -> None:
    found = online.check(EntityFreshnessCheck(view=view, entities=[{"id": "a"}]))
    assert found.kind == "absent"


def test_entities_that_have_all_gone_are_not_fresh(view: FeatureView, online: OnlineStore) -> None:
    push(online, view, a=timedelta(0))
    online.delete(view, [{"id": "a"}])
    found = online.check(EntityFreshnessCheck(view=view, sample=10))
    assert (found.kind, found.message) == ("stale", "feature view 'view': none of its entities is online")


@pytest.mark.parametrize("changed, message", [
    ({}, "needs entities=, sample= or both"),
    ({"entities": []}, "a list of mappings that is not empty"),
    ({"entities": "a"}, "a list of mappings that is not empty"),
    ({"entities": [{"id": 1}], "sample": 0}, "sample=0 must be a number of entities"),
    ({"sample": 5, "share": 95}, "share=95 must be above 0 and at most 1"),
])  # fmt: skip
def test_questions_that_are_none_are_refused(view: FeatureView, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRowsError, match=message):
        EntityFreshnessCheck(view=view, **changed)
