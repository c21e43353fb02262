"""Generations that nobody needs are retired, and their rows are removed, those of no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView
from online_features.errors import BuildInProgressError
from online_features.layouts import keyspace
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.online.generations import removal
from online_features.online.generations.building import mark_failed, register_build
from online_features.online.generations.erasures import record_erasures
from online_features.online.generations.generation_list import GenerationState, read_generations
from online_features.online.generations.leases import release_lease
from online_features.online.generations.removal import Swept, drop, retire, sweep
from online_features.online.generations.switching import publish, rollback
from online_features.online.redis.deployment import Deployment

from tests.conftest import at
from tests.support.generations import build, build_and_publish, make_older

pytestmark = pytest.mark.servers

TEN_MINUTES = timedelta(minutes=11)


def no_pause(seconds: float) -> None:
    pass


def write(client: redis.Redis, view: FeatureView, generation: str, rows: int = 5) -> set[str]:
    """Write rows of a generation, and return their keys."""
    keys = {f"{view.project}:{view.name}:{generation}:{{{i}}}" for i in range(rows)}
    client.mset(dict.fromkeys(keys, "row"))
    return keys


def there(client: redis.Redis, keys: set[str]) -> int:
    return int(client.exists(*keys))


def listed(deployment: Deployment, view: FeatureView) -> dict[str, str]:
    return {known.id: known.state.value for known in read_generations(deployment, view).generations}


def removed(deployment: Deployment, view: FeatureView, **options: Any) -> int:
    """Sweep to the end."""
    swept = sweep(deployment, view, seconds=60, pause=no_pause, **options)
    assert swept.is_done
    return swept.removed


def test_what_is_published_and_one_to_go_back_to_are_kept(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    ids = [build_and_publish(deployment, trips) for _ in range(4)]
    ready = [build(deployment, trips) for _ in range(2)]
    assert retire(deployment, trips, keep_generations=1) == [ready[0]]  # the others may be read
    make_older(client, trips, TEN_MINUTES)
    assert retire(deployment, trips, keep_generations=2) == [FIRST_GENERATION, ids[0]]
    assert retire(deployment, trips, keep_generations=1) == [ids[1]]
    assert retire(deployment, trips, keep_generations=0) == [ids[2]]
    assert retire(deployment, trips, keep_generations=0) == []
    states = listed(deployment, trips)
    assert [states[each] for each in (ids[3], ready[1])] == ["published", "ready"]


def test_failed_dead_and_superseded_builds_are_retired(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    superseded = build(deployment, trips)
    failed = register_build(deployment, trips, run_id="a", fingerprint="f")
    mark_failed(deployment, trips, failed, run_id="a", reason="no rows")
    release_lease(deployment, trips, "a")
    published = build_and_publish(deployment, trips)
    dead = register_build(deployment, trips, run_id="a", fingerprint="f")
    assert retire(deployment, trips) == [superseded, failed]
    client.delete(keyspace.lease_key(trips))
    assert retire(deployment, trips) == [dead]
    assert listed(deployment, trips)[published] == "published"


def test_a_refused_build_is_kept_until_a_newer_one_is_complete(deployment: Deployment, trips: FeatureView) -> None:
    ready, refused = build(deployment, trips), build(deployment, trips, refusal="rows(at_least=2)")
    assert retire(deployment, trips) == []
    newer = build(deployment, trips, refusal="rows(at_least=2)")
    assert retire(deployment, trips) == [refused]
    assert retire(deployment, trips, keep_refused=False) == [newer]
    last = build(deployment, trips, refusal="rows(at_least=2)")
    newest = build(deployment, trips)
    assert retire(deployment, trips) == [ready, last]
    publish(deployment, [trips])
    assert listed(deployment, trips)[newest] == "published"


def test_what_was_rolled_back_from_is_kept_if_nothing_else_is_to_go_back_to(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    old, new = (build_and_publish(deployment, trips) for _ in range(2))
    rollback(deployment, [trips])
    make_older(client, trips, TEN_MINUTES)
    assert retire(deployment, trips) == [FIRST_GENERATION]
    assert listed(deployment, trips)[new] == "rolled back"
    ready = build(deployment, trips)
    publish(deployment, [trips], generations={"trips": ready})
    make_older(client, trips, TEN_MINUTES)
    assert retire(deployment, trips) == [new]
    assert listed(deployment, trips)[old] == "unpublished"


def test_rows_of_retired_generations_are_removed_and_no_others(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    alike = [replace(trips, name=name) for name in ("trips2", "trip", "trips.x", "trips-", "trips_0")]
    old, new = (build_and_publish(deployment, trips) for _ in range(2))
    gone = write(client, trips, old, 2000) | write(client, trips, FIRST_GENERATION)
    kept = write(client, trips, new)
    for generation in (old, new):
        client.set(keyspace.statistics_key(trips, generation), "statistics")
    for view in alike:
        kept |= write(client, view, old) | write(client, view, FIRST_GENERATION)
    strange = {f"{trips.project}:trips:{old}:x", f"{trips.project}:trips:{old}x:{{1}}", f"{trips.project}:trips:x"}
    client.mset(dict.fromkeys(strange, "of somebody else"))
    make_older(client, trips, TEN_MINUTES)
    assert retire(deployment, trips, keep_generations=0) == [FIRST_GENERATION, old]
    assert removed(deployment, trips) == 2005
    assert there(client, gone) == 0
    assert there(client, kept | strange) == len(kept | strange)
    assert listed(deployment, trips) == {new: "published"}
    assert not client.exists(keyspace.generation_key(trips, old))
    assert client.exists(keyspace.generation_key(trips, new))
    assert not client.exists(keyspace.statistics_key(trips, old))
    assert client.exists(keyspace.statistics_key(trips, new))
    assert removed(deployment, trips) == 0


def test_generation_zero_stays_while_it_may_be_read(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    keys = write(client, trips, FIRST_GENERATION)
    build(deployment, trips)
    retire(deployment, trips)
    assert removed(deployment, trips, is_due=True) == 0
    publish(deployment, [trips])
    assert retire(deployment, trips) == []
    assert removed(deployment, trips, is_due=True) == 0
    assert there(client, keys) == len(keys)
    make_older(client, trips, TEN_MINUTES)
    assert retire(deployment, trips) == [FIRST_GENERATION]
    # The pointer is lost: readers and producers are back at generation 0.
    client.delete(keyspace.published_key(trips.project))
    assert removed(deployment, trips) == 0
    assert there(client, keys) == len(keys)
    publish(deployment, [trips])  # restores the pointer
    assert retire(deployment, trips) == []
    make_older(client, trips, TEN_MINUTES)
    assert retire(deployment, trips) == [FIRST_GENERATION]
    assert removed(deployment, trips) == len(keys)


def test_a_generation_leaves_the_list_only_when_a_whole_sweep_finds_nothing(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    dead = register_build(deployment, trips, run_id="a", fingerprint="f")
    client.delete(keyspace.lease_key(trips))
    retire(deployment, trips)
    write(client, trips, dead)
    late = [3, 2]
    left: list[str] = []

    def write_late(seconds: float) -> None:
        left.extend(listed(deployment, trips))
        if late:
            write(client, trips, dead, late.pop())

    assert sweep(deployment, trips, pause=write_late) == Swept(removed=10, is_done=True)
    assert set(left) == {dead}
    assert len(left) >= 4
    assert listed(deployment, trips) == {}


def test_a_generation_that_is_retired_during_a_pass_stays_in_the_list(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    dead = register_build(deployment, trips, run_id="a", fingerprint="f")
    write(client, trips, dead)
    client.delete(keyspace.lease_key(trips))
    ended: list[dict[str, str]] = []

    def retire_then(seconds: float) -> None:
        ended.append(listed(deployment, trips))
        retire(deployment, trips)

    # The first pass meets the rows before their generation is retired, the second removes them, the third ends it.
    assert sweep(deployment, trips, is_due=True, seconds=0).is_done is False
    assert sweep(deployment, trips, pause=retire_then) == Swept(removed=5, is_done=True)
    assert ended[1] == {dead: "retired"}
    assert listed(deployment, trips) == {}


def test_a_late_writer_is_swept_for_a_week(deployment: Deployment, client: redis.Redis, trips: FeatureView) -> None:
    dead = register_build(deployment, trips, run_id="a", fingerprint="f")
    client.delete(keyspace.lease_key(trips))
    retire(deployment, trips)
    removed(deployment, trips)
    assert listed(deployment, trips) == {}
    keys = write(client, trips, dead)
    client.hset(keyspace.generation_key(trips, dead), "missed", 1)
    assert removed(deployment, trips) == 0  # not due yet
    make_older(client, trips, timedelta(days=1))
    assert removed(deployment, trips) == len(keys)
    assert not client.exists(keyspace.generation_key(trips, dead))
    make_older(client, trips, timedelta(days=6, hours=12))
    write(client, trips, dead)
    assert removed(deployment, trips) == len(keys)
    make_older(client, trips, timedelta(days=2))
    write(client, trips, dead)
    assert removed(deployment, trips) == 0


def test_what_a_new_list_does_not_know_is_removed_when_nobody_can_read_it(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    unknown = build_and_publish(deployment, trips)
    published = build_and_publish(deployment, trips)
    keys, kept = write(client, trips, unknown), write(client, trips, published)
    stray, own = (keyspace.statistics_key(trips, generation) for generation in (unknown, published))
    client.mset({stray: "", own: ""})
    client.delete(keyspace.generations_key(trips))
    assert removed(deployment, trips, is_due=True) == 0
    building = register_build(deployment, trips, run_id="a", fingerprint="f")
    kept |= write(client, trips, building)
    assert removed(deployment, trips, is_due=True) == 0
    make_older(client, trips, TEN_MINUTES)
    assert removed(deployment, trips, is_due=True) == len(keys)
    assert there(client, kept) == len(kept)
    assert (client.exists(stray), client.exists(own)) == (0, 1)


def test_a_generation_that_is_registered_during_a_sweep_is_not_removed(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(deployment, trips)
    make_older(client, trips, TEN_MINUTES)
    scan: Callable[..., Any] = type(deployment).replies
    keys: set[str] = set()

    def replies(self: Deployment, commands: Any) -> Any:
        if commands and commands[0][0].name == "SCAN" and not keys:
            keys.update(write(client, trips, register_build(deployment, trips, run_id="b", fingerprint="f")))
        return scan(self, commands)

    monkeypatch.setattr(type(deployment), "replies", replies)
    assert removed(deployment, trips, is_due=True) == 0
    assert there(client, keys) == len(keys) > 0


def test_a_sweep_goes_on_where_the_last_one_stopped(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    dead = register_build(deployment, trips, run_id="a", fingerprint="f")
    keys = write(client, trips, dead, 5000)
    client.delete(keyspace.lease_key(trips))
    retire(deployment, trips)
    calls, total = 0, 0
    while True:
        now = iter(range(100))
        swept = sweep(deployment, trips, seconds=4, clock=lambda now=now: next(now), pause=no_pause)
        total += swept.removed
        calls += 1
        assert calls < 100
        if swept.is_done:
            break
        assert client.hget(keyspace.generations_key(trips), "@sweep") is not None
    assert calls > 2
    assert total == len(keys)
    assert listed(deployment, trips) == {}


def test_removal_leaves_redis_time_for_others(deployment: Deployment, client: redis.Redis, trips: FeatureView) -> None:
    dead = register_build(deployment, trips, run_id="a", fingerprint="f")
    write(client, trips, dead, 5000)
    client.delete(keyspace.lease_key(trips))
    retire(deployment, trips)
    pauses: list[float] = []
    sweep(deployment, trips, pause=pauses.append)
    assert sum(pauses) >= 5000 / removal.REMOVED_PER_SECOND


def test_nothing_is_swept_where_nothing_was_retired(
    deployment: Deployment, trips: FeatureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_and_publish(deployment, trips)
    monkeypatch.setattr(removal, "_step", None)
    assert sweep(deployment, trips) == Swept(removed=0, is_done=True)


def test_a_view_is_dropped_with_all_that_is_of_it(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, weather: FeatureView
) -> None:
    rows = write(client, trips, build_and_publish(deployment, trips)) | write(client, trips, FIRST_GENERATION)
    rows |= write(client, trips, build_and_publish(deployment, trips))
    other = build_and_publish(deployment, weather)
    kept = write(client, weather, other)
    client.sadd(keyspace.VIEWS_KEY, keyspace.view_id(trips))
    client.lpush(keyspace.runs_key(trips), "{}")
    record_erasures(deployment, trips, {"f": at(1)})
    register_build(deployment, trips, run_id="a", fingerprint="f")
    with pytest.raises(BuildInProgressError, match="'trips': run a is building"):
        drop(deployment, trips)
    assert there(client, rows) == len(rows)
    release_lease(deployment, trips, "a")
    assert drop(deployment, trips) == len(rows)
    left = {key for key in client.scan_iter(f"*{trips.project}*") if "trips" in key}
    assert [key.partition(":{")[0] for key in left] == ["@online_features:erased"]
    assert not client.sismember(keyspace.VIEWS_KEY, keyspace.view_id(trips))
    assert read_generations(deployment, weather).published == other
    assert there(client, kept) == len(kept)
    assert drop(deployment, trips, with_erasures=True) == 0
    assert [key for key in client.scan_iter(f"*{trips.project}*") if "trips" in key] == []


def test_state_names_are_those_of_the_list() -> None:
    assert {state.value for state in GenerationState} == {
        "building", "ready", "refused", "failed", "published", "unpublished", "rolled back", "retired",
    }  # fmt: skip
