"""A node of a cluster that does not answer is not taken for a damaged row."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
from online_features.online.redis._cluster import AsyncCluster, Cluster
from online_features.resp.commands import CommandForm

COMMANDS = [(CommandForm("GET"), "a"), (CommandForm("GET"), "b")]


class Client:
    """A client of redis-py whose pipeline returns these replies."""

    def __init__(self, replies: list[Any]) -> None:
        self._replies = replies

    def pipeline(self, **_: bool) -> Any:
        return self

    def execute_command(self, *_: Any) -> None: ...

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute(self, **_: bool) -> list[Any]:
        return self._replies


class AsyncClient(Client):
    async def initialize(self) -> None: ...

    def get_nodes(self) -> list[Any]:
        return []

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def execute(self, **_: bool) -> list[Any]:  # type: ignore[override]
        return self._replies


@pytest.mark.parametrize("failure", [redis.ConnectionError("gone"), redis.TimeoutError("slow")])
def test_a_node_that_does_not_answer_is_an_error(failure: redis.RedisError) -> None:
    with pytest.raises(type(failure)):
        Cluster(Client([b"row", failure])).exchange(COMMANDS)  # type: ignore[arg-type]
    with pytest.raises(type(failure)):
        asyncio.run(AsyncCluster(AsyncClient([b"row", failure])).exchange(COMMANDS))


def test_a_refusal_is_a_reply() -> None:
    replies = [b"row", redis.ResponseError("WRONGTYPE")]
    assert Cluster(Client(replies)).exchange(COMMANDS) == replies  # type: ignore[arg-type]
    assert asyncio.run(AsyncCluster(AsyncClient(replies)).exchange(COMMANDS)) == replies
