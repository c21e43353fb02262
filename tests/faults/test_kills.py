"""Runs that are killed in the middle, and then run again, as Airflow would: nothing is claimed that is not online."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize
from online_features.common.instants import to_text

from tests.support.leases import shorten_leases
from tests.support.model import Model, Row, newest
from tests.support.online import names_buried, rows_online
from tests.support.servers.databases import Database

pytestmark = pytest.mark.faults

ENTITIES = 150
NEW_ROWS = 80  # before each run
BATCH_ROWS = 5  # so that even an incremental run sends dozens of packets
MOST_PACKETS = 40  # of which some runs have fewer
COMMIT = b'"success"'  # in the record of a run that is about to end
MOST_SECONDS = 0.4  # from the beginning of a run to a kill by the clock
LEASE_SECONDS = 4  # of runs that die
KILLS = {"msgpack": 24, "hash": 10, "json": 10, "feast": 10}

RUNS: Mapping[str, Mapping[str, Any]] = {
    "incremental": {},
    "full": {"full": True},
    "pruning": {"full": True, "prune": True},
}

# Processes are forked from one that has imported everything, so that a kill costs tenths of a second.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.faults.test_kills", "online_features.online.write.online_run"])


@dataclass(frozen=True)
class Death:
    """When a process dies.

    :param seconds: after which it does; ``None`` where it is not by the clock.
    :param packet: to Redis, at which it does: the number of one, or what is in one.
    :param share: of this packet that is still sent: none of it, a part, or all.
    """

    seconds: float | None = None
    packet: int | bytes = 0
    share: float = 0


class MortalConnection(redis.Connection):
    """Kills its process at a packet."""

    death = Death()
    packets = itertools.count(1)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        payload = b"".join(command) if isinstance(command, list) else command
        number, packet = next(self.packets), self.death.packet
        if number == packet or (isinstance(packet, bytes) and packet in payload):
            self._sock.sendall(payload[: round(self.death.share * len(payload))])
            os.kill(os.getpid(), signal.SIGKILL)
        super().send_packed_command(command, check_health)


def run_until_killed(uri: str, url: str, view: FeatureView, options: Mapping[str, Any], death: Death) -> None:
    shorten_leases(LEASE_SECONDS)
    MortalConnection.death = death
    pool = redis.ConnectionPool.from_url(url, connection_class=MortalConnection)
    if death.seconds is not None:
        timer = threading.Timer(death.seconds, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    materialize(
        view, OfflineStore(uri), OnlineStore(redis.Redis(connection_pool=pool)), batch_rows=BATCH_ROWS, **options
    )


class Killing:
    """A view whose runs are killed, and the model of what must be online in the end."""

    def __init__(self, database: Database, redis_url: str, project: str, layout: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.database, self.redis_url = database, redis_url
        self.offline, self.online = OfflineStore(database.uri), OnlineStore.from_url(redis_url)
        self.view = FeatureView(
            name="view", project=project, entities=["id"], features=["x", "y"], layout=layout,
            source=PostgresSource(
                table="rows", timestamp_field="ts", created_timestamp_column="created", deleted_field="gone"
            ),
        )  # fmt: skip
        self.model = Model(now=datetime.now(UTC), is_feasts=layout == "feast")
        self.rows: list[Row] = []
        database(
            "CREATE TABLE rows (id text, ts timestamptz, created timestamptz DEFAULT now(), gone bool, x int, y text)"
        )

    def insert(self) -> None:
        """More rows, each with an event timestamp of its own, so that exactly one of an entity is newest."""
        first, now = len(self.rows), datetime.now(UTC)
        rows = [
            Row(
                f"e{self.chance.randrange(ENTITIES)}",
                now - timedelta(hours=self.chance.choice([0, 0, 5]), microseconds=number),
                None,
                self.chance.random() < 0.1,
                number,
                str(number),
            )
            for number in range(first, first + NEW_ROWS)
        ]
        ((created,),) = self.database(
            "WITH new AS (INSERT INTO rows (id, ts, gone, x, y) SELECT * FROM unnest(%s, %s, %s, %s, %s) "
            "RETURNING created) SELECT DISTINCT created FROM new",
            *([getattr(row, name) for row in rows] for name in ("id", "ts", "gone", "x", "y")),
        )
        self.rows += [replace(row, created=created) for row in rows]

    def run_and_kill(self, options: Mapping[str, Any]) -> bool:
        """Whether the process was killed before its run had ended."""
        share = self.chance.choice([0, 0.5, 1])
        death = self.chance.choice(
            [
                Death(seconds=self.chance.uniform(0, MOST_SECONDS)),
                Death(packet=self.chance.randrange(1, MOST_PACKETS), share=share),
                Death(packet=COMMIT, share=share),
            ]
        )
        if self.chance.random() < 0.3:
            death = Death()  # It lives, and the run is run to its end.
        process = FORKED.Process(
            target=run_until_killed, args=(self.database.uri, self.redis_url, self.view, options, death)
        )
        process.start()
        process.join()
        assert process.exitcode in {0, -signal.SIGKILL}
        return process.exitcode != 0

    def check_claims(self) -> None:
        """Every row of the source up to the watermark is online, or older than what is."""
        watermark = self.online.freshness(self.view).watermark
        if watermark is None:
            return
        claimed = newest(row for row in self.rows if row.created <= watermark)
        held = self.stamps()
        missing = [row for row in claimed if held.get(row.id, "") < to_text(row.ts)]
        assert not missing, f"up to {watermark}: {missing[:3]}"

    def stamps(self) -> dict[str, str]:
        """By entity, the event timestamp of its row, or the newest that its tombstone may have."""
        buried = names_buried(self.online, self.view)
        stamps = {row.id: to_text(row.ts) for row in newest(row for row in self.rows if row.gone) if row.id in buried}
        return stamps | {name: row["_ts"] for name, row in rows_online(self.online, self.view, ("x", "y")).items()}

    def check_end(self) -> None:
        """What is online is what the model says."""
        self.model.flush()
        self.model.push(self.rows)
        held = self.model.online
        live = {name: row.hash for name, row in held.items() if row.fields is not None}
        assert rows_online(self.online, self.view, ("x", "y")) == live
        assert names_buried(self.online, self.view) == {name for name, row in held.items() if row.fields is None}


@pytest.mark.layouts(*KILLS)
def test_a_run_killed_anywhere_claims_nothing_that_is_not_online(
    database: Database, redis_url: str, project: str, layout: str
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    killing = Killing(database, redis_url, project, layout, seed)
    kills = runs = 0
    while kills < KILLS[layout]:
        options = RUNS[killing.chance.choice(list(RUNS))]
        killing.insert()
        while killing.run_and_kill(options):
            kills += 1
            killing.check_claims()
        runs += 1
        killing.check_claims()
        killing.check_end()
    print(f"{kills} kills, {runs} runs to the end")
