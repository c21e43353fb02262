"""A soak test: concurrent runs, pushes, deletes and reads on real servers, with faults.

``python -m tests.endurance.soak --minutes 30`` prints how much was done and what it took, and fails if the use of any
resource has grown.
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psutil
import psycopg2
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize
from online_features.embedded import postgres_server, redis_server
from online_features.errors import TransientError
from online_features.layouts import keyspace

from demo.workplace import unwind_on_signals, workplace
from tests.support.model import OUTCOMES, Model, Row
from tests.support.scene import check_online, mappings
from tests.support.servers.databases import Database, new_database

ENTITIES = 2000
ROWS_AT_ONCE = 20
READERS = 2
FAULTS_EVERY = 3.0  # seconds
SAMPLES_EVERY = 0.5  # seconds

APPLICATION = "soak"  # application_name in Postgres of sessions that no fault ends

# By how much the median of the last third may exceed that of the middle one. The first third is not compared: pools and
# caches fill, and the allocator grows.
MAY_GROW: Mapping[str, float] = {
    "memory (MB)": 8, "open files": 4, "threads": 4, "Postgres sessions": 4, "Redis connections": 4,
    "reserved keys": 8, "Redis memory (MB)": 1,
}  # fmt: skip


class Latencies:
    """A histogram of latencies, of constant size."""

    STEP = 50e-6  # seconds

    def __init__(self) -> None:
        self._counts = np.zeros(100_000, np.int64)

    def add(self, seconds: float) -> None:
        self._counts[min(int(seconds / self.STEP), len(self._counts) - 1)] += 1

    def __add__(self, other: Latencies) -> Latencies:
        both = Latencies()
        both._counts = self._counts + other._counts
        return both

    def quantile(self, share: float) -> float:
        """Return a quantile in milliseconds."""
        reached = np.searchsorted(np.cumsum(self._counts), share * self._counts.sum())
        return float((reached + 1) * self.STEP * 1000)


@dataclass
class Soak:
    """Concurrent work on one view, and its results.

    :param seconds: how long to work.
    """

    database: Database
    redis_url: str
    project: str
    seconds: float
    seed: int
    done: Counter[str] = field(default_factory=Counter)
    reads: Latencies = field(default_factory=Latencies)
    samples: list[Mapping[str, float]] = field(default_factory=list)
    model: Model = field(default_factory=lambda: Model(now=datetime.now(UTC)))

    def __post_init__(self) -> None:
        self.offline = OfflineStore(self.database.uri)
        self.client = redis.Redis.from_url(self.redis_url)
        self.online = OnlineStore(self.client)
        self._over = threading.Event()
        source = PostgresSource(
            table="rows", timestamp_field="ts", created_timestamp_column="created", deleted_field="gone"
        )
        self.view = FeatureView(
            name="view", project=self.project, entities=["id"], features=["x", "y"], source=source
        )  # fmt: skip

    def work(self) -> None:
        """Work for the time given.

        :raises Exception: the first failure that was not retried.
        """
        self.database(
            "CREATE TABLE rows (id text, ts timestamptz, created timestamptz DEFAULT now(), gone bool, x int, y text)"
        )
        with session(self.database.uri) as execute:
            chance = random.Random(self.seed)
            self.insert(execute, [self.random_row(chance, number) for number in range(ENTITIES)])
        materialize(self.view, self.offline, self.online)
        parts = [self.run, self.produce, self.break_things, *[self.read] * READERS]
        failures: list[BaseException] = []
        threads = [
            threading.Thread(target=self._unfailing, args=(part, random.Random(f"{self.seed} {number}"), failures))
            for number, part in enumerate(parts)
        ]
        for thread in threads:
            thread.start()
        self.sample()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        self.retried("runs", lambda: materialize(self.view, self.offline, self.online))

    def _unfailing(self, part: Callable[[random.Random], None], chance: random.Random, failures: list[Any]) -> None:
        try:
            part(chance)
        except BaseException as failure:  # noqa: BLE001 - raised in the main thread
            failures.append(failure)
            self._over.set()

    def retried(self, what: str, act: Callable[[], Any]) -> Any:
        """Return what ``act`` returns; retry it as Airflow or a producer would."""
        while True:
            try:
                result = act()
            except TransientError:
                self.done[f"{what} tried again"] += 1
            else:
                self.done[what] += 1
                return result

    def run(self, chance: random.Random) -> None:
        """Run with windows of all kinds, one after the other."""
        while not self._over.is_set():
            now = datetime.now(UTC)
            window = {"start": now - timedelta(hours=chance.randrange(2, 40)), "end": now - timedelta(hours=1)}
            options = chance.choices([{}, {"full": True}, window], [8, 1, 1])[0]
            result = self.retried(
                "runs", lambda: materialize(self.view, self.offline, self.online, batch_rows=500, **options)  # noqa: B023
            )  # fmt: skip
            self.done["rows read by runs"] += result.rows_read
            assert result.rows_read == sum(getattr(result, f"rows_{name}") for name in OUTCOMES)
            self._over.wait(0.05)

    def produce(self, chance: random.Random) -> None:
        """Insert rows into the source, push rows and erase entities, in the model, too."""
        with session(self.database.uri) as execute:
            number = ENTITIES
            while not self._over.is_set():
                rows = [self.random_row(chance, number + i) for i in range(ROWS_AT_ONCE)]
                number += len(rows)
                match chance.randrange(20):
                    case 0:
                        self.erase({row.id for row in rows[:3]})
                    case choice if choice < 8:
                        self.push(rows)
                    case _:
                        self.insert(execute, rows)
                self._over.wait(0.1)

    def random_row(self, chance: random.Random, number: int) -> Row:
        now = datetime.now(UTC)
        late = timedelta(hours=chance.choice([0, 0, 1, 10, 30]))
        name = f"e{number if number < ENTITIES else chance.randrange(ENTITIES)}"
        return Row(name, now - late, now, chance.random() < 0.05, number, str(number))

    def insert(self, execute: Callable[..., list[Any]], rows: list[Row]) -> None:
        columns = ([getattr(row, name) for row in rows] for name in ("id", "ts", "gone", "x", "y"))
        stored = execute(
            "INSERT INTO rows (id, ts, gone, x, y) SELECT * FROM unnest(%s, %s, %s, %s, %s) "
            "RETURNING id, ts, created, gone, x, y",
            *columns,
        )
        self.model.push([Row(*row) for row in stored])
        self.done["rows into the source"] += len(rows)

    def push(self, rows: list[Row]) -> None:
        self.retried("pushes", lambda: self.online.push(self.view, mappings(rows)))
        self.model.push(rows)

    def erase(self, names: set[str | None]) -> None:
        self.retried("deletes", lambda: self.online.delete(self.view, [{"id": name} for name in names]))
        self.model.now = datetime.now(UTC)
        self.model.delete(filter(None, names))

    def read(self, chance: random.Random) -> None:
        """Read random entities, and check that no row is torn, or older than one read before."""
        seen: dict[str, datetime] = {}
        while not self._over.is_set():
            asked = [{"id": f"e{chance.randrange(ENTITIES)}"} for _ in range(ROWS_AT_ONCE)]
            began = time.perf_counter()
            rows = self.retried("reads", lambda: self.online.get_online_features(self.view, asked))  # noqa: B023
            self.reads.add(time.perf_counter() - began)
            for row in rows:
                if row.status == "present":
                    assert row.values["y"] == str(row.values["x"]), row
                    name = row.entity["id"]
                    assert row.event_timestamp >= seen.get(name, row.event_timestamp), row
                    seen[name] = row.event_timestamp
            self._over.wait(0.01)

    def break_things(self, chance: random.Random) -> None:
        """Cut connections to Redis, flush its scripts, and end sessions of Postgres."""
        with redis.Redis.from_url(self.redis_url) as admin, session(self.database.uri) as execute:
            faults = {
                "Redis connections cut": lambda: admin.client_kill_filter(_type="normal", skipme=True),
                "scripts forgotten": admin.script_flush,
                "Postgres sessions ended": lambda: execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name <> %s", APPLICATION,
                ),
            }  # fmt: skip
            while not self._over.wait(FAULTS_EVERY * 2 * chance.random()):
                name = chance.choice(list(faults))
                faults[name]()
                self.done[name] += 1

    def sample(self) -> None:
        """Measure what must not grow, until the time is over."""
        process = psutil.Process()
        deadline = time.monotonic() + self.seconds
        with session(self.database.uri) as execute, redis.Redis.from_url(self.redis_url) as admin:
            while time.monotonic() < deadline and not self._over.wait(SAMPLES_EVERY):
                ((sessions,),) = execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
                info = admin.info()
                # Without tombstones: they grow with the number of erased entities, and are compared with the model.
                reserved = set(admin.scan_iter(f"{keyspace.RESERVED_PREFIX}:*{self.project}*", count=10_000))
                self.samples.append(
                    {
                        "memory (MB)": process.memory_info().rss / 1e6,
                        "open files": process.num_fds(),
                        "threads": process.num_threads(),
                        "Postgres sessions": sessions,
                        "Redis connections": info["connected_clients"],
                        "reserved keys": sum(b":gone:" not in key for key in reserved),
                        "Redis memory (MB)": info["used_memory"] / 1e6,
                    }
                )
        self._over.set()

    def growth(self) -> Mapping[str, tuple[float, float]]:
        """Return the median of each quantity in the middle third of the time, and in the last."""
        third = len(self.samples) // 3
        middle, last = self.samples[third : 2 * third], self.samples[2 * third :]
        return {
            name: (statistics.median(one[name] for one in middle), statistics.median(one[name] for one in last))
            for name in MAY_GROW
        }

    def check(self) -> None:
        """Check that rows and tombstones are those of the model, and that nothing has grown."""
        check_online(self.online, self.view, self.model)
        for name, (before, after) in self.growth().items():
            assert after <= before + MAY_GROW[name], f"{name}: from {before:.1f} to {after:.1f}"

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report."""
        for name, count in sorted(self.done.items()):
            yield f"{name:<28}{count:>12,}"
        yield f"{'reads, p50 and p99 (ms)':<28}{self.reads.quantile(0.5):>12.2f}{self.reads.quantile(0.99):>12.2f}"
        for name, (before, after) in self.growth().items():
            yield f"{name:<28}{before:>12,.1f}{after:>12,.1f}"


@contextmanager
def session(uri: str) -> Iterator[Callable[..., list[Any]]]:
    """Yield a function that executes statements, each in its own transaction, on one session that no fault ends."""
    with closing(psycopg2.connect(uri, application_name=APPLICATION)) as connection:
        connection.autocommit = True

        def execute(statement: str, *parameters: Any) -> list[Any]:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []

        yield execute


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.endurance.soak", description=__doc__)
    arguments.add_argument("--minutes", type=float, default=30)
    arguments.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    chosen = arguments.parse_args()
    unwind_on_signals()
    with (
        workplace("soak") as folder,
        postgres_server(folder) as postgres_uri,
        redis_server(folder) as redis_url,
        new_database(postgres_uri) as database,
    ):
        print(f"{chosen.minutes:g} minutes, seed {chosen.seed}", flush=True)
        soak = Soak(database, redis_url, "soak", 60 * chosen.minutes, chosen.seed)
        soak.work()
        print(*soak.lines(), sep="\n", flush=True)
        soak.check()


if __name__ == "__main__":
    main()
