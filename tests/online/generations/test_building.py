"""Builds are registered under a lease, one at a time, then ready or failed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from online_features import FeatureView
from online_features.errors import BuildInProgressError, LeaseLostError, OnlineDataError
from online_features.layouts import keyspace
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.online.generations.building import (
    mark_failed,
    mark_ready,
    register_build,
    sync_point,
    take_lease,
)
from online_features.online.generations.generation_list import GenerationState, read_generations
from online_features.online.generations.leases import release_lease
from online_features.online.redis.deployment import Deployment

from tests.support.generations import build, build_and_publish

State = GenerationState


def ready(deployment: Deployment, view: FeatureView, generation: str, run_id: str) -> None:
    mark_ready(deployment, view, generation, run_id=run_id, synced="0 0", rows=1, size=1)


def test_a_build_is_listed_with_its_hash_and_lease_in_one_step(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    generation = register_build(
        deployment, trips, run_id="a", fingerprint="f", fields={"schema": "é"}, origin={"dag_id": "d"}
    )
    seen = read_generations(deployment, trips)
    (known,) = seen.generations
    assert (known.id, known.state, known.run_id, known.fingerprint) == (generation, State.BUILDING, "a", "f")
    assert known.origin == {"dag_id": "d"}
    assert known.registered == seen.listed
    assert (seen.builder, seen.written) == ("a", (generation, FIRST_GENERATION))
    assert client.hgetall(keyspace.generation_key(trips, generation)) == {"schema": "é"}
    assert 29_000 < client.pttl(keyspace.lease_key(trips)) <= 30_000


def test_a_ready_build_has_its_counts(deployment: Deployment, trips: FeatureView) -> None:
    generation = build(deployment, trips, watermark="2026-01-01T00:00:00.000000Z")
    (known,) = read_generations(deployment, trips).generations
    assert (known.id, known.state, known.rows, known.bytes) == (generation, State.READY, 1, 80)
    assert known.watermark is not None
    assert known.watermark.day == 1


def test_ids_order_by_time_and_are_never_used_twice(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    ids = []
    for i in range(5):
        ids.append(register_build(deployment, trips, run_id=f"r{i}", fingerprint="f"))
        release_lease(deployment, trips, f"r{i}")
    late = "zzzzzzz0"  # a clock that was ahead
    client.hset(keyspace.generations_key(trips), late, '{"state": "ready"}')
    ids += [late, register_build(deployment, trips, run_id="last", fingerprint="f")]
    assert ids == sorted(set(ids))
    assert ids[-1] == "zzzzzzz1"
    published = "zzzzzzzy"
    client.hset(keyspace.published_key(trips.project), trips.name, f"{published} 7")
    release_lease(deployment, trips, "last")
    assert register_build(deployment, trips, run_id="a", fingerprint="f") == "zzzzzzzz"


def test_a_second_builder_watches_and_then_names_the_first(deployment: Deployment, trips: FeatureView) -> None:
    register_build(deployment, trips, run_id="first", fingerprint="f")
    waited: list[float] = []
    with pytest.raises(BuildInProgressError, match="run first is building"):
        register_build(deployment, trips, run_id="second", fingerprint="f", wait=waited.append)
    assert 30 < sum(waited) < 33


def test_a_second_builder_takes_over_from_one_that_died(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    old = register_build(deployment, trips, run_id="first", fingerprint="f")

    def expire(seconds: float) -> None:
        client.delete(keyspace.lease_key(trips))

    new = register_build(deployment, trips, run_id="second", fingerprint="f", wait=expire)
    states = {known.id: known.state for known in read_generations(deployment, trips).generations}
    assert states == {old: State.FAILED, new: State.BUILDING}
    # The first one wakes up.
    with pytest.raises(LeaseLostError, match="run second has it now"):
        ready(deployment, trips, old, "first")
    mark_failed(deployment, trips, old, run_id="first", reason="later")
    mark_failed(deployment, trips, new, run_id="first", reason="not its own")
    seen = read_generations(deployment, trips)
    assert {known.id: known.failure for known in seen.generations} == {old: "its run lost its lease", new: None}
    ready(deployment, trips, new, "second")


def test_a_builder_whose_lease_ended_does_not_make_its_build_ready(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    generation = register_build(deployment, trips, run_id="a", fingerprint="f")
    client.delete(keyspace.lease_key(trips))
    with pytest.raises(LeaseLostError, match="not renewed in time"):
        ready(deployment, trips, generation, "a")
    take_lease(deployment, trips, "b")
    with pytest.raises(LeaseLostError, match=f"generation {generation} is building"):
        ready(deployment, trips, generation, "b")  # it has the lease, but has not built this


def test_a_failed_build_cannot_become_ready(deployment: Deployment, trips: FeatureView) -> None:
    generation = register_build(deployment, trips, run_id="a", fingerprint="f")
    mark_failed(deployment, trips, generation, run_id="a", reason="half of the rows")
    with pytest.raises(LeaseLostError, match="is failed, .*half of the rows"):
        ready(deployment, trips, generation, "a")


def test_what_was_published_does_not_fail(deployment: Deployment, trips: FeatureView) -> None:
    generation = build_and_publish(deployment, trips)
    mark_failed(deployment, trips, generation, run_id="run", reason="late")
    assert read_generations(deployment, trips).generations[-1].state == State.PUBLISHED


def test_registering_again_after_a_lost_reply_gives_the_same_generation(
    deployment: Deployment, trips: FeatureView
) -> None:
    first, second = (register_build(deployment, trips, run_id="a", fingerprint="f") for _ in range(2))
    assert first == second


def test_a_build_is_marked_again_after_a_catch_up_by_another_run(deployment: Deployment, trips: FeatureView) -> None:
    generation = build(deployment, trips, "a")
    with pytest.raises(LeaseLostError):
        ready(deployment, trips, generation, "b")
    take_lease(deployment, trips, "b")
    with pytest.raises(BuildInProgressError, match="run b"):
        take_lease(deployment, trips, "c")
    ready(deployment, trips, generation, "b")


def test_the_sync_point_counts_the_commits_of_what_is_published(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    assert sync_point(deployment, trips) == "0 0"
    client.hset(keyspace.generation_key(trips, FIRST_GENERATION), "commits", 2)
    assert sync_point(deployment, trips) == "0 2"
    client.delete(keyspace.generation_key(trips, FIRST_GENERATION))
    generation = build_and_publish(deployment, trips)
    client.hset(keyspace.generation_key(trips, generation), "commits", 3)
    assert sync_point(deployment, trips) == f"{generation} 3"


@pytest.mark.parametrize(
    "damage",
    [
        lambda client, view: client.hset(keyspace.published_key(view.project), view.name, "x 1"),
        lambda client, view: client.hset(keyspace.published_key(view.project), view.name, "abcd1234 01"),
        lambda client, view: client.hset(keyspace.generations_key(view), "abcd1234", "{}"),
        lambda client, view: client.hset(keyspace.generations_key(view), "abcd1234", '{"state": "gone"}'),
        lambda client, view: client.hset(keyspace.generations_key(view), "abcd1234", "["),
        lambda client, view: client.hset(keyspace.generations_key(view), "nonsense!", '{"state": "ready"}'),
        lambda client, view: client.hset(keyspace.generations_key(view), "@hold", "5"),
        lambda client, view: client.hset(keyspace.generations_key(view), "@listed", "now"),
    ],
)
def test_what_is_damaged_is_named(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, damage: Callable[[redis.Redis, FeatureView], None]
) -> None:
    damage(client, trips)
    with pytest.raises(OnlineDataError, match="@online_features:"):
        read_generations(deployment, trips)
