"""What a thousand deferred sensors cost an event loop and Redis: ``python -m benchmarks.parts.triggers``.

The triggers run in one event loop, each in a task with a portal of greenback, as in Airflow's triggerer. For
comparison, each trigger then asks Redis by itself, on one client.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import greenback
import redis
import redis.asyncio
import structlog
from online_features import AsyncOnlineStore, FeatureView, OnlineStore, PostgresSource, ViewFreshnessCheck
from online_features.embedded import redis_server
from online_features_provider.triggers import check_json
from online_features_provider.triggers.freshness import FreshnessTrigger

TRIGGERS = 1000
INTERVALS = (60.0, 10.0)  # seconds between the looks of a trigger
WARM_UP_SECONDS = 10.0  # until all have looked once
MEASURED_SECONDS = 60.0
BOUND = timedelta(hours=1)


@dataclass(frozen=True)
class Cost:
    """Cost per second, while all triggers wait.

    :param cpu: share of a core that the process of the event loop uses.
    :param memory: peak memory of that process, in megabytes.
    :param stall: the longest time for which the loop was blocked, in seconds.
    """

    cpu: float
    redis_cpu: float
    commands: float
    packets: float
    connections: int
    memory: float
    stall: float


def main() -> None:
    """Measure and print a table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        os.environ["AIRFLOW_CONN_ONLINE_STORE"] = url
        views = [view_of(i) for i in range(TRIGGERS)]
        make_stale(url, views)
        print(
            f"{TRIGGERS:,} triggers  % of a core  Redis: % of a core  commands/s  reads/s  connections  longest stall"
        )
        for interval in INTERVALS:
            for name, wait in (("gathered", _as_trigger), ("each alone", _alone)):
                cost = asyncio.run(_measure(url, views, interval, wait))
                print(
                    f"{interval:.0f} s, {name:<12} {cost.cpu:8.1%} {cost.redis_cpu:15.2%} {cost.commands:14.1f} "
                    f"{cost.packets:10.1f} {cost.connections:8} {cost.stall * 1000:14.0f} ms  {cost.memory:.0f} MB"
                )


async def _measure(
    url: str, views: Sequence[FeatureView], interval: float, wait: Callable[[FeatureView, float], Awaitable[None]]
) -> Cost:
    async def in_a_task(view: FeatureView) -> None:
        await greenback.ensure_portal()
        await wait(view, interval)

    with redis.Redis.from_url(url) as client:
        connected = client.info()["connected_clients"]
    tasks = [asyncio.create_task(in_a_task(view)) for view in views]
    await asyncio.sleep(WARM_UP_SECONDS)
    with redis.Redis.from_url(url) as client:
        before, cpu, began = client.info(), time.process_time(), time.monotonic()
        stall = await _longest_stall(MEASURED_SECONDS)
        after, seconds = client.info(), time.monotonic() - began
    cpu = time.process_time() - cpu
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await _store_of(asyncio.get_running_loop()).aclose()

    def rate(*names: str) -> float:
        return float(sum(after[name] - before[name] for name in names)) / seconds

    return Cost(
        cpu=cpu / seconds,
        redis_cpu=rate("used_cpu_user", "used_cpu_sys"),
        commands=rate("total_commands_processed"),
        packets=rate("total_reads_processed"),
        connections=after["connected_clients"] - connected,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        stall=stall,
    )


async def _as_trigger(view: FeatureView, interval: float) -> None:
    async for fired in trigger_of(view, interval).run():
        raise AssertionError(fired)


async def _alone(view: FeatureView, interval: float) -> None:
    store = _store_of(asyncio.get_running_loop())
    while True:
        finding = await store.check(_check(view))
        assert not finding.is_fresh
        await asyncio.sleep(interval * (1 - 0.2 * random.random()))


@cache
def _store_of(loop: asyncio.AbstractEventLoop) -> AsyncOnlineStore:  # noqa: ARG001
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        os.environ["AIRFLOW_CONN_ONLINE_STORE"], max_connections=10, timeout=None
    )
    return AsyncOnlineStore(redis.asyncio.Redis.from_pool(pool))


async def _longest_stall(seconds: float) -> float:
    longest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.monotonic()
        await asyncio.sleep(0.02)
        longest = max(longest, time.monotonic() - before - 0.02)
    return longest


def trigger_of(view: FeatureView, interval: float) -> FreshnessTrigger:
    """Return a trigger that waits longer than the measurement takes."""
    return FreshnessTrigger(
        check=check_json.dump(_check(view)),
        redis_conn_id="online_store",
        poke_interval=interval,
        longest_interval=interval,
        deadline=(datetime.now(UTC) + timedelta(days=1)).isoformat(),
        fail_fast=True,
    )


def _check(view: FeatureView) -> ViewFreshnessCheck:
    return ViewFreshnessCheck(view=view, max_staleness=BOUND, measure="event_timestamp")


def view_of(number: int) -> FeatureView:
    """Return one of the watched views."""
    source = PostgresSource(table="rows", timestamp_field="ts")
    return FeatureView(name=f"view_{number}", project="watched", entities=["id"], features=["x"], source=source)


def make_stale(url: str, views: Sequence[FeatureView]) -> None:
    """Push a row that is too old to each view."""
    with redis.Redis.from_url(url) as client:
        store = OnlineStore(client)
        for view in views:
            store.push(view, [{"id": 1, "ts": datetime.now(UTC) - 2 * BOUND, "x": 1}])


if __name__ == "__main__":
    main()
