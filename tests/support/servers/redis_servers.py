"""Redis servers that can be killed and paused: single, with replicas, watched by Sentinels, and as a cluster."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from online_features.embedded import (
    HOST,
    _give_to_server_user,
    _running,
    reserved_port,
)
from online_features.resp.replies import text
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from tests.support.processes import until
from tests.support.servers.programs import redis_program

PRIMARY = "main"
PASSWORD = "of the servers"
SENTINEL_PASSWORD = "of-the-sentinel"

# Keep nothing on disk, and begin to replicate at once.
OPTIONS = ("--save", "", "--appendonly", "no", "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")

SENTINEL = """
bind {host}
port {port}
dir {folder}
requirepass {sentinel_password}
sentinel monitor {primary} {host} {primary_port} {quorum}
sentinel auth-pass {primary} "{password}"
sentinel down-after-milliseconds {primary} 1000
sentinel failover-timeout {primary} 5000
"""

SLOTS = 16_384
NODE_TIMEOUT_MS = 1000  # a node that is silent for so long has failed: a replica takes over a second or two later
CLUSTER_OPTIONS = (
    "--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-announce-ip", HOST,
    "--cluster-replica-validity-factor", "0",
)  # fmt: skip
STEADY = ("--cluster-node-timeout", "10000")  # for a busy machine, where a healthy node may be silent for a second
BUS_OFFSET = 10_000  # from a node's port to the port of its cluster bus
LOWEST_PORT, HIGHEST_PORT = 20_000, 32_000  # below the ephemeral ports of the kernel, for node and bus


@dataclass
class Server:
    """A Redis, or one of the Sentinels.

    :ivar client: of the server itself; it does not retry.
    """

    port: int
    command: list[str | Path]
    log: Path
    password: str | None = None
    client: redis.Redis = field(init=False)
    _process_id: int = 0
    _process: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.client = redis.Redis(host=HOST, port=self.port, password=self.password, retry=Retry(NoBackoff(), 0))

    def start(self) -> None:
        """Start it, empty, or with the configuration that it has written itself."""
        self._process.enter_context(_running(self.command, self.log, ready=self.client.ping))
        self._process_id = self.client.info("server")["process_id"]

    def kill(self) -> None:
        """Kill it by SIGKILL."""
        os.kill(self._process_id, signal.SIGKILL)
        self._process.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend its process: connections stay open, without replies."""
        os.kill(self._process_id, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process_id, signal.SIGCONT)

    def close(self) -> None:
        self._process.close()
        self.client.close()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def is_primary(self) -> bool:
        """Whether it runs and accepts writes."""
        with suppress(redis.ConnectionError):
            return bool(self.client.role()[0] == b"master")
        return False

    @property
    def replicas(self) -> int:
        """How many replicas are online."""
        return sum(replica["state"] == "online" for name, replica in self.client.info("replication").items()
                   if name.startswith("slave") and isinstance(replica, dict))  # fmt: skip


@contextmanager
def running(folder: Path, *options: str, port: int | None = None, password: str | None = None) -> Iterator[Server]:
    """Run a Redis with the options of its command line, on data of its own.

    :param folder: for its log and what it keeps; made if there is none.
    """
    folder.mkdir(exist_ok=True)
    login = ("--requirepass", password, "--masterauth", password) if password else ()
    with ExitStack() as stack:
        port = port or stack.enter_context(reserved_port())
        command = [
            redis_program(),
            "--bind",
            HOST,
            "--port",
            str(port),
            "--dir",
            folder,
            *OPTIONS,
            *login,
            *options,
        ]
        server = stack.enter_context(closing(Server(port, command, folder / "redis.log", password)))
        server.start()
        yield server


@contextmanager
def replicated(
    folder: Path, *options: str, replicas: int = 1, password: str | None = None
) -> Iterator[tuple[Server, ...]]:
    """Run a primary and its replicas; yield them when all are online, the primary first."""
    with ExitStack() as stack:
        primary, *others = servers = [
            stack.enter_context(running(folder / str(i), *options, password=password)) for i in range(replicas + 1)
        ]
        for other in others:
            other.client.replicaof(HOST, primary.port)
        until(lambda: primary.replicas == replicas)
        yield tuple(servers)


@dataclass(frozen=True)
class Watched:
    """Servers, and the Sentinels that watch them."""

    servers: tuple[Server, ...]
    sentinels: tuple[Server, ...]

    def primary(self) -> Server:
        """Return the server that is the primary now."""
        (found,) = (server for server in self.servers if server.is_primary)
        return found

    @property
    def addresses(self) -> str:
        """The Sentinels, as the extra of a connection names them."""
        return ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)

    def fail_over(self) -> None:
        """Have a Sentinel make a replica the primary; it takes a second or two."""

        def is_begun() -> bool:
            # Refused until the Sentinel has a recent reply of a replica.
            with suppress(redis.ResponseError):
                self.sentinels[0].client.execute_command("SENTINEL", "FAILOVER", PRIMARY)
                return True
            return False

        until(is_begun)


