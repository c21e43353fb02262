from __future__ import annotations

from collections.abc import Iterator

import pytest
from online_features.materialization.reporting.stage_times import Stage, StageTimes


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_busiest_stage_is_the_limit_and_pauses_between_items_do_not_count() -> None:
    clock = Clock()
    stages = StageTimes(clock)

    def batches() -> Iterator[int]:
        for number in range(3):
            clock.now += 2
            yield number

    for _ in stages.each(Stage.POSTGRES, batches()):
        with stages.busy(Stage.ENCODING):
            clock.now += 0.5
        with stages.busy(Stage.REDIS):
            clock.now += 1
    assert stages.in_words(10) == "Postgres was the limit; busy: Postgres 60%, encoding 15%, Redis 30% of the time"


def test_time_up_to_an_error_counts() -> None:
    clock = Clock()
    stages = StageTimes(clock)

    def broken() -> Iterator[int]:
        clock.now += 1
        yield from {}[0]

    with pytest.raises(KeyError):
        next(stages.each(Stage.POSTGRES, broken()))
    assert stages.in_words(2) == "Postgres was the limit; busy: Postgres 50%, encoding 0%, Redis 0% of the time"
