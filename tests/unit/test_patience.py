from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from online_features.errors import OptionError
from online_features.patience import NONE, Patience


class AwayError(Exception):
    pass


def failing(times: int) -> Callable[[], int]:
    """Fails so often, and then tells how often it was called."""
    calls = 0

    def do() -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise AwayError(f"call {calls}")
        return calls

    return do


def is_away(failure: BaseException) -> bool:
    return isinstance(failure, AwayError)


def test_what_passes_is_attempted_again_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Patience(timedelta(seconds=10)).attempt(failing(2), is_away) == 3
    assert "Attempt 1 failed: call 1 (again in " in caplog.text
    assert "Attempt 2 failed: call 2 (again in " in caplog.text


def test_what_does_not_pass_is_raised_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(AwayError, match="call 1"):
        Patience(timedelta(minutes=1)).attempt(failing(2), lambda _: False)
    assert time.monotonic() - began < 0.1


def test_none_gives_up_at_once() -> None:
    with pytest.raises(AwayError, match="call 1"):
        NONE.attempt(failing(1), is_away)


def test_all_attempts_share_the_pauses() -> None:
    patience = Patience(timedelta(seconds=0.5))
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(AwayError):
            patience.attempt(failing(1_000_000), is_away)
    assert 0.5 <= time.monotonic() - began < 1
    with pytest.raises(AwayError, match="call 1"):
        patience.attempt(failing(1), is_away)


def test_attempts_that_are_part_of_another_share_them_too() -> None:
    patience = Patience(timedelta(seconds=0.5))
    began = time.monotonic()
    with pytest.raises(AwayError):
        patience.attempt(lambda: patience.attempt(failing(1_000_000), is_away), is_away)
    assert 0.5 <= time.monotonic() - began < 0.9


def test_what_is_done_between_two_failures_does_not_count_for_its_parts() -> None:
    patience = Patience(timedelta(seconds=0.5))
    first = failing(1)

    def do() -> int:
        first()
        time.sleep(0.6)
        return patience.attempt(failing(1), is_away)

    assert patience.attempt(do, is_away) == 2


def test_a_negative_patience_is_none() -> None:
    with pytest.raises(OptionError, match="must be a timedelta, and not negative; zero gives up at once"):
        Patience(timedelta(seconds=-1))
