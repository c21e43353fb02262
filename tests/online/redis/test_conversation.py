from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from online_features.online.redis.conversation import Conversation, together


def counting(name: str, *sizes: int) -> Conversation[list[Any]]:
    """Asks as many things per turn as it is told to, and returns all replies."""
    heard: list[Any] = []
    for turn, size in enumerate(sizes):
        heard += yield [(name, str(turn), str(i)) for i in range(size)]
    return heard


def held(conversation: Conversation[Any]) -> tuple[Any, list[Sequence[Any]]]:
    """What an echo makes it return, and the turns that it took."""
    turns: list[Sequence[Any]] = []
    replies: Any = None
    while True:
        try:
            replies = conversation.send(replies)
        except StopIteration as end:
            return end.value, turns
        turns.append(replies)


def test_turns_are_taken_at_once_and_replies_go_to_those_who_asked() -> None:
    results, turns = held(together([counting("a", 1, 2), counting("b", 3), counting("c"), counting("d", 0, 1, 1)]))
    assert [len(turn) for turn in turns] == [4, 3, 1]
    assert [[name for name, _, _ in result] for result in results] == [["a"] * 3, ["b"] * 3, [], ["d"] * 2]
    assert results[0] == [("a", "0", "0"), ("a", "1", "0"), ("a", "1", "1")]


def test_no_conversation_asks_nothing() -> None:
    assert held(together([])) == ([], [])


def test_a_failure_of_one_ends_all() -> None:
    def failing() -> Conversation[list[Any]]:
        yield [("x",)]
        raise LookupError("what was read")

    with pytest.raises(LookupError, match="what was read"):
        held(together([counting("a", 1, 1), failing()]))
