"""Readers hammer three views whose rows all carry the number of their build, while builds, publications, rollbacks and
removals go on: no reader finds rows of two builds in one call, nor an entity without a row.

``python -m tests.endurance.hammer --minutes 10`` does so on one server, and in a cluster whose slots move and one of
whose nodes fails, and prints figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize
from online_features.embedded import postgres_server, redis_server
from online_features.errors import TransientError
from online_features.online.generations.removal import retire, sweep
from online_features.online.redis import deployment_of
from online_features.online.redis.redis_failures import DRIVER_ERRORS
from redis.cluster import ClusterNode

from demo.workplace import PROJECT, unwind_on_signals, workplace
from tests.endurance.soak import Latencies
from tests.support.generations import make_older
from tests.support.servers.databases import Database, new_database
from tests.support.servers.redis_servers import Cluster, cluster

VIEWS = 3
ENTITIES = 300
READ_AT_ONCE = 20
READERS = 2
SWITCH_SECONDS = 0.1  # before and after a switch, that count as around it
PHASES = ("before", "build", "switch", "removal")
SLOTS = 16384
SAMPLES = 5  # of what no reader should see
RESULTS = PROJECT / "benchmarks" / "results" / "hammer.json"
OF_READERS = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Address:
    """Where Redis is.

    :param ports: of the nodes of a cluster; of one server if there is only one.
    """

    ports: tuple[int, ...]
    host: str = "127.0.0.1"

    @contextmanager
    def client(self, **settings: Any) -> Iterator[Any]:
        """Yield a client."""
        if len(self.ports) == 1:
            client: Any = redis.Redis(self.host, self.ports[0], **settings)
        else:
            nodes = [ClusterNode(self.host, port) for port in self.ports]
            client = redis.RedisCluster(startup_nodes=nodes, **settings)
        with closing(client):
            yield client


@dataclass
class Seen:
    """What a reader has seen.

    :ivar vectors: how many feature vectors it has read.
    :ivar mixes: calls with rows of more than one build.
    :ivar holes: vectors that lack a row.
    :ivar failures: calls that failed, as some do while a node fails.
    """

    vectors: int = 0
    mixes: int = 0
    holes: int = 0
    failures: int = 0
    samples: list[str] = field(default_factory=list)  # of mixes and holes
    latencies: Mapping[str, Latencies] = field(default_factory=lambda: {phase: Latencies() for phase in PHASES})

    def read(self, online: OnlineStore, views: Sequence[FeatureView], names: Sequence[str], phase: str) -> None:
        """Read vectors of all views once."""
        began = time.perf_counter()
        try:
            found = online.get_feature_vectors(views, [{"id": name} for name in names], full_feature_names=True)
        except TransientError:
            self.failures += 1
            return
        self.latencies[phase].add(time.perf_counter() - began)
        self.vectors += len(found)
        incomplete = [vector for vector in found if not vector.is_complete]
        is_mixed = len({number for vector in found for number in vector.values.values() if number is not None}) > 1
        self.holes += len(incomplete)
        self.mixes += is_mixed
        if (incomplete or is_mixed) and len(self.samples) < SAMPLES:
            self.samples.append(f"{time.time():.2f} {phase} {found.generations} {(incomplete or found)[0].rows}")


def read_until_over(address: Address, views: Sequence[FeatureView], phase: Any, over: Any, found: Any) -> None:
    """Read in a process of its own."""
    seen, chance = Seen(), random.Random()
    with address.client() as client:
        online = OnlineStore(client)
        while not over.is_set():
            names = [f"e{chance.randrange(ENTITIES)}" for _ in range(READ_AT_ONCE)]
            seen.read(online, views, names, PHASES[phase.value])
    found.put(seen)


@dataclass
class Hammer:
    """Builds, publications, rollbacks and removals of three views, beside readers.

    :param replicas: that must have the rows of a run.
    :ivar done: how often what was done.
    """

    database: Database
    address: Address
    project: str
    layout: str = "msgpack"
    replicas: int = 0
    done: Counter[str] = field(default_factory=Counter)
    number: int = 0

    def __post_init__(self) -> None:
        self.offline = OfflineStore(self.database.uri)
        self.views = [
            FeatureView(
                name=f"view{i}", project=self.project, entities=["id"], features=["n"], layout=self.layout,
                source=PostgresSource(table=f"rows{i}", timestamp_field="ts"),
            )
            for i in range(VIEWS)
        ]  # fmt: skip
        for i in range(VIEWS):
            self.database(
                f"CREATE TABLE rows{i} AS SELECT 'e' || e AS id, now() - interval '1 day' AS ts, 0 AS n "
                f"FROM generate_series(0, {ENTITIES - 1}) AS e"
            )

    def work(self, seconds: float, readers: int = READERS) -> dict[str, Any]:
        """Work beside readers for some time, and return figures.

        :raises Exception: the first failure that is not a passing one.
        """
        phase, over, found = OF_READERS.Value("i", 0), OF_READERS.Event(), OF_READERS.Queue()
        with self.address.client() as client:
            self._online = OnlineStore(client)
            self._deployment = deployment_of(client)
            self._build_and_publish(phase)
            processes = [
                OF_READERS.Process(target=read_until_over, args=(self.address, self.views, phase, over, found))
                for _ in range(readers)
            ]
            for process in processes:
                process.start()
            try:
                deadline, chance = time.monotonic() + seconds, random.Random()
                while time.monotonic() < deadline:
                    self._round(phase, chance)
            finally:
                over.set()
                seen = [found.get(timeout=60) for _ in processes]
                for process in processes:
                    process.join()
        return self._figures(seen)

    def _round(self, phase: Any, chance: random.Random) -> None:
        try:
            self._build_and_publish(phase)
            if chance.random() < 0.4:
                self._switch(phase, lambda: self._online.rollback(self.views))
                self.done["rollbacks"] += 1
            if chance.random() < 0.5:
                self._remove(phase)
        except (TransientError, *DRIVER_ERRORS) as failure:  # a node has failed
            self.done[f"interruptions ({type(failure).__name__})"] += 1
        phase.value = PHASES.index("before")
        time.sleep(0.2)

    def _build_and_publish(self, phase: Any) -> None:
        self.number += 1
        self.database("".join(f"UPDATE rows{i} SET n = {self.number};" for i in range(VIEWS)))
        phase.value = PHASES.index("build")
        built = {
            view.name: materialize(
                view, self.offline, self._online, full=True, publish=False, batch_rows=50,
                wait_for_replicas=self.replicas, retry_for=timedelta(seconds=60),
            ).generation
            for view in self.views
        }  # fmt: skip
        self.done["builds"] += VIEWS
        self._switch(phase, lambda: self._online.publish(self.views, generations=built))
        self.done["joint publications"] += 1

    def _switch(self, phase: Any, act: Callable[[], object]) -> None:
        phase.value = PHASES.index("switch")
        time.sleep(SWITCH_SECONDS)
        act()
        time.sleep(SWITCH_SECONDS)
        phase.value = PHASES.index("before")

    def _remove(self, phase: Any) -> None:
        """Remove what a run would remove ten minutes later."""
        phase.value = PHASES.index("removal")
        with self.address.client(decode_responses=True) as client:
            for view in self.views:
                make_older(client, view, timedelta(minutes=11))
                retire(self._deployment, view)
                self.done["keys removed"] += sweep(self._deployment, view).removed

    def _figures(self, seen: Sequence[Seen]) -> dict[str, Any]:
        merged = {phase: sum((each.latencies[phase] for each in seen), Latencies()) for phase in PHASES}
        return {
            "vectors": sum(each.vectors for each in seen),
            "mixes": sum(each.mixes for each in seen),
            "holes": sum(each.holes for each in seen),
            "failed reads": sum(each.failures for each in seen),
            "samples": [sample for each in seen for sample in each.samples],
            **self.done,
            "p99 in milliseconds": {name: round(latencies.quantile(0.99), 2) for name, latencies in merged.items()},
        }


@contextmanager
def moving(servers: Cluster, done: Counter[str]) -> Iterator[None]:
    """Move slots, with their keys, from one node to another all the time, and let a node fail once."""
    over, failures = threading.Event(), list[BaseException]()

    def move() -> None:
        chance = random.Random()
        while not over.wait(0.05):
            slot = chance.randrange(SLOTS)
            owner = servers.owner(slot)
            target = chance.choice([node for node in servers.nodes if node.is_primary and node is not owner])
            migration = servers.migration(slot, target)
            migration.begin()
            migration.move(*owner.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000))
            migration.finish()
            done["slots moved"] += 1

    def work() -> None:
        try:
            move()
        except BaseException as failure:  # noqa: BLE001 - raised in the end
            failures.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failures:
        raise failures[0]


def on_one_server(postgres_uri: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Hammer one server."""
    folder.mkdir()
    with redis_server(folder) as url, new_database(postgres_uri) as database:
        port = redis.Redis.from_url(url).connection_pool.connection_kwargs["port"]
        return Hammer(database, Address((port,)), "hammer").work(seconds)


