"""Reading as a conversation with Redis: what is asked and what follows from the replies, apart from the asking.

A conversation is a generator: it yields the commands of one round trip, is sent their replies, and returns what was
wanted. :func:`hold` holds it on a client, :func:`hold_async` on an asyncio client; no other code differs between the
two.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeAlias, TypeVar

import redis
import redis.asyncio

Result = TypeVar("Result")
Command: TypeAlias = tuple[str | bytes, ...]
# A reply may be a redis.ResponseError: whether it matters is for the conversation to say.
Conversation: TypeAlias = Generator[Sequence[Command], Sequence[Any], Result]


def hold(client: redis.Redis, conversation: Conversation[Result]) -> Result:
    """What the conversation returns, one round trip per turn."""
    replies: Any = None
    while True:
        try:
            commands = conversation.send(replies)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        with client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            replies = pipeline.execute(raise_on_error=False)


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
        async with client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            replies = await pipeline.execute(raise_on_error=False)


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
