"""Builders, producers, publishers and erasers at once: every order in which they can meet ends well.

A :class:`Between` lets something happen between two commands of a call, where another process could come between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView
from online_features.errors import (
    BuildInProgressError,
    LeaseLostError,
    OnlineStoreUnavailableError,
    PublishError,
    RollbackError,
)
from online_features.layouts import keyspace
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.online.generations.building import mark_ready, register_build
from online_features.online.generations.erasures import read_erasures, record_erasures
from online_features.online.generations.generation_list import GenerationState, read_generations
from online_features.online.generations.removal import retire, sweep
from online_features.online.generations.switching import PublicationOutcome, publish, release, rollback
from online_features.online.redis import deployment_of
from online_features.online.redis.deployment import Deployment

from tests.conftest import at
from tests.support.generations import build, build_and_publish, make_older

PUBLISHED, BEHIND = PublicationOutcome.PUBLISHED, PublicationOutcome.BEHIND
Act = Callable[[], object]

LAST_OF_PUBLISHING = 4  # number of the command that changes; before it the list and three hashes are read


class Between:
    """Access to Redis that calls something before one of its commands.

    :param acts: by the number of the command, what happens before it.
    :param lose: the number of the command whose reply is lost, so that it is sent again.
    """

    def __init__(self, deployment: Deployment, acts: dict[int, Act], lose: int | None = None) -> None:
        self._deployment, self._acts, self._lose = deployment, acts, lose
        self.commands = 0

    def command(self, *words: str | bytes | int) -> Any:
        number = self.commands
        self.commands += 1
        if number in self._acts:
            self._acts[number]()
        reply = self._deployment.command(*words)
        if number == self._lose:
            return self._deployment.command(*words)  # as a session does after an interruption
        return reply


@pytest.mark.parametrize("moment", range(1 + LAST_OF_PUBLISHING))
def test_of_two_that_publish_at_once_the_later_build_stays(
    deployment: Deployment, trips: FeatureView, moment: int
) -> None:
    build_and_publish(deployment, trips)
    old, new = build(deployment, trips), build(deployment, trips)
    access = Between(deployment, {moment: lambda: publish(deployment, [trips], generations={"trips": new})})
    with pytest.raises(PublishError, match=f"{old} was superseded by {new}"):
        publish(access, [trips], generations={"trips": old})
    assert read_generations(deployment, trips).published == new


@pytest.mark.parametrize("moment", range(1, 1 + LAST_OF_PUBLISHING))
def test_a_rollback_while_a_run_publishes_holds_it(deployment: Deployment, trips: FeatureView, moment: int) -> None:
    first, _ = build_and_publish(deployment, trips), build_and_publish(deployment, trips)
    expected = {"trips": read_generations(deployment, trips).pointer}
    new = build(deployment, trips)
    access = Between(deployment, {moment: lambda: rollback(deployment, [trips])})
    result = publish(access, [trips], generations={"trips": new}, expected=expected, by_run=True)
    assert result.outcome == PublicationOutcome.HELD
    assert read_generations(deployment, trips).published == first


@pytest.mark.parametrize("moment", range(1, 3))
def test_a_publication_while_a_rollback_is_decided_is_not_rolled_back(
    deployment: Deployment, trips: FeatureView, moment: int
) -> None:
    build_and_publish(deployment, trips), build_and_publish(deployment, trips)
    new = build(deployment, trips)
    access = Between(deployment, {moment: lambda: publish(deployment, [trips])})
    with pytest.raises(RollbackError, match=f"{new} was published meanwhile"):
        rollback(access, [trips])
    assert read_generations(deployment, trips).published == new


@pytest.mark.parametrize("moment", range(1, 3))
def test_two_that_roll_back_at_once_go_back_once(deployment: Deployment, trips: FeatureView, moment: int) -> None:
    _, middle, _ = (build_and_publish(deployment, trips) for _ in range(3))
    access = Between(deployment, {moment: lambda: rollback(deployment, [trips])})
    assert rollback(access, [trips]) == {"trips": middle}
    assert read_generations(deployment, trips).published == middle


@pytest.mark.parametrize("lose", range(1 + LAST_OF_PUBLISHING))
def test_a_publication_whose_reply_is_lost_is_one(deployment: Deployment, trips: FeatureView, lose: int) -> None:
    build_and_publish(deployment, trips)
    new = build(deployment, trips)
    assert publish(Between(deployment, {}, lose), [trips]).outcome == PUBLISHED
    assert read_generations(deployment, trips).pointer == (new, 2)


@pytest.mark.parametrize("lose", range(3))
def test_a_rollback_whose_reply_is_lost_goes_back_once(deployment: Deployment, trips: FeatureView, lose: int) -> None:
    _, middle, _ = (build_and_publish(deployment, trips) for _ in range(3))
    assert rollback(Between(deployment, {}, lose), [trips]) == {"trips": middle}
    assert read_generations(deployment, trips).pointer == (middle, 4)


def test_a_rollback_whose_reply_is_lost_and_that_was_followed_goes_back_once(
    deployment: Deployment, trips: FeatureView
) -> None:
    _, middle, _ = (build_and_publish(deployment, trips) for _ in range(3))
    # The call is carried out, its reply is lost, another command comes, and the call is sent again.
    access = Between(deployment, {3: lambda: release(deployment, [trips])}, lose=2)
    assert rollback(access, [trips]) == {"trips": middle}
    assert read_generations(deployment, trips).published == middle


@pytest.mark.parametrize("lose", range(2))
def test_a_registration_whose_reply_is_lost_is_one(deployment: Deployment, trips: FeatureView, lose: int) -> None:
    generation = register_build(Between(deployment, {}, lose), trips, run_id="a", fingerprint="f")
    assert [known.id for known in read_generations(deployment, trips).generations] == [generation]


@pytest.mark.parametrize("moment", [0, 1])
def test_two_builders_at_once_are_one_after_the_other(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, moment: int
) -> None:
    access = Between(deployment, {moment: lambda: register_build(deployment, trips, run_id="b", fingerprint="f")})
    with pytest.raises(BuildInProgressError, match="run b is building"):
        register_build(access, trips, run_id="a", fingerprint="f", wait=lambda _: None)
    (only,) = read_generations(deployment, trips).generations
    assert only.run_id == "b"


@pytest.mark.parametrize("moment", [0, 1])
def test_a_builder_that_loses_its_lease_in_the_last_moment_does_not_become_ready(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, moment: int
) -> None:
    generation = register_build(deployment, trips, run_id="a", fingerprint="f")
    access = Between(deployment, {moment: lambda: client.delete(keyspace.lease_key(trips))})
    with pytest.raises(LeaseLostError):
        mark_ready(access, trips, generation, run_id="a", synced="0 0", rows=1, size=1)
    assert read_generations(deployment, trips).generations[0].state == GenerationState.BUILDING


def test_a_builder_that_slept_through_a_whole_build_of_another_changes_nothing(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    old = register_build(deployment, trips, run_id="a", fingerprint="f")
    client.delete(keyspace.lease_key(trips))
    new = build_and_publish(deployment, trips)
    retire(deployment, trips)
    client.set(f"{trips.project}:trips:{old}:{{late}}", "row")
    with pytest.raises(LeaseLostError):
        mark_ready(deployment, trips, old, run_id="a", synced="0 0", rows=1, size=1)
    with pytest.raises(PublishError, match=f"{old} is retired"):
        publish(deployment, [trips], generations={"trips": old})
    assert sweep(deployment, trips).removed == 1
    assert read_generations(deployment, trips).published == new


@pytest.mark.parametrize("moment", range(1, 1 + LAST_OF_PUBLISHING))
def test_a_run_that_commits_while_a_build_is_published_is_not_undone(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, moment: int
) -> None:
    old = build_and_publish(deployment, trips)
    build(deployment, trips)
    access = Between(deployment, {moment: lambda: client.hincrby(keyspace.generation_key(trips, old), "commits", 1)})
    assert publish(access, [trips]).outcome == BEHIND


@pytest.mark.parametrize("moment", range(1, 1 + LAST_OF_PUBLISHING))
def test_a_push_that_is_missed_while_a_build_is_published_is_noticed(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, moment: int
) -> None:
    build_and_publish(deployment, trips)
    new = build(deployment, trips)
    access = Between(deployment, {moment: lambda: client.hincrby(keyspace.generation_key(trips, new), "missed", 1)})
    with pytest.raises(PublishError, match="lacks 1 pushed rows"):
        publish(access, [trips])


@pytest.mark.parametrize("act", [publish, rollback])
def test_what_is_retired_meanwhile_is_not_published(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, act: Callable[..., object]
) -> None:
    target = build_and_publish(deployment, trips)
    build_and_publish(deployment, trips)
    make_older(client, trips, timedelta(minutes=11))
    access = Between(deployment, {1: lambda: retire(deployment, trips, keep_generations=0)})
    named = {"generations": {"trips": target}} if act is publish else {}
    with pytest.raises((PublishError, RollbackError), match="retired|has been removed"):
        act(access, [trips], **named)


def test_what_is_published_meanwhile_is_not_retired(deployment: Deployment, trips: FeatureView) -> None:
    superseded = build(deployment, trips)
    build(deployment, trips)
    access = Between(deployment, {1: lambda: publish(deployment, [trips], generations={"trips": superseded})})
    retire(access, trips)
    seen = read_generations(deployment, trips)
    assert seen.published == superseded
    assert seen.written[-1] == superseded


class Producer:
    """Pushes rows as producers do: to all generations of the list, the published one last, and reads the list again."""

    def __init__(self, deployment: Deployment, client: redis.Redis, view: FeatureView) -> None:
        self._deployment, self._client, self._view = deployment, client, view

    def push(self, row: str, *, then: Act = lambda: None) -> None:
        done: set[str] = set()
        version = None
        while True:
            seen = read_generations(self._deployment, self._view)
            if done and seen.version == version:
                return
            for generation in seen.written:
                if generation not in done:
                    self._client.set(f"{self._view.project}:{self._view.name}:{generation}:{{{row}}}", "pushed")
                    done.add(generation)
            then()
            then, version = (lambda: None), seen.version

    def rows(self, generation: str) -> set[str]:
        prefix = f"{self._view.project}:{self._view.name}:{generation}:"
        return {key.removeprefix(prefix) for key in self._client.scan_iter(f"{prefix}*")}


def test_a_push_meets_every_generation_that_may_be_published(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    producer = Producer(deployment, client, trips)
    producer.push("first")
    assert producer.rows(FIRST_GENERATION) == {"{first}"}
    old = build_and_publish(deployment, trips)
    generations: list[str] = []
    # A build is registered after the producer has read the list, and published before it reads it again.
    producer.push("second", then=lambda: generations.append(build_and_publish(deployment, trips)))
    (new,) = generations
    assert producer.rows(old) == producer.rows(new) == {"{second}"}
    # A rollback, after the producer has written everywhere.
    producer.push("third", then=lambda: rollback(deployment, [trips]))
    assert producer.rows(old) == producer.rows(new) == {"{second}", "{third}"}


def test_an_erasure_meets_a_build_that_is_registered_at_the_same_time(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    """Whichever comes first: the build reads the erasure, or the eraser sees the build in the list."""

    def erase() -> set[str]:
        record_erasures(deployment, trips, {"e": at(1)})
        return set(read_generations(deployment, trips).written)

    def build_with_erasures() -> tuple[str, bool]:
        generation = register_build(deployment, trips, run_id="a", fingerprint="f")
        found: dict[str, datetime] = {}
        for batch in read_erasures(deployment, trips):
            found |= batch
        return generation, "e" in found

    barrier = threading.Barrier(2)
    results: dict[str, Any] = {}

    def at_once(name: str, do: Callable[[], object]) -> None:
        barrier.wait()
        results[name] = do()

    for _ in range(20):
        client.delete(keyspace.generations_key(trips), keyspace.lease_key(trips))
        client.delete(*(keyspace.erased_key(trips, bucket) for bucket in range(64)))
        threads = [
            threading.Thread(target=at_once, args=args) for args in (("erase", erase), ("build", build_with_erasures))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        generation, has_read = results["build"]
        assert has_read or generation in results["erase"]


def test_publishers_at_once_leave_one_order(redis_url: str, trips: FeatureView, weather: FeatureView) -> None:
    """Eight threads publish and roll back two views together; the views are always at the same number."""
    deployment = deployment_of(redis.Redis.from_url(redis_url))
    for _ in range(2):
        for view in (trips, weather):
            build(deployment, view)
        publish(deployment, [trips, weather])
    mixed: list[object] = []
    ended = threading.Event()

    def switch(i: int) -> None:
        while not ended.is_set():
            try:
                if i % 2:
                    rollback(deployment, [trips, weather], by=f"{i}")
                else:
                    seen = read_generations(deployment, trips).generations[-1].id
                    other = read_generations(deployment, weather).generations[-1].id
                    publish(deployment, [trips, weather], generations={"trips": seen, "weather": other})
            except (PublishError, RollbackError, OnlineStoreUnavailableError):
                pass

    threads = [threading.Thread(target=switch, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    numbers: set[int] = set()
    for _ in range(300):
        pointers = deployment.command("HMGET", keyspace.published_key(trips.project), "trips", "weather")
        switches = [int(pointer.split()[1]) for pointer in pointers]
        mixed += [pointers] if len(set(switches)) > 1 else []
        numbers.update(switches)
    ended.set()
    for thread in threads:
        thread.join()
    assert not mixed
    assert len(numbers) > 5


def test_after_a_flush_in_the_middle_of_a_build_the_run_fails_and_the_next_one_builds(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    before = build_and_publish(deployment, trips)
    expected = {"trips": read_generations(deployment, trips).pointer}
    generation = register_build(deployment, trips, run_id="a", fingerprint="f")
    for key in client.scan_iter(f"*{trips.project}*"):  # what FLUSHALL does to this project
        client.delete(key)
    with pytest.raises(LeaseLostError, match="Redis has lost it"):
        mark_ready(deployment, trips, generation, run_id="a", synced=f"{before} 0", rows=1, size=1)
    with pytest.raises(PublishError, match="not among its generations"):
        publish(deployment, [trips], generations={"trips": generation}, expected=expected, by_run=True)
    new = build(deployment, trips)
    assert new > generation
    assert publish(deployment, [trips], by_run=True).outcome == PUBLISHED
    assert read_generations(deployment, trips).pointer == (new, 1)


def test_after_the_loss_of_the_pointer_the_next_run_mends_it(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    old = build_and_publish(deployment, trips)
    expected = {"trips": read_generations(deployment, trips).pointer}
    new = build(deployment, trips)
    client.hdel(keyspace.published_key(trips.project), "trips")
    seen = read_generations(deployment, trips)
    assert (seen.published, seen.switch) == (FIRST_GENERATION, 1)
    assert seen.written == (old, new, FIRST_GENERATION)
    assert publish(deployment, [trips], expected=expected, by_run=True).outcome == PUBLISHED
    assert read_generations(deployment, trips).pointer == (new, 2)
    assert rollback(deployment, [trips]) == {"trips": old}


@pytest.mark.parametrize("moment", range(1, 1 + LAST_OF_PUBLISHING))
def test_a_pointer_that_is_lost_while_a_build_is_published_leaves_generation_zero_to_its_readers(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, moment: int
) -> None:
    build_and_publish(deployment, trips)
    make_older(client, trips, timedelta(minutes=11))
    retire(deployment, trips)
    assert sweep(deployment, trips, pause=lambda _: None).is_done
    new = build(deployment, trips)
    assert FIRST_GENERATION not in read_generations(deployment, trips).written
    access = Between(deployment, {moment: lambda: client.hdel(keyspace.published_key(trips.project), "trips")})
    assert publish(access, [trips]).outcome == PUBLISHED
    assert read_generations(deployment, trips).pointer == (new, 2)
    assert FIRST_GENERATION in read_generations(deployment, trips).written


def test_a_lost_pointer_is_restored_by_publishing_and_found_by_a_rollback(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    old, new = build_and_publish(deployment, trips), build_and_publish(deployment, trips)
    client.delete(keyspace.published_key(trips.project))
    assert publish(deployment, [trips]).outcome == PUBLISHED
    seen = read_generations(deployment, trips)
    assert seen.pointer == (new, 3)
    assert seen.last_published is not None
    assert seen.last_published.before == old
    client.delete(keyspace.published_key(trips.project))
    assert rollback(deployment, [trips]) == {"trips": old}
    assert read_generations(deployment, trips).pointer == (old, 4)


def test_after_the_loss_of_the_list_what_is_published_stays_and_can_be_gone_back_to(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    old = build_and_publish(deployment, trips)
    client.delete(keyspace.generations_key(trips))
    seen = read_generations(deployment, trips)
    assert (seen.pointer, seen.written) == ((old, 1), (old,))
    assert publish(deployment, [trips]).outcome == PublicationOutcome.UNCHANGED
    with pytest.raises(RollbackError, match="nothing was published before"):
        rollback(deployment, [trips])
    assert retire(deployment, trips) == []
    new = build_and_publish(deployment, trips)
    assert read_generations(deployment, trips).pointer == (new, 2)
    assert rollback(deployment, [trips]) == {"trips": old}


def test_a_decision_that_is_made_too_late_is_made_again(deployment: Deployment, trips: FeatureView) -> None:
    """It contains the instant from which ten minutes are counted before a generation is removed."""
    build_and_publish(deployment, trips)
    new = build(deployment, trips)

    class Sleeper(Between):
        def command(self, *words: str | bytes | int) -> Any:
            reply = super().command(*words)
            if self.commands == 1:  # the clock of the first reading is a minute old when the change is sent
                return [int(reply[0]) - 60, *reply[1:]]
            return reply

    access = Sleeper(deployment, {})
    publish(access, [trips])
    assert access.commands == 2 * (1 + LAST_OF_PUBLISHING)
    seen = read_generations(deployment, trips)
    assert seen.published == new
    assert seen.last_published is not None
    assert seen.last_published.published is not None
    assert seen.read_at - seen.last_published.published < timedelta(seconds=20)


def test_what_changes_all_the_time_ends_in_an_error(deployment: Deployment, trips: FeatureView) -> None:
    build(deployment, trips)

    class Busy(Between):
        def command(self, *words: str | bytes | int) -> Any:
            self._deployment.command("HSET", keyspace.generations_key(trips), "@version", f"{self.commands}")
            return super().command(*words)

    with pytest.raises(OnlineStoreUnavailableError, match="'trips': its generations have changed 100 times"):
        publish(Busy(deployment, {}), [trips])


def test_a_build_that_was_synced_with_another_generation_is_behind(deployment: Deployment, trips: FeatureView) -> None:
    build_and_publish(deployment, trips)
    other, generation = build(deployment, trips), build(deployment, trips)
    publish(deployment, [trips], generations={"trips": other})
    assert publish(deployment, [trips], generations={"trips": generation}).outcome == BEHIND


def test_time_outs_are_by_the_clock_of_redis(deployment: Deployment, trips: FeatureView) -> None:
    seconds, _ = deployment.command("TIME")
    seen = read_generations(deployment, trips)
    assert abs(seen.read_at.timestamp() - int(seconds)) < 2
