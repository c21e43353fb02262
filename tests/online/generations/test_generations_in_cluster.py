"""A cluster keeps generations as one server does: all that a script changes is in one slot, rows are on every node."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from online_features import FeatureView, FeatureViewError, OnlineStore, ViewStatistics
from online_features.layouts import keyspace
from online_features.online.generations.building import mark_ready, register_build, sync_point
from online_features.online.generations.erasures import read_erasures, record_erasures, take_back_erasures
from online_features.online.generations.generation_list import read_generations
from online_features.online.generations.leases import Lease, begin_closing, closing_run, end_closing
from online_features.online.generations.removal import drop, retire, sweep
from online_features.online.generations.switching import PublicationOutcome, publish, release, rollback
from online_features.online.redis import deployment_of
from online_features.statistics.stored_statistics import encode
from redis.crc import key_slot

from demo.workplace import workplace
from tests.conftest import at
from tests.support.generations import build, build_and_publish, make_older
from tests.support.servers.redis_servers import STEADY, Cluster, cluster

pytestmark = [pytest.mark.faults, pytest.mark.servers]


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    with workplace("cluster") as folder, cluster(folder, *STEADY, replicas=0) as servers:
        yield servers


@pytest.mark.parametrize("is_decoded", [False, True])
def test_generations_come_and_go(servers: Cluster, trips: FeatureView, weather: FeatureView, is_decoded: bool) -> None:
    with servers.client(decode_responses=is_decoded) as client, servers.client(decode_responses=True) as texts:
        deployment = deployment_of(client)
        views = [trips, weather]
        first = {view.name: build_and_publish(deployment, view) for view in views}
        building = register_build(deployment, trips, run_id="a", fingerprint="f", fields={"schema": "{}"})
        with Lease(deployment, trips, "a") as lease:
            lease.check()
            begin_closing(deployment, trips, "a")
            assert closing_run(deployment, trips) == "a"
            synced = sync_point(deployment, trips)
            mark_ready(deployment, trips, building, run_id="a", synced=synced, rows=1, size=1)
            end_closing(deployment, trips, "a")
        second = {"trips": building, "weather": build(deployment, weather)}
        assert publish(deployment, views).outcome == PublicationOutcome.PUBLISHED
        assert {view.name: read_generations(deployment, view).published for view in views} == second
        assert rollback(deployment, views, by="me") == first
        release(deployment, views)
        rows = [f"{trips.project}:{trips.name}:{generation}:{{{i}}}" for generation in (first["trips"], building)
                for i in range(300)]  # fmt: skip
        for row in rows:
            client.set(row, "row")
        online, measured = OnlineStore(client), ViewStatistics(rows=1, sampled=1, features={})
        for generation in (first["trips"], building):
            client.set(keyspace.statistics_key(trips, generation), encode(measured))
        assert online.statistics(trips, building) == measured
        make_older(texts, trips, timedelta(minutes=11))
        assert building in retire(deployment, trips, keep_generations=0)
        swept = sweep(deployment, trips, seconds=60)
        assert (swept.removed, swept.is_done) == (300, True)
        assert [known.id for known in read_generations(deployment, trips).generations] == [first["trips"]]
        assert (online.statistics(trips, building), online.statistics(trips)) == (None, measured)
        erased = {f"field{i}": at(1) for i in range(200)}
        record_erasures(deployment, trips, erased)
        found = {field: until for batch in read_erasures(deployment, trips) for field, until in batch.items()}
        assert found == erased
        assert take_back_erasures(deployment, trips, erased) == 200
        assert drop(deployment, trips) == 300
        assert online.statistics(trips, first["trips"]) is None


@pytest.mark.parametrize("name", ["a", "a.b-c_d", "0", "A9"])
def test_a_project_has_one_slot(trips: FeatureView, weather: FeatureView, name: str) -> None:
    project = trips.project
    keys = [keyspace.published_key(project)]
    for view in (trips, weather):
        keys += [
            keyspace.generations_key(view), keyspace.generation_key(view, name), keyspace.lease_key(view),
            keyspace.closing_key(view),
        ]  # fmt: skip
    assert {key_slot(key.encode()) for key in keys} == {key_slot(project.encode())}


def test_erasures_are_spread(trips: FeatureView) -> None:
    slots = {key_slot(keyspace.erased_key(trips, bucket).encode()) for bucket in range(64)}
    assert len(slots) > 48


@pytest.mark.parametrize("character", "*?[]\\{}:@%^ \n/é")
def test_names_hold_no_character_that_would_mean_something_in_keys(trips: FeatureView, character: str) -> None:
    for field in ("name", "project"):
        with pytest.raises(FeatureViewError):
            type(trips)(**{**vars(trips), field: f"a{character}b"})
