"""A Redis that does not know a command, because it was renamed or a proxy leaves it out."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.embedded import HOST, _running, reserved_port
from online_features.errors import OnlineAccessError
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
from online_features.online.redis.servers import server

from demo.workplace import workplace
from tests.conftest import at
from tests.support.leases import shorten_leases
from tests.support.servers.databases import Database
from tests.support.servers.programs import redis_program
from tests.support.servers.redis_servers import OPTIONS

pytestmark = [pytest.mark.faults, pytest.mark.servers]

MakeView = Callable[..., FeatureView]

SERVERS_AT_ONCE = 4

# That a run does without. Scripts that are needed call some of them, too: then the run is refused.
WANTED = {"info", "memory", "lrange", "client", "persist", "script", "setnx"}
# Of the tests, and of a server's own.
NOT_OURS = {"flushall", "config", "command", "role", "select", "ping"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with workplace("unknown_commands") as folder:
        yield folder


@contextmanager
def server_without(folder: Path, command: str) -> Iterator[redis.Redis]:
    """A client of a server that does not know a command."""
    with reserved_port() as port:
        options = [*OPTIONS, *(("--rename-command", command, "") if command else ())]
        words: list[str | Path] = [
            redis_program(),
            "--bind",
            HOST,
            "--port",
            str(port),
            "--dir",
            folder,
            *options,
        ]

        def ready() -> None:
            try:
                socket.create_connection((HOST, port)).close()
            except OSError as error:
                raise redis.ConnectionError from error

        with (
            _running(words, folder / f"{uuid.uuid4().hex}.log", ready=ready),
            redis.Redis(host=HOST, port=port) as client,
        ):
            yield client


def acts(online: OnlineStore, offline: OfflineStore, view: FeatureView, other: FeatureView) -> dict[str, Any]:
    """Everything that a store is used for, by name."""
    entity = [{"id": "a"}]
    return {
        "push": lambda: online.push(view, [{"id": "b", "ts": at(1), "x": 1}], retry_for=timedelta(0)),
        "materialize": lambda: materialize(view, offline, online, retry_for=timedelta(0)),
        "prune": lambda: materialize(view, offline, online, full=True, prune=True, retry_for=timedelta(0)),
        "erase": lambda: online.delete(view, entity),
        "write over tombstones": lambda: materialize(view, offline, online, full=True, retry_for=timedelta(0)),
        "read": lambda: online.get_online_features(view, entity),
        "vectors": lambda: online.get_feature_vectors([view], entity),
        "freshness": lambda: online.freshness(view),
        "runs": lambda: online.runs(view),
        "state": lambda: online.state(view),
        "sample": lambda: online.check(EntityFreshnessCheck(view=view, sample=1)),
        "redefine": lambda: materialize(other, offline, online, retry_for=timedelta(0)),
    }  # fmt: skip


@pytest.mark.layouts
def test_a_command_that_the_server_does_not_know_is_done_without_or_named(
    folder: Path, database: Database, offline: OfflineStore, make_view: MakeView, monkeypatch: pytest.MonkeyPatch,
    layout: str,
) -> None:  # fmt: skip
    shorten_leases(1, monkeypatch.setattr)  # the command that releases them may be missing
    database("CREATE TABLE rows AS SELECT i::text AS id, now() AS ts, 1 AS x FROM generate_series(1, 20) i")
    view = make_view(ttl=timedelta(days=1)) if layout != "feast" else make_view()
    other = replace(view, layout="json" if layout != "json" else "hash")
    with server_without(folder, "") as client:
        for act in acts(OnlineStore(client), offline, view, other).values():
            act()
        called = {name.removeprefix("cmdstat_").partition("|")[0] for name in client.info("commandstats")}
    ours = called - NOT_OURS
    assert {"evalsha", "eval", "script", "hmget", "sadd", "scan", "info"} <= ours

    def act_without(command: str) -> None:
        with server_without(folder, command) as client:
            named = 0
            for name, act in acts(OnlineStore(client), offline, view, other).items():
                try:
                    act()
                except OnlineAccessError as error:
                    assert re.search(rf"\({command}\)|['`]{command}['`]", str(error), re.IGNORECASE), (command, name)
                    assert "the server does not know this command" in str(error), (command, name)
                    named += 1
            # Who asks for the history needs LRANGE; a run does not.
            assert (named == (command == "lrange")) == (command in WANTED), (command, named)

    with ThreadPoolExecutor(SERVERS_AT_ONCE) as pool:  # most of the time is waited for servers
        list(pool.map(act_without, sorted(ours)))


@pytest.mark.parametrize("told", [{}, {"redis_version": "7.0"}, {"run_id": "a"}, {"evicted_keys": "n/a"}])
def test_info_may_leave_anything_out(told: dict[str, Any]) -> None:
    found = server(told, "connection 1")
    assert found.identity == ("a:None" if "run_id" in told else "connection 1")
    assert (found.policy, found.evicted) == ("", None)
