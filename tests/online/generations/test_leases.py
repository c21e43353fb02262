"""A builder renews its lease, and notices when it has lost it."""

from __future__ import annotations

import itertools
import logging
import threading
from contextlib import suppress

import pytest
import redis
from online_features import FeatureView
from online_features.errors import LeaseLostError, OnlineStoreUnavailableError
from online_features.layouts import keyspace
from online_features.online.generations import leases
from online_features.online.generations.building import register_build, take_lease
from online_features.online.generations.leases import Lease, begin_closing, closing_run, end_closing, release_lease
from online_features.online.redis import deployment_of
from online_features.online.redis.deployment import Deployment
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.processes import until


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(deployment: Deployment, trips: FeatureView, clock: Clock) -> Lease:
    register_build(deployment, trips, run_id="a", fingerprint="f")
    return Lease(deployment, trips, "a", clock=clock)


def test_a_lease_that_is_renewed_holds(client: redis.Redis, trips: FeatureView, lease: Lease, clock: Clock) -> None:
    client.pexpire(keyspace.lease_key(trips), 5_000)
    clock.now += 29
    lease.check()
    lease.renew()
    assert client.pttl(keyspace.lease_key(trips)) > 29_000
    clock.now += 29
    lease.check()


def test_a_process_that_stood_still_has_lost_its_lease(lease: Lease, clock: Clock) -> None:
    clock.now += 30
    with pytest.raises(LeaseLostError, match="'trips': run a lost the lease"):
        lease.check()


def test_a_slow_renewal_counts_from_its_beginning(
    client: redis.Redis, trips: FeatureView, lease: Lease, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = lease._deployment.command

    def slow(*words: str | bytes | int) -> object:
        clock.now += 20
        return command(*words)

    monkeypatch.setattr(lease._deployment, "command", slow)
    lease.renew()
    clock.now += 9
    lease.check()
    clock.now += 1
    with pytest.raises(LeaseLostError):
        lease.check()


def test_a_lease_that_another_run_has_is_lost_for_good(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, lease: Lease
) -> None:
    client.delete(keyspace.lease_key(trips))
    take_lease(deployment, trips, "b")
    lease.renew()
    with pytest.raises(LeaseLostError):
        lease.check()
    client.set(keyspace.lease_key(trips), "a")
    lease.renew()
    with pytest.raises(LeaseLostError):
        lease.check()


def test_a_lease_that_ended_is_not_taken_again(client: redis.Redis, trips: FeatureView, lease: Lease) -> None:
    client.delete(keyspace.lease_key(trips))
    lease.renew()
    assert not client.exists(keyspace.lease_key(trips))
    with pytest.raises(LeaseLostError):
        lease.check()


def test_a_thread_renews_while_the_context_is_open(
    client: redis.Redis, trips: FeatureView, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    with lease:
        client.pexpire(keyspace.lease_key(trips), 5_000)
        until(lambda: client.pttl(keyspace.lease_key(trips)) > 20_000)
    assert not client.exists(keyspace.lease_key(trips))
    assert not [thread for thread in threading.enumerate() if thread.name == "lease of trips"]


@pytest.mark.parametrize("lost", [1, 2], ids=["entering", "leaving"])
def test_the_lease_is_released_though_an_answer_is_lost(
    client: redis.Redis, trips: FeatureView, lease: Lease, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    command, numbers = lease._deployment.command, itertools.count(1)

    def failing(*words: str | bytes | int) -> object:
        if next(numbers) == lost:
            raise redis.ConnectionError
        return command(*words)

    monkeypatch.setattr(lease._deployment, "command", failing)
    with suppress(OnlineStoreUnavailableError), lease:
        pass
    assert not client.exists(keyspace.lease_key(trips))
    assert next(numbers) > lost + 1


def test_the_context_does_not_release_what_another_run_has(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, lease: Lease
) -> None:
    with lease:
        client.set(keyspace.lease_key(trips), "b", px=1000)
    assert client.get(keyspace.lease_key(trips)) == "b"


def test_renewals_that_fail_are_tried_again_until_the_lease_ends(
    client: redis.Redis, trips: FeatureView, lease: Lease, clock: Clock, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    nowhere = deployment_of(redis.Redis(port=1))
    with caplog.at_level(logging.WARNING), lease:
        there, lease._deployment = lease._deployment, nowhere
        until(lambda: "was not renewed" in caplog.text)
        lease.check()
        clock.now += 29
        lease._deployment = there
        until(lambda: lease._renewed == clock.now)
        lease.check()


def test_a_release_that_fails_hides_no_other_error(lease: Lease, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = deployment_of(redis.Redis(port=1, retry=Retry(NoBackoff(), 0)))
    lease.renew = lambda: setattr(lease, "_deployment", nowhere)  # type: ignore[method-assign]
    with pytest.raises(KeyError, match="what"), lease:
        raise KeyError("what")
    assert "was not released" in caplog.text


def test_increments_know_for_whom_they_wait(deployment: Deployment, client: redis.Redis, trips: FeatureView) -> None:
    assert closing_run(deployment, trips) is None
    begin_closing(deployment, trips, "a")
    assert closing_run(deployment, trips) == "a"
    assert 59_000 < client.pttl(keyspace.closing_key(trips)) <= 60_000
    end_closing(deployment, trips, "b")
    assert closing_run(deployment, trips) == "a"
    end_closing(deployment, trips, "a")
    assert closing_run(deployment, trips) is None


def test_a_shared_lease_is_renewed_and_left_to_the_process_that_took_it(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    register_build(deployment, trips, run_id="a", fingerprint="f")
    client.pexpire(keyspace.lease_key(trips), 5_000)
    with Lease(deployment, trips, "a", is_shared=True) as lease:
        lease.check()
        assert client.pttl(keyspace.lease_key(trips)) > 20_000
    assert client.get(keyspace.lease_key(trips)) == "a"
    release_lease(deployment, trips, "a")
    with Lease(deployment, trips, "a", is_shared=True) as lease, pytest.raises(LeaseLostError):
        lease.check()