@contextmanager
def watched(folder: Path, *, replicas: int = 1, sentinels: int = 3) -> Iterator[Watched]:
    """Run a primary, its replicas and Sentinels that have found each other; a majority decides on a failover."""
    with ExitStack() as stack:
        servers = stack.enter_context(replicated(folder, replicas=replicas, password=PASSWORD))
        watching = tuple(
            stack.enter_context(_sentinel(folder / f"sentinel{i}", servers[0].port, quorum=sentinels // 2 + 1))
            for i in range(sentinels)
        )
        until(lambda: all(_knows(sentinel, replicas, sentinels - 1) for sentinel in watching))
        yield Watched(servers, watching)


@contextmanager
def _sentinel(folder: Path, primary_port: int, *, quorum: int) -> Iterator[Server]:
    folder.mkdir()
    configuration = folder / "sentinel.conf"
    command: list[str | Path] = [redis_program(), configuration, "--sentinel"]
    with (
        reserved_port() as port,
        closing(Server(port, command, folder / "sentinel.log", SENTINEL_PASSWORD)) as server,
    ):
        configuration.write_text(
            SENTINEL.format(
                host=HOST, port=port, folder=folder, primary=PRIMARY, primary_port=primary_port, quorum=quorum,
                password=PASSWORD, sentinel_password=SENTINEL_PASSWORD,
            )
        )  # fmt: skip
        _give_to_server_user(configuration)  # the server rewrites it
        server.start()
        yield server


def _knows(sentinel: Server, replicas: int, others: int) -> bool:
    """Return whether a Sentinel has found so many other Sentinels and connected replicas."""
    primary = _fields(sentinel.client.execute_command("SENTINEL", "MASTER", PRIMARY))
    found = [_fields(words) for words in sentinel.client.execute_command("SENTINEL", "REPLICAS", PRIMARY)]
    # Before a replica has replied, its link counts as down, and the Sentinel does not fail over to it.
    connected = sum(replica["master-link-status"] == "ok" for replica in found)
    return (connected, int(primary["num-other-sentinels"])) == (replicas, others)


def _fields(words: Any) -> dict[str, str]:
    """Return the fields in a Sentinel's reply about a server, by name."""
    pairs = words.items() if isinstance(words, dict) else zip(words[::2], words[1::2], strict=True)
    return {text(name): text(value) for name, value in pairs}


@dataclass(frozen=True)
class Cluster:
    """The nodes of a Redis Cluster: first the initial masters, then their replicas."""

    nodes: tuple[Server, ...]

    @contextmanager
    def client(self, **settings: Any) -> Iterator[redis.RedisCluster]:
        """Yield a client of the cluster."""
        startup = [ClusterNode(HOST, node.port) for node in self.nodes]
        with closing(redis.RedisCluster(startup_nodes=startup, **settings)) as client:
            yield client

    def owner(self, slot: int) -> Server:
        """Return the master of a slot, by a majority of the masters."""
        views = [_owner_port(node, slot) for node in self.nodes if node.is_primary]
        return self._node(max(views, key=views.count))

    def replica(self, master: Server) -> Server:
        """Return a replica of the master."""
        return self._node(master.client.role()[2][0][1])

    def migration(self, slot: int, target: Server) -> Migration:
        """Return the migration of a slot to another master, to be done step by step."""
        return Migration(self, slot, self.owner(slot), target)

    @contextmanager
    def joined(self, folder: Path) -> Iterator[Server]:
        """Run one more master, without slots, and remove it from the cluster afterwards."""
        with _node_port() as port, running(folder / "joined", *CLUSTER_OPTIONS, port=port) as joined:
            everybody = (*self.nodes, joined)
            until(lambda: all(_has_met(node, everybody) for node in everybody))
            until(lambda: _is_healthy(joined))
            name = _id(joined)
            yield joined
        for node in self.nodes:
            node.client.execute_command("CLUSTER", "FORGET", name)

    def await_health(self, *, but: tuple[Server, ...] = ()) -> None:
        """Wait until all nodes, except those in ``but``, are healthy and agree on the master of every slot."""
        nodes = [node for node in self.nodes if node not in but]
        until(lambda: all(_is_healthy(node) for node in nodes))
        until(lambda: len({str(sorted(_masters(node))) for node in nodes}) == 1)

    def _node(self, port: int) -> Server:
        (found,) = (node for node in self.nodes if node.port == int(port))
        return found


@dataclass(frozen=True)
class Migration:
    """The migration of a slot.

    Between :meth:`begin` and :meth:`finish`, the source replies ASK for keys that it does not have, and the target
    replies TRYAGAIN to commands on several keys of which it has only some. Afterwards the source replies MOVED.
    """

    cluster: Cluster
    slot: int
    source: Server
    target: Server

    def begin(self) -> None:
        """Set the slot as migrating on both nodes."""
        self.target.client.execute_command("CLUSTER", "SETSLOT", self.slot, "IMPORTING", _id(self.source))
        self.source.client.execute_command("CLUSTER", "SETSLOT", self.slot, "MIGRATING", _id(self.target))

    def move(self, *keys: str | bytes) -> None:
        """Move these keys; without keys, all that are left in the slot."""
        moving = keys or self.source.client.execute_command("CLUSTER", "GETKEYSINSLOT", self.slot, 1_000_000)
        if moving:
            self.source.client.execute_command("MIGRATE", HOST, self.target.port, "", 0, 5000, "KEYS", *moving)

    def give_up(self) -> None:
        """Leave the slot at the source; keys that were moved stay at the target."""
        self.source.client.execute_command("CLUSTER", "SETSLOT", self.slot, "STABLE")

    def finish(self) -> None:
        """Move the rest of the keys, and assign the slot to the target, there first, so that it always has an owner."""
        self.move()
        masters = [node for node in self.cluster.nodes if node.is_primary and node is not self.target]
        for node in (self.target, *masters):
            node.client.execute_command("CLUSTER", "SETSLOT", self.slot, "NODE", _id(self.target))


@contextmanager
def cluster(folder: Path, *options: str, masters: int = 3, replicas: int = 1) -> Iterator[Cluster]:
    """Run a cluster whose slots are spread evenly over the masters, each with so many replicas."""
    with ExitStack() as stack:
        nodes = tuple(
            stack.enter_context(
                running(folder / str(i), *CLUSTER_OPTIONS, *options, port=stack.enter_context(_node_port()))
            )
            for i in range(masters * (1 + replicas))
        )
        share = -(-SLOTS // masters)
        for i, node in enumerate(nodes):
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            if i < masters:
                slots = range(i * share, min((i + 1) * share, SLOTS))
                node.client.execute_command("CLUSTER", "ADDSLOTS", *slots)
        until(lambda: all(_has_met(node, nodes) for node in nodes))
        for i, replica in enumerate(nodes[masters:]):
            replica.client.execute_command("CLUSTER", "REPLICATE", _id(nodes[i % masters]))
        cluster = Cluster(nodes)
        cluster.await_health()
        until(lambda: all(node.replicas == replicas for node in nodes[:masters]))
        yield cluster


@contextmanager
def _node_port() -> Iterator[int]:
    """Reserve a port for a node and the port of its bus; yield the first."""
    while True:
        port = random.randint(LOWEST_PORT, HIGHEST_PORT - BUS_OFFSET)
        with ExitStack() as reserved:
            try:
                reserved.enter_context(reserved_port(port))
                reserved.enter_context(reserved_port(port + BUS_OFFSET))
            except OSError:
                continue
            yield port
            return


def _has_met(node: Server, others: tuple[Server, ...]) -> bool:
    """Return whether a node has met all others; send CLUSTER MEET for those that it has not met."""
    known = node.client.execute_command("CLUSTER", "NODES", NEVER_DECODE=True)
    # Sent again each time: a handshake that takes longer than a second is dropped.
    for other in others:
        if b":%d@" % other.port not in known:
            node.client.execute_command("CLUSTER", "MEET", HOST, other.port)
    return all(_id(other).encode() in known for other in others) and b"handshake" not in known


def _is_healthy(node: Server) -> bool:
    info = node.client.execute_command("CLUSTER", "INFO", NEVER_DECODE=True)
    role = node.client.role()
    return b"cluster_state:ok" in info and (role[0] == b"master" or role[3] == b"connected")


def _masters(node: Server) -> list[tuple[int, int, int]]:
    """Return first slot, last slot and port of the master of every range, as a node reports them."""
    ranges = node.client.execute_command("CLUSTER", "SLOTS", NEVER_DECODE=True)
    return [(first, last, master[1]) for first, last, master, *_ in ranges]


def _owner_port(node: Server, slot: int) -> int:
    return next(port for first, last, port in _masters(node) if first <= slot <= last)


def _id(node: Server) -> str:
    return str(node.client.execute_command("CLUSTER", "MYID", NEVER_DECODE=True), "ascii")
