"""The trigger in an event loop, as the triggerer runs it: beside others, through outages, until its time is up."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from online_features import AsyncOnlineStore, FeatureView, OnlineStore
from online_features.common.instants import to_text
from online_features.embedded import HOST, reserved_port
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
from online_features.online.read.view_freshness_check import ViewFreshnessCheck
from online_features_provider.triggers import _shared_store as shared_store
from online_features_provider.triggers import check_json
from online_features_provider.triggers.freshness import FreshnessTrigger

from tests.support.servers.programs import redis_program

MakeView = Callable[..., FeatureView]

MINUTE = timedelta(minutes=1)
A_LOOK = 3.0  # seconds in which a trigger looks at least once, on a machine that is busy


@pytest.fixture(autouse=True)
def connection(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", redis_url)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_store, "GATHERING_SECONDS", 0.05)
    monkeypatch.setattr("online_features_provider.triggers.freshness.SHORTEST_DELAY", 0.1)
    monkeypatch.setattr("online_features_provider.triggers.freshness.SHORTEST_WAIT", 0.3)


@pytest.fixture
def view(make_view: MakeView, online: OnlineStore) -> FeatureView:
    view = make_view()
    push(online, view, age=10 * MINUTE)
    return view


def push(online: OnlineStore, view: FeatureView, name: str = "a", age: timedelta = timedelta(0)) -> None:
    online.push(view, [{"id": name, "ts": datetime.now(UTC) - age, "x": 1}])


def waiting(view: FeatureView, seconds: float = 30, check: Any = None, **changed: Any) -> FreshnessTrigger:
    """A trigger as the triggerer has it: made again from what was serialized."""
    check = check or ViewFreshnessCheck(view=view, max_staleness=MINUTE, measure="event_timestamp")
    arguments = {
        "check": check_json.dump(check),
        "redis_conn_id": "online_store",
        "poke_interval": 0.1,
        "longest_interval": 0.1,
        "deadline": to_text(datetime.now(UTC) + timedelta(seconds=seconds)),
        "fail_fast": True,
        **changed,
    }
    _, serialized = FreshnessTrigger(**arguments).serialize()
    return FreshnessTrigger(**serialized)


async def event(trigger: FreshnessTrigger) -> dict[str, Any]:
    (fired,) = [fired.payload async for fired in trigger.run()]
    return dict(fired)


async def looked(*triggers: FreshnessTrigger) -> None:
    """Wait until each has seen something that it goes on waiting for."""
    async with asyncio.timeout(30):
        while any(trigger._last_message == "no check has succeeded" for trigger in triggers):
            await asyncio.sleep(0.05)


def fired(*triggers: FreshnessTrigger) -> list[dict[str, Any]]:
    async def gather() -> list[dict[str, Any]]:
        return await asyncio.gather(*map(event, triggers))

    return asyncio.run(gather())


def test_it_fires_when_a_push_makes_the_view_fresh(view: FeatureView, online: OnlineStore) -> None:
    async def push_meanwhile() -> dict[str, Any]:
        trigger = waiting(view)
        task = asyncio.create_task(event(trigger))
        await looked(trigger)
        assert not task.done()
        push(online, view)
        return await task

    told = asyncio.run(push_meanwhile())
    assert told["outcome"] == "fresh"
    assert 0 <= told["measured"]["event_lag_seconds"] < 60


def test_it_waits_for_entities(view: FeatureView, online: OnlineStore) -> None:
    check = EntityFreshnessCheck(view=view, entities=[{"id": "a"}, {"id": "b"}], max_staleness=MINUTE)
    (told,) = fired(waiting(view, A_LOOK, check=check))
    assert told["outcome"] == "timeout"
    assert "1 stale: {'id': 'a'} (0:10:0" in told["message"]
    push(online, view, "a")
    push(online, view, "b")
    assert fired(waiting(view, check=check))[0]["outcome"] == "fresh"


def test_it_gives_up_in_time_and_says_what_it_saw(view: FeatureView) -> None:
    began = time.monotonic()
    (told,) = fired(waiting(view, seconds=A_LOOK))
    assert A_LOOK <= time.monotonic() - began < A_LOOK + 5
    assert told["outcome"] == "timeout"
    assert "lags 0:10:0" in told["message"]


def test_it_gives_up_in_time_though_its_cancellation_is_swallowed(
    view: FeatureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = AsyncOnlineStore.check
    waits = [3600.0]

    async def swallow(store: AsyncOnlineStore, check: EntityFreshnessCheck) -> Any:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(waits.pop() if waits else 0)
        return await find(store, check)

    monkeypatch.setattr(AsyncOnlineStore, "check", swallow)
    check = EntityFreshnessCheck(view=view, entities=[{"id": "a"}], max_staleness=MINUTE)

    async def give_up() -> dict[str, Any]:
        async with asyncio.timeout(30):
            return await event(waiting(view, seconds=0.5, check=check))

    assert asyncio.run(give_up())["outcome"] == "timeout"


def test_it_gives_up_on_an_unknown_view_unless_told_to_wait(make_view: MakeView) -> None:
    unknown = make_view(name="unknown")
    failed, waited = fired(waiting(unknown), waiting(unknown, seconds=0.3, fail_fast=False))
    assert (failed["outcome"], waited["outcome"]) == ("failed", "timeout")
    assert "materialize the view" in failed["message"]


def test_a_connection_that_is_not_there_fails_with_its_name(view: FeatureView) -> None:
    (told,) = fired(waiting(view, redis_conn_id="nowhere"))
    assert told["outcome"] == "failed"
    assert "nowhere" in told["message"]


def test_what_redis_refuses_fails_at_once(
    view: FeatureView, client: redis.Redis, redis_url: str, monkeypatch: Any
) -> None:
    client.acl_setuser("watcher", enabled=True, passwords=["+secret"], commands=["+ping"], keys=["*"])
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", redis_url.replace("redis://", "redis://watcher:secret@"))
    (told,) = fired(waiting(view))
    client.acl_deluser("watcher")
    assert told["outcome"] == "failed"
    assert "grant the Redis user the command and the keys" in told["message"]
    assert "secret" not in str(told)


def test_all_triggers_of_a_connection_share_it(
    make_view: MakeView, online: OnlineStore, client: redis.Redis, redis_url: str
) -> None:
    views = [make_view(name=f"view{i}") for i in range(200)]
    for view in views:
        push(online, view, age=10 * MINUTE)

    def connections() -> dict[str, dict[str, Any]]:
        """By their numbers: those that earlier tests left behind may close at any time."""
        return {connection["id"]: connection for connection in client.client_list()}

    async def connections_while_all_wait() -> list[dict[str, Any]]:
        before = connections()
        triggers = [waiting(view) for view in views]
        tasks = [asyncio.create_task(event(trigger)) for trigger in triggers]
        await looked(*triggers)
        opened = [connection for number, connection in connections().items() if number not in before]
        for view in views:
            push(online, view)
        assert {told["outcome"] for told in await asyncio.gather(*tasks)} == {"fresh"}
        assert shared_store._stores[asyncio.get_running_loop()] == {}
        return opened

    opened = asyncio.run(connections_while_all_wait())
    assert len(opened) == 1, opened


def test_one_that_is_cancelled_leaves_the_others_alone(view: FeatureView, online: OnlineStore) -> None:
    async def cancel_some() -> list[Any]:
        tasks = [asyncio.create_task(event(waiting(view))) for _ in range(20)]
        for i, task in enumerate(tasks[::2]):
            await asyncio.sleep(0.02 * i / 10)
            task.cancel()
        push(online, view)
        return await asyncio.gather(*tasks, return_exceptions=True)

    told = asyncio.run(cancel_some())
    assert all(isinstance(end, asyncio.CancelledError) for end in told[::2])
    assert {end["outcome"] for end in told[1::2]} == {"fresh"}


@contextmanager
def redis_on(port: int, folder: Path) -> Iterator[redis.Redis]:
    command = [redis_program(), "--bind", HOST, "--port", str(port), "--dir", str(folder)]
    server = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL)
    with redis.Redis(host=HOST, port=port) as client:
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        yield client
    server.terminate()
    server.wait()


def test_it_survives_a_restart_of_redis(
    view: FeatureView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    async def restart_meanwhile(port: int) -> tuple[list[dict[str, Any]], float]:
        with redis_on(port, tmp_path) as client:
            push(OnlineStore(client), view, age=10 * MINUTE)
            check = EntityFreshnessCheck(view=view, entities=[{"id": "a"}], max_staleness=MINUTE)
            triggers = [waiting(view, seconds=60, fail_fast=False, check=asked) for asked in (None, None, check)]
            tasks = [asyncio.create_task(event(trigger)) for trigger in triggers]
            await looked(*triggers)
        await asyncio.sleep(1)
        # Beside a loop that has nothing to do: what holds up that one, too, is the machine.
        held_up, by_machine = await asyncio.gather(longest_turn(4), asyncio.to_thread(asyncio.run, longest_turn(4)))
        with redis_on(port, tmp_path) as client:
            push(OnlineStore(client), view)
            return await asyncio.gather(*tasks), held_up - by_machine

    with caplog.at_level(logging.INFO), reserved_port() as port:
        monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", f"redis://{HOST}:{port}/0")
        told, held_up = asyncio.run(restart_meanwhile(port))
    assert [end["outcome"] for end in told] == ["fresh"] * 3
    said = caplog.text + capsys.readouterr().out
    assert 1 <= said.count("(waiting for Redis)") <= 3
    assert held_up < 0.5


async def longest_turn(seconds: float) -> float:
    """How long something else has held up the loop, in so many seconds."""
    longest, now = 0.0, time.monotonic()
    end = now + seconds
    while now < end:
        before = now
        await asyncio.sleep(0.01)
        now = time.monotonic()
        longest = max(longest, now - before - 0.01)
    return longest


def test_a_redis_that_hangs_does_not_hold_up_the_time_out(view: FeatureView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_store, "REPLY_SECONDS", 0.2)
    with socket.create_server((HOST, 0)) as silent:
        monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", f"redis://{HOST}:{silent.getsockname()[1]}/0")
        (told,) = fired(waiting(view, seconds=A_LOOK))
    assert told["outcome"] == "timeout"
    assert "Redis has not replied for 0 seconds" in told["message"]


def test_a_connection_that_was_mended_is_looked_up_again(
    view: FeatureView, online: OnlineStore, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(online, view)

    async def mend() -> dict[str, Any]:
        trigger = waiting(view)
        task = asyncio.create_task(event(trigger))
        await looked(trigger)
        monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", redis_url)
        return await task

    with reserved_port() as nobodys:
        monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", f"redis://{HOST}:{nobodys}/0")
        assert asyncio.run(mend())["outcome"] == "fresh"


def test_every_look_is_a_metric(view: FeatureView, online: OnlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.common.compat.sdk import Stats

    emitted: dict[str, tuple[float, dict[str, str]]] = {}
    monkeypatch.setattr(Stats, "gauge", lambda name, value, tags: emitted.update({name: (value, tags)}))
    push(online, view)
    fired(waiting(view))
    tags = {"project": view.project, "feature_view": view.name}
    assert emitted == {
        "online_features.event_lag_seconds": (pytest.approx(30, abs=30), tags),
        "online_features.max_event_timestamp_seconds": (pytest.approx(time.time(), abs=60), tags),
    }
