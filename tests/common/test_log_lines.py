from __future__ import annotations

import pytest
from online_features.common.log_lines import LINE, in_two_lines, lines, say

LONG = " ".join(["word"] * 60)


@pytest.mark.parametrize(
    "message, expected",
    [
        ("all is well", ["all is well"]),
        ("it is broken -> mend it", ["it is broken", "-> mend it"]),
        ("no operator a -> b -> mend it", ["no operator a -> b", "-> mend it"]),
        ("two\n\tlines -> one", ["two lines", "-> one"]),
        ("a  table\nb  -> c\n-> mend it", ["a  table", "b  -> c", "-> mend it"]),
        ("", [""]),
        ("short; shorter", ["short; shorter"]),
        (f"{'x' * LINE}; y -> z", [f"{'x' * LINE};", "y", "-> z"]),
    ],
)
def test_what_is_wrong_and_what_to_do_are_lines_of_their_own(message: str, expected: list[str]) -> None:
    assert lines(message) == expected


@pytest.mark.parametrize(
    "message, expected",
    [
        ("all is well", "all is well"),
        ("it is broken -> mend it", "it is broken\n-> mend it"),
        ("a  table\nb  -> c\n-> mend it", "a  table\nb  -> c\n-> mend it"),
    ],
)
def test_the_cure_is_a_line_of_its_own(message: str, expected: str) -> None:
    assert in_two_lines(message) == expected


def test_a_long_message_is_several_short_lines_and_loses_nothing() -> None:
    written: list[str] = []
    say(lambda template, line: written.append(template % line), f"{LONG} 100% -> {LONG} {'x' * 200}")
    assert " ".join(written) == f"{LONG} 100% -> {LONG} {'x' * 200}"
    assert all(len(line) <= LINE for line in written[:-1])
    assert written[-1] == "x" * 200
