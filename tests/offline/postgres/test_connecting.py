"""Attempts to connect to what never answers as Postgres does: they end by themselves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from online_features import FeatureView, OfflineStore
from online_features.embedded import HOST
from online_features.errors import OfflineStoreUnavailableError
from sqlalchemy.engine import make_url

MakeView = Callable[..., FeatureView]


@pytest.fixture
def silent() -> Iterator[str]:
    """The URI of a server that accepts and says nothing."""
    with socket.create_server((HOST, 0)) as server:
        yield f"postgresql://u@{HOST}:{server.getsockname()[1]}/db"


@pytest.fixture
def of_redis(redis_url: str) -> str:
    """A URI that leads to a Redis."""
    return f"postgresql://u@{HOST}:{make_url(redis_url).port}/db"


async def listen(uri: str) -> None:
    await anext(OfflineStore(uri)._changed_tables())


def ways(make_view: MakeView, uri: str) -> list[Callable[[], object]]:
    """By each driver."""
    by_query = make_view(source={"query": "SELECT 1 AS id, now() AS ts"})
    return [
        lambda: OfflineStore(uri).describe(make_view()),
        lambda: OfflineStore(uri).describe(by_query),
        lambda: asyncio.run(listen(uri)),
    ]


def failed(act: Callable[[], object]) -> str:
    with pytest.raises(OfflineStoreUnavailableError) as caught:
        act()
    return str(caught.value)


def test_what_never_answers_is_not_waited_for_without_end(make_view: MakeView, silent: str, of_redis: str) -> None:
    acts = [*ways(make_view, silent), *ways(make_view, of_redis)]
    with ThreadPoolExecutor(len(acts)) as threads:
        for message in threads.map(failed, acts):
            assert "timeout expired -> check host and port of the Postgres connection; " in message


@pytest.mark.parametrize("given_by", ["uri", "service", "environment"])
def test_a_limit_that_is_given_holds(
    make_view: MakeView, silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given_by: str
) -> None:
    services = tmp_path / "services"
    services.write_text("[mine]\nconnect_timeout=2\nhostaddr=127.0.0.1\n[other]\nuser=u\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    uri = {"uri": f"{silent}?connect_timeout=2", "service": f"{silent}?service=mine", "environment": silent}[given_by]
    if given_by == "environment":
        monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    monkeypatch.setattr("online_features.offline.postgres.conninfo.CONNECT_TIMEOUT", "3600")
    for act in ways(make_view, uri):
        assert "timeout expired" in failed(act)
