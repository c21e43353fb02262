"""The tests' Redis servers fail over, migrate slots and redirect: what other tests conclude from them rests on that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from demo.workplace import workplace
from tests.support.processes import until
from tests.support.redis_servers import Cluster, Server, cluster, watched


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    with workplace("cluster") as folder, cluster(folder) as servers:
        yield servers


def asked(server: Server, *command: Any) -> Any:
    """What a server answers, or the beginning of its error."""
    try:
        return server.client.execute_command(*command)
    except redis.ResponseError as error:
        return type(error).__name__


def test_a_slot_migrates_step_by_step(servers: Cluster) -> None:
    slot = key_slot(b"{a}")
    source = servers.owner(slot)
    target = next(node for node in servers.nodes if node.is_primary and node is not source)
    assert asked(source, "MSET", "{a}1", 1, "{a}2", 2)
    assert asked(target, "GET", "{a}1") == "MovedError"
    migration = servers.migration(slot, target)
    migration.begin()
    migration.move("{a}1")
    assert asked(source, "GET", "{a}1") == "AskError"
    assert asked(source, "GET", "{a}2") == b"2"
    asking = target.client.pipeline(transaction=False)
    both = asking.execute_command("ASKING").mget("{a}1", "{a}2").execute(raise_on_error=False)
    assert isinstance(both[1], redis.exceptions.TryAgainError)
    migration.finish()
    assert asked(source, "GET", "{a}1") == "MovedError"
    assert asked(target, "MGET", "{a}1", "{a}2") == [b"1", b"2"]
    assert servers.owner(slot) is target
    servers.await_health()


def test_a_replica_takes_over_from_a_master_that_is_killed(servers: Cluster) -> None:
    master = servers.owner(0)
    replica = servers.replica(master)
    with servers.client() as client:
        client.set("{06S}", 1)  # of slot 0
        assert client.cluster_keyslot("{06S}") == 0
        master.client.wait(1, 5000)
        master.kill()
        until(lambda: replica.is_primary)
        servers.await_health(but=(master,))
        assert servers.owner(0) is replica
        assert client.get("{06S}") == b"1"
    master.start()
    servers.await_health()
    assert not master.is_primary


def test_sentinels_make_a_replica_the_primary() -> None:
    with workplace("sentinels") as folder, watched(folder, replicas=2) as servers:
        before = servers.primary()
        assert before is servers.servers[0]
        before.kill()
        until(lambda: sum(server.is_primary for server in servers.servers) == 1)
        after = servers.primary()
        until(lambda: after.replicas == 1)
