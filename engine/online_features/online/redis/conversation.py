"""Reading as a conversation with Redis: what is asked and what follows from the replies, apart from the asking.

A conversation is a generator: it yields the commands of one round trip, is sent their replies, and returns its result.
:func:`hold` holds it on a deployment, :func:`hold_async` on asyncio; no other code differs between the two.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeAlias, TypeVar

from online_features.online.redis.deployment import AsyncDeployment, Deployment
from online_features.online.redis.turns import turn, turn_async
from online_features.resp.commands import Command

Result = TypeVar("Result")
# A reply may be a redis.ResponseError: whether it matters is for the conversation to decide.
Conversation: TypeAlias = Generator[Sequence[Command], Sequence[Any], Result]


def hold(deployment: Deployment, conversation: Conversation[Result]) -> Result:
    """Return what the conversation returns, in one round trip per turn."""
    replies: Any = None
    while True:
        try:
            commands = conversation.send(replies)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        with turn(deployment.client):
            replies = deployment.exchange(commands)


async def hold_async(deployment: AsyncDeployment, conversation: Conversation[Result]) -> Result:
    """Return what the conversation returns, in one round trip per turn."""
    replies: Any = None
    while True:
        try:
            commands = conversation.send(replies)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        async with turn_async(deployment.client):
            replies = await deployment.exchange(commands)


def together(conversations: Sequence[Conversation[Result]]) -> Conversation[list[Result]]:
    """Hold several conversations at once: the turn of each is part of one round trip."""
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
