from __future__ import annotations

from itertools import pairwise

from online_features.common.log_throttle import FIRST_REPEAT, LONGEST_SILENCE, LogThrottle


def test_what_does_not_change_is_said_less_and_less_often() -> None:
    log_throttle = LogThrottle()
    said = [second for second in range(0, 20_000, 60) if log_throttle.is_due("stale", second)]
    gaps = [later - earlier for earlier, later in pairwise(said)]
    assert said[0] == 0
    assert gaps[:2] == [FIRST_REPEAT, 2 * FIRST_REPEAT]
    assert set(gaps[3:]) == {LONGEST_SILENCE}


def test_what_changes_is_said_at_once() -> None:
    log_throttle = LogThrottle()
    assert [log_throttle.is_due(kind, second) for second, kind in enumerate(["stale", "away", "away", "stale"])] == [
        True, True, False, True
    ]  # fmt: skip
