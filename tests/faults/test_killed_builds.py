"""Builds, catch-ups, publications, rollbacks and removals, killed or stopped for longer than a lease, anywhere.

Readers see a whole generation, and after the next run Redis holds what the model does, and no key that nobody lists.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import multiprocessing
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import psycopg2
import pytest
import redis
from online_features import (
    FeatureView,
    OfflineStore,
    OnlineStore,
    PostgresSource,
    finish_build,
    materialize,
    materialize_part,
    plan_build,
)
from online_features.errors import OnlineFeaturesError
from online_features.layouts import keyspace
from online_features.online.generations.removal import retire, sweep
from online_features.online.redis import deployment_of

from tests.support.generations import make_older
from tests.support.leases import shorten_leases
from tests.support.model import Model, Row
from tests.support.online import generation_online
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.faults, pytest.mark.layouts("msgpack", "hash", "json"), pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("KILLS", "9"))  # of each layout
ENTITIES = 60
BATCH_ROWS = 5  # so that a build sends dozens of packets
MOST_PACKETS = 45
CHANGES = b"Changes what Redis keeps of generations"  # in the packet that changes the list
MOST_CHANGES = 5
MOST_SECONDS = 0.4
LEASE_SECONDS = 1.0  # of the processes that die
ORIGIN = {"dag_id": "killed"}  # of all runs, so that the next one takes over from a build in parts
FAILED = 3  # exit code of a process whose work has ended with an error of ours

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.faults.test_killed_builds", "online_features.online.write.online_run"])


@dataclass(frozen=True)
class Death:
    """When a process dies, or is stopped.

    :param by: the signal.
    :param packet: the number of the packet to Redis at which it does; 0 if it is by the clock.
    :param holds: what is in the packets that are counted.
    :param share: of this packet that is sent before.
    :param seconds: after which it does, if it is by the clock.
    """

    by: int
    packet: int = 0
    holds: bytes = b""
    share: float = 0
    seconds: float = 0

    @classmethod
    def draw(cls, chance: random.Random) -> Death:
        """Return one of the many."""
        by = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
        share = chance.choice([0, 0.5, 1])
        return chance.choice([
            cls(by=by, packet=chance.randrange(1, MOST_PACKETS), share=share),
            cls(by=by, packet=chance.randrange(1, MOST_CHANGES), holds=CHANGES, share=share),
            cls(by=by, seconds=chance.uniform(0, MOST_SECONDS)),
        ])  # fmt: skip


class MortalConnection(redis.Connection):
    """Sends its process a signal in the middle of a packet."""

    death: Death
    packets = itertools.count(1)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        payload = b"".join(command) if isinstance(command, list) else command
        if self.death.packet and self.death.holds in payload and next(self.packets) == self.death.packet:
            cut = round(self.death.share * len(payload))
            self._sock.sendall(payload[:cut])
            os.kill(os.getpid(), self.death.by)
            self._sock.sendall(payload[cut:])
        else:
            super().send_packed_command(command, check_health)


@dataclass(frozen=True)
class Stores:
    """Addresses of both stores, and a view."""

    uri: str
    url: str
    view: FeatureView

    def run(self, online: OnlineStore, **options: Any) -> Any:
        return materialize(
            self.view, OfflineStore(self.uri), online, batch_rows=BATCH_ROWS, origin=ORIGIN, **options
        )  # fmt: skip


def build(stores: Stores, online: OnlineStore) -> None:
    stores.run(online, full=True)


def build_and_catch_up(stores: Stores, online: OnlineStore) -> None:
    """Build beside an increment, with which the build has to catch up."""
    other, left = OnlineStore.from_url(stores.url), [1]

    def increment(_: Any) -> None:
        if left:
            left.pop()
            with psycopg2.connect(stores.uri) as connection, connection.cursor() as cursor:
                cursor.execute("INSERT INTO rows SELECT id, ts + interval '1 s', clock_timestamp(), gone, x + 1, y "
                               "FROM rows ORDER BY ts DESC LIMIT 7")  # fmt: skip
            stores.run(other)

    stores.run(online, full=True, on_progress=increment)


def build_and_publish(stores: Stores, online: OnlineStore) -> None:
    stores.run(online, full=True, publish=False)
    online.publish([stores.view])


def build_in_parts(stores: Stores, online: OnlineStore) -> None:
    """Build in parts, one of them twice."""
    offline = OfflineStore(stores.uri)
    plan = plan_build(stores.view, offline, online, parts=3, origin=ORIGIN)
    for part in (*plan.parts, plan.parts[0]):
        materialize_part(part, offline, online, batch_rows=BATCH_ROWS)
    finish_build(plan, offline, online)


def roll_back(stores: Stores, online: OnlineStore) -> None:
    online.rollback([stores.view])


def remove(stores: Stores, online: OnlineStore) -> None:
    deployment = deployment_of(online._client)
    retire(deployment, stores.view, keep_generations=0)
    sweep(deployment, stores.view, is_due=True)


ACTS = (build, build_and_catch_up, build_and_publish, build_in_parts, roll_back, remove)


def act_until_killed(stores: Stores, act: Callable[[Stores, OnlineStore], None], death: Death) -> None:
    shorten_leases(LEASE_SECONDS)
    MortalConnection.death = death
    pool = redis.ConnectionPool.from_url(stores.url, connection_class=MortalConnection)
    try:
        act(stores, OnlineStore(redis.Redis(connection_pool=pool)))
    except OnlineFeaturesError:
        os._exit(FAILED)


class Killing:
    """A view whose builds are killed, and the model of what must be online in the end."""

    def __init__(self, database: Database, redis_url: str, project: str, layout: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.database = database
        self.view = FeatureView(
            name="view", project=project, entities=["id"], features=["x", "y"], layout=layout,
            source=PostgresSource(
                table="rows", timestamp_field="ts", created_timestamp_column="created", deleted_field="gone"
            ),
        )  # fmt: skip
        self.stores = Stores(database.uri, redis_url, self.view)
        self.online = OnlineStore.from_url(redis_url)
        self.client = redis.Redis.from_url(redis_url, decode_responses=True)
        self.model = Model(now=datetime.now(UTC))
        self.done: Counter[str] = Counter()
        database(
            "CREATE TABLE rows (id text, ts timestamptz, created timestamptz DEFAULT now(), gone bool, x int, y text)"
        )

    def change_everything(self, number: int) -> None:
        """Replace all rows of the source, and push and erase some entities."""
        self.database("DELETE FROM rows WHERE random() < 0.8")
        self.database(
            "INSERT INTO rows (id, ts, gone, x, y) SELECT 'e' || e, now() - random() * interval '1 hour' - interval "
            f"'1 hour', random() < 0.1, {number}, 'y' FROM generate_series(1, {ENTITIES}) AS e WHERE random() < 0.9"
        )
        names = self.chance.sample(range(ENTITIES + 10), 6)
        now = datetime.now(UTC)
        pushed = [Row(f"e{i}", now - timedelta(hours=self.chance.choice([0, 3])), now, i % 3 == 0, number, "p")
                  for i in names[:4]]  # fmt: skip
        self.online.push(self.view, [{name: getattr(row, name) for name in ("id", "ts", "created", "gone", "x", "y")}
                                     for row in pushed])  # fmt: skip
        self.model.push(pushed)
        erased = [f"e{i}" for i in names[4:]]
        self.online.delete(self.view, [{"id": name} for name in erased])
        self.model.now = datetime.now(UTC)
        self.model.delete(erased)

    def states(self) -> list[Any]:
        """Return what readers may see: any generation that is whole, and what a full run would publish."""
        after = copy.deepcopy(self.model)
        self.load(after)
        after.run("full", allow_empty=True)
        whole = [known.id for known in self.online.generations(self.view).generations
                 if known.state in ("published", "unpublished", "rolled back", "ready")]  # fmt: skip
        return [rows_of(after), *(generation_online(self.online, self.view, ("x", "y"), each).rows for each in whole)]

    def load(self, model: Model) -> None:
        model.source = [Row(*row) for row in self.database("SELECT id, ts, created, gone, x, y FROM rows")]

    def act_and_die(self, act: Callable[[Stores, OnlineStore], None]) -> None:
        """Let a process act, and kill or stop it."""
        death, allowed = Death.draw(self.chance), self.states()
        if act is remove:
            make_older(self.client, self.view, timedelta(minutes=11))
        process = FORKED.Process(target=act_until_killed, args=(self.stores, act, death))
        process.start()
        assert process.pid is not None
        deadline = time.monotonic() + death.seconds if not death.packet else float("inf")
        while process.is_alive() and not is_stopped(process.pid):
            time.sleep(0.005)
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(process.pid, death.by)
                deadline = float("inf")
        seen = generation_online(self.online, self.view, ("x", "y")).rows
        self.follow()
        if act is not build_and_catch_up:  # an increment writes row by row
            assert seen in allowed, f"{act.__name__}, {death}"
        if process.is_alive():
            self.done[f"stopped in {act.__name__}"] += 1
            time.sleep(1.1 * LEASE_SECONDS)
            self.finish()
            os.kill(process.pid, signal.SIGCONT)
        process.join(60)
        self.follow()
        assert process.exitcode in {0, FAILED, -signal.SIGKILL}
        if process.exitcode == -signal.SIGKILL:
            self.done[f"killed in {act.__name__}"] += 1

    def finish(self) -> None:
        """Run again, and compare."""
        self.client.delete(keyspace.closing_key(self.view))
        self.online.release([self.view])
        self.stores.run(self.online, full=True, allow_empty=True)
        self.model.release()
        self.follow()
        self.check()

    def follow(self) -> None:
        """Let the model publish, or go back, if the view has."""
        published = self.online.generations(self.view).published
        before = self.model.published.before
        if before and published == before.id:
            self.model.rollback()
        elif published != self.model.published.id:
            self.load(self.model)
            self.model.run("full", allow_empty=True)
            self.model.published.id = published

    def check(self) -> None:
        found, expected = generation_online(self.online, self.view, ("x", "y")), self.model.online
        assert found.rows == rows_of(self.model)
        assert found.buried == {name for name, held in expected.items() if held.fields is None}
        assert found.pushed == {name for name, held in expected.items() if held.is_pushed}

    def check_keys(self) -> None:
        """Every key is listed, or ends by itself."""
        deployment = deployment_of(self.online._client)
        for _ in range(2):
            make_older(self.client, self.view, timedelta(minutes=11))
            retire(deployment, self.view)
            while not sweep(deployment, self.view, is_due=True).is_done:
                pass
        listed = {known.id for known in self.online.generations(self.view).generations}
        assert len(listed) <= 3
        id_ = re.escape(f"{self.view.project}:view:")
        of_generation = re.compile(
            rf"{id_}(\w+):\{{|@online_features:generation:\{{{self.view.project}\}}:view:(\w+)|"
            rf"@online_features:statistics:\{{{id_}(\w+)\}}"
        )
        of_view = [keyspace.published_key(self.view.project), keyspace.generations_key(self.view),
                   keyspace.runs_key(self.view)]  # fmt: skip
        for key in self.client.scan_iter(f"*{self.view.project}*", count=10_000):
            if parts := of_generation.match(key):
                # Statistics of a builder that comes too late end by themselves.
                assert (parts[1] or parts[2] or parts[3]) in listed or (parts[3] and self.client.pttl(key) > 0), key
            elif key not in of_view and not key.startswith("@online_features:erased:"):
                assert self.client.pttl(key) > 0, key


def rows_of(model: Model) -> Mapping[str, Mapping[str, str]]:
    return {name: held.hash for name, held in model.online.items() if held.fields is not None}


def is_stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def test_whatever_is_killed_or_stopped_the_next_run_ends_as_the_model_says(
    database: Database, redis_url: str, project: str, layout: str
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    killing = Killing(database, redis_url, project, layout, seed)
    killing.change_everything(0)
    killing.finish()
    for number in itertools.count(1):
        if killing.done.total() >= KILLS:
            break
        killing.change_everything(number)
        killing.act_and_die(killing.chance.choice(ACTS))
        killing.finish()
        killing.check_keys()
    print(dict(killing.done))
