"""Reading as a conversation with Redis: what is asked and what follows from the replies, apart from the asking.

A conversation is a generator: it yields the commands of one round trip, is sent their replies, and returns what was
wanted. :func:`hold` holds it on a client, :func:`hold_async` on an asyncio client; no other code differs between the
two.

A round trip is what redis-py's ``Pipeline.execute`` does without a transaction, with commands that are packed already.
A client of a cluster gets a pipeline of its own: it knows which commands go to which node.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from inspect import Parameter, signature
from typing import Any, TypeAlias, TypeVar

import redis
import redis.asyncio

from online_features.online.redis.turns import turn, turn_async
from online_features.resp.commands import Command, CommandForm, packed

Result = TypeVar("Result")
# A reply may be a redis.ResponseError: whether it matters is for the conversation to say.
Conversation: TypeAlias = Generator[Sequence[Command], Sequence[Any], Result]

# What a connection is for: redis-py before 5.3 asks, and later ones warn of an answer.
_ASKED = signature(redis.ConnectionPool.get_connection).parameters.get("command_name")
PURPOSE = ("HMGET",) if _ASKED is not None and _ASKED.default is Parameter.empty else ()


def hold(client: redis.Redis | redis.RedisCluster, conversation: Conversation[Result]) -> Result:
    """What the conversation returns, one round trip per turn."""
    replies: Any = None
    while True:
        try:
            commands = conversation.send(replies)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        with turn(client):
            if isinstance(client, redis.Redis):
                replies = _replies(client.connection_pool, commands)
            else:
                replies = _of_nodes(client, commands)


async def hold_async(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster, conversation: Conversation[Result]
) -> Result:
    """What the conversation returns, one round trip per turn."""
    replies: Any = None
    while True:
        try:
            commands = conversation.send(replies)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        async with turn_async(client):
            if isinstance(client, redis.asyncio.Redis):
                replies = await _replies_async(client.connection_pool, commands)
            else:
                replies = await _of_nodes_async(client, commands)


def _replies(pool: Any, commands: Sequence[Command]) -> list[Any]:
    packet = packed(commands)
    connection = pool.get_connection(*PURPOSE)

    def exchange() -> list[Any]:
        connection.send_packed_command([packet])
        return [_reply(connection) for _ in commands]

    try:
        replies: list[Any] = connection.retry.call_with_retry(exchange, lambda _: connection.disconnect())
    finally:
        pool.release(connection)
    return replies


async def _replies_async(pool: Any, commands: Sequence[Command]) -> list[Any]:
    packet = packed(commands)
    connection = await pool.get_connection(*PURPOSE)

    async def exchange() -> list[Any]:
        await connection.send_packed_command([packet])
        return [await _reply_async(connection) for _ in commands]

    try:
        replies: list[Any] = await connection.retry.call_with_retry(exchange, lambda _: connection.disconnect())
    finally:
        await pool.release(connection)
    return replies


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


async def _reply_async(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except redis.ResponseError as error:
        return error


def primaries(client: redis.Redis | redis.RedisCluster) -> int:
    """How many nodes have keys of their own."""
    return 1 if isinstance(client, redis.Redis) else len(_primaries(client))


async def primaries_async(client: redis.asyncio.Redis | redis.asyncio.RedisCluster) -> int:
    """How many nodes have keys of their own."""
    if isinstance(client, redis.asyncio.Redis):
        return 1
    await client.initialize()  # before, it knows of none
    return len(_primaries(client))


def _of_nodes(cluster: Any, commands: Sequence[Command]) -> list[Any]:
    with cluster.pipeline(transaction=False) as pipeline:
        for form, key in commands:
            pipeline.execute_command(*form.on(key), **_target(cluster, form))
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    return replies


async def _of_nodes_async(cluster: Any, commands: Sequence[Command]) -> list[Any]:
    await cluster.initialize()  # so that its primaries are known
    async with cluster.pipeline(transaction=False) as pipeline:
        for form, key in commands:
            pipeline.execute_command(*form.on(key), **_target(cluster, form))
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
    return replies


def _target(cluster: Any, form: CommandForm) -> dict[str, Any]:
    if form.primary is None:
        return {}
    nodes = _primaries(cluster)
    # They may have become fewer: asking one of them twice does no harm.
    return {"target_nodes": nodes[form.primary % len(nodes)]}


def _primaries(cluster: Any) -> list[Any]:
    return cluster.get_primaries()  # type: ignore[no-any-return]


def together(conversations: Sequence[Conversation[Result]]) -> Conversation[list[Result]]:
    """Several conversations at once: the turn of each is part of one round trip."""
    results: dict[int, Result] = {}
    replies: dict[int, Any] = dict.fromkeys(range(len(conversations)))
    while True:
        commands: dict[int, Sequence[Command]] = {}
        for i, reply in replies.items():
            try:
                commands[i] = conversations[i].send(reply)
            except StopIteration as end:
                results[i] = end.value
        if not commands:
            return [results[i] for i in range(len(conversations))]
        told = iter((yield [command for some in commands.values() for command in some]))
        replies = {i: [next(told) for _ in some] for i, some in commands.items()}
