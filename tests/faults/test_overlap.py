"""Runs and pushes that overlap, in processes of their own, end as if they had come one after the other."""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize
from online_features.layouts import keyspace

from tests.support.model import Model, Row
from tests.support.online import published
from tests.support.servers.databases import Database

pytestmark = pytest.mark.faults

ENTITIES = 500
ROWS_EACH = 8
ERASED = 50
PROCESSES = 8
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = PostgresSource(
    table="rows", timestamp_field="ts", created_timestamp_column="created", deleted_field="gone"
)  # fmt: skip

# Forked from one that has imported everything, so that all of them begin at once.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.faults.test_overlap", "online_features.online.write.online_run"])


def view_of(project: str) -> FeatureView:
    return FeatureView(name="view", project=project, entities=["id"], features=["x", "y"], source=SOURCE, layout="hash")


def random_row(random: random.Random, number: int) -> Row:
    ts = BEGIN + timedelta(hours=random.randrange(200))
    # Each creation is an instant of its own, so that exactly one row is newest.
    created = BEGIN + timedelta(microseconds=number)
    return Row(f"e{random.randrange(ENTITIES)}", ts, created, random.random() < 0.1, number, str(number))


def run_windows(uri: str, url: str, project: str, seed: int) -> int:
    """Overlapping windows over all of history, in random order; returns rows read."""
    starts = list(range(0, 200, 20))
    random.Random(seed).shuffle(starts)
    stores = OfflineStore(uri), OnlineStore.from_url(url)
    read = 0
    for start in starts:
        begin = BEGIN + timedelta(hours=start)
        read += materialize(
            view_of(project), *stores, start=begin, end=begin + timedelta(hours=30), batch_rows=100
        ).rows_read  # fmt: skip
    return read


def run_in_full(uri: str, url: str, project: str) -> int:
    stores = OfflineStore(uri), OnlineStore.from_url(url)
    return sum(materialize(view_of(project), *stores, full=True, batch_rows=50).rows_read for _ in range(3))


def run_incrementally(uri: str, url: str, project: str) -> int:
    """Runs that read everything, whoever has moved the cursor before them."""
    stores = OfflineStore(uri), OnlineStore.from_url(url)
    back = datetime.now(UTC) - BEGIN + timedelta(days=1)
    return sum(materialize(view_of(project), *stores, batch_rows=50, lookback=back).rows_read for _ in range(5))


def erase(url: str, project: str, names: list[str]) -> int:
    """Erase entities one after the other, whether they are online yet or not; returns how many."""
    online = OnlineStore.from_url(url)
    for name in names:
        online.delete(view_of(project), [{"id": name}])
    return len(names)


def push(url: str, project: str, rows: list[dict[str, Any]]) -> int:
    online = OnlineStore.from_url(url)
    return sum(online.push(view_of(project), rows[i : i + 7]).rows_read for i in range(0, len(rows), 7))


@pytest.mark.parametrize("seed", [1, 2])
def test_overlapping_runs_and_pushes_end_as_the_model_says(
    database: Database, redis_url: str, client: redis.Redis, project: str, seed: int
) -> None:
    chance = random.Random(seed)
    stored = [random_row(chance, number) for number in range(ENTITIES * ROWS_EACH)]
    pushed = [random_row(chance, len(stored) + number) for number in range(2 * ENTITIES)]
    database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz, gone bool, x int, y text)")
    database(
        "INSERT INTO rows SELECT * FROM unnest(%s, %s, %s, %s, %s, %s)",
        *([getattr(row, name) for row in stored] for name in ("id", "ts", "created", "gone", "x", "y")),
    )
    to_push = [
        {name: getattr(row, name) for name in ("id", "ts", "created", "gone", "x", "y")} for row in pushed
    ]  # fmt: skip
    erased = [f"e{number}" for number in chance.sample(range(ENTITIES), ERASED)]
    with ProcessPoolExecutor(PROCESSES, mp_context=FORKED) as processes:
        jobs = [
            processes.submit(run_windows, database.uri, redis_url, project, seed),
            processes.submit(run_windows, database.uri, redis_url, project, seed + 100),
            processes.submit(push, redis_url, project, to_push[::2]),
            processes.submit(push, redis_url, project, to_push[1::2]),
            processes.submit(run_in_full, database.uri, redis_url, project),
            processes.submit(run_incrementally, database.uri, redis_url, project),
            processes.submit(run_incrementally, database.uri, redis_url, project),
        ]
        erasure = processes.submit(erase, redis_url, project, erased)
        assert all(job.result(timeout=120) > ENTITIES / 2 for job in jobs)
        assert erasure.result(timeout=120) == ERASED

    model = Model(now=datetime.now(UTC))
    model.push([*stored, *pushed])
    # Every row is older than the erasure of its entity, whichever of them came first.
    model.delete(erased)
    view = view_of(project)
    generation = published(client, view)
    found = {
        keyspace.entity_values(view, generation, key)[0]: client.hgetall(key)
        for key in client.scan_iter(f"{keyspace.entity_prefix(view, generation)}*", count=1000)
    }
    live = {name: fields for name, fields in found.items() if keyspace.GONE_FIELD not in fields}
    assert {fields.pop(keyspace.PUSHED_FIELD, None) for fields in live.values()} == {None, "1"}
    assert live == {name: held.hash for name, held in model.online.items() if held.fields is not None}
    assert len(found) - len(live) == sum(held.fields is None for held in model.online.values()) > ERASED