def in_a_cluster(postgres_uri: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Hammer a cluster whose slots move, and then one of whose nodes fails over."""
    folder.mkdir()
    with cluster(folder) as servers, new_database(postgres_uri) as database:
        servers.await_health()
        hammer = Hammer(database, Address(tuple(node.port for node in servers.nodes)), "hammer", replicas=1)
        with moving(servers, hammer.done):
            moved = hammer.work(seconds / 2)
        return {"slots move": moved, "a node fails": _failing(servers, database, seconds / 2)}


def _failing(servers: Cluster, database: Database, seconds: float) -> dict[str, Any]:
    for i in range(VIEWS):
        database(f"DROP TABLE rows{i}")
    hammer = Hammer(database, Address(tuple(node.port for node in servers.nodes)), "failing", replicas=1)
    primary = next(node for node in servers.nodes if node.is_primary)
    timer = threading.Timer(seconds / 3, primary.kill)
    timer.start()
    back = threading.Timer(seconds / 2, primary.start)
    back.start()
    try:
        return hammer.work(seconds)
    finally:
        timer.join()
        back.join()


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.endurance.hammer", description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--only", choices=["server", "cluster"])
    chosen = arguments.parse_args()
    unwind_on_signals()
    figures: dict[str, Any] = {}
    with workplace("hammer") as folder, ExitStack() as stack:
        postgres_uri = stack.enter_context(postgres_server(folder))
        seconds = 60 * chosen.minutes / (1 if chosen.only else 2)
        if chosen.only != "cluster":
            figures["one server"] = on_one_server(postgres_uri, folder / "one", seconds)
        if chosen.only != "server":
            figures.update(in_a_cluster(postgres_uri, folder / "cluster", seconds))
    report = json.dumps(figures, indent=2)
    print(report, flush=True)
    RESULTS.write_text(f"{report}\n", encoding="utf-8")
    for name, found in figures.items():
        assert found["mixes"] == found["holes"] == 0, name


if __name__ == "__main__":
    main()
