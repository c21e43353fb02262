"""Conversations: reads of Redis without I/O, so that the stores for threads and for asyncio share their code.

A conversation is a generator: it yields the commands of one round trip, is sent their replies, and returns its result.
:func:`hold` does the I/O with a deployment, :func:`hold_async` with one for asyncio.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeAlias, TypeVar

from online_features.online.redis.deployment import AsyncDeployment, Deployment
from online_features.online.redis.turns import turn, turn_async
from online_features.resp.commands import Command

Result = TypeVar("Result")
# A reply may be a redis.ResponseError, which the conversation handles.
Conversation: TypeAlias = Generator[Sequence[Command], Sequence[Any], Result]


def hold(deployment: Deployment, conversation: Conversation[Result]) -> Result:
    """Return what the conversation returns; each of its yields is one round trip."""
    replies: Any = None
    while True:
        try:
            commands = conversation.send(replies)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        with turn(deployment.client):
            replies = deployment.exchange(commands)


async def hold_async(deployment: AsyncDeployment, conversation: Conversation[Result]) -> Result:
    """Return what the conversation returns; each of its yields is one round trip."""
    replies: Any = None
    while True:
        try:
            commands = conversation.send(replies)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        async with turn_async(deployment.client):
            replies = await deployment.exchange(commands)


def together(conversations: Sequence[Conversation[Result]]) -> Conversation[list[Result]]:
    """Hold several conversations at once: each round trip has the next commands of all of them."""
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
        received = iter((yield [command for some in commands.values() for command in some]))
        replies = {i: [next(received) for _ in some] for i, some in commands.items()}
