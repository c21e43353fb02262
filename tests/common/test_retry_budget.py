from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest
from online_features.common import retry_budget as module
from online_features.common.retry_budget import RetryBudget
from online_features.errors import OptionError

pytestmark = pytest.mark.oldest


class AwayError(Exception):
    pass


class Clock:
    """Time that passes in pauses only, however slow the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


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
        assert RetryBudget(timedelta(seconds=10)).attempt(failing(2), is_away) == 3
    assert "Attempt 1 failed: call 1" in caplog.text
    assert "Attempt 2 failed: call 2" in caplog.text


def test_what_does_not_pass_is_raised_at_once(clock: Clock) -> None:
    with pytest.raises(AwayError, match="call 1"):
        RetryBudget(timedelta(minutes=1)).attempt(failing(2), lambda _: False)
    assert clock.now == 0


def test_none_gives_up_at_once() -> None:
    with pytest.raises(AwayError, match="call 1"):
        RetryBudget(timedelta(0)).attempt(failing(1), is_away)


def test_all_attempts_share_the_pauses(clock: Clock) -> None:
    retry_budget = RetryBudget(timedelta(seconds=0.5))
    for _ in range(2):
        with pytest.raises(AwayError):
            retry_budget.attempt(failing(1_000_000), is_away)
    assert clock.now == pytest.approx(0.5)
    with pytest.raises(AwayError, match="call 1"):
        retry_budget.attempt(failing(1), is_away)


def test_attempts_that_are_part_of_another_share_them_too(clock: Clock) -> None:
    retry_budget = RetryBudget(timedelta(seconds=0.5))
    with pytest.raises(AwayError):
        retry_budget.attempt(lambda: retry_budget.attempt(failing(1_000_000), is_away), is_away)
    assert clock.now == pytest.approx(0.5)


def test_what_is_done_between_two_failures_does_not_count_for_its_parts(clock: Clock) -> None:
    retry_budget = RetryBudget(timedelta(seconds=0.5))
    first = failing(1)

    def do() -> int:
        first()
        clock.sleep(0.6)
        return retry_budget.attempt(failing(1), is_away)

    assert retry_budget.attempt(do, is_away) == 2


def test_a_negative_patience_is_none() -> None:
    with pytest.raises(OptionError, match="must be a timedelta, and not negative; zero gives up at once"):
        RetryBudget(timedelta(seconds=-1))


def test_what_another_process_has_spent_counts(clock: Clock) -> None:
    budget = RetryBudget(timedelta(seconds=5))
    other = RetryBudget(budget.left)
    with pytest.raises(AwayError):
        other.attempt(failing(100), lambda _: True)
    assert (budget.left, other.left) == (timedelta(seconds=5), timedelta(0))
    budget.lower(other.left)
    with pytest.raises(AwayError):
        budget.attempt(failing(1), lambda _: True)
    budget.lower(timedelta(seconds=9))
    assert budget.left == timedelta(0)
