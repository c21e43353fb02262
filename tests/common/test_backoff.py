from __future__ import annotations

import pytest
from online_features.common.backoff import Backoff


def test_delays_double_up_to_a_bound_and_are_spread() -> None:
    backoff = Backoff(base=5, longest=60)
    assert [backoff.delay(attempt, 0) for attempt in range(5)] == [5, 10, 20, 40, 60]
    assert backoff.delay(10**6, 0) == 60
    assert backoff.delay(0, 0.5) == pytest.approx(4.5)


def test_a_bound_that_is_the_base_keeps_delays_even() -> None:
    assert {Backoff(base=30, longest=30).delay(attempt, 0) for attempt in range(9)} == {30}
