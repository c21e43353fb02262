from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from online_features.common import instants
from online_features.errors import WindowError
from online_features.window import Window

from tests.conftest import at


def test_bounds_are_kept_in_utc() -> None:
    start = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert Window(start=start).start == at(0)
    assert Window(start=start).start.tzinfo is UTC  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "start, end, message",
    [
        (datetime(2026, 1, 1), None, "start=2026-01-01T00:00:00 has no time zone"),
        (None, datetime(2026, 1, 1), "end=2026-01-01T00:00:00 has no time zone"),
        (at(1), at(1), "is empty"),
        (at(2), at(1), "is empty"),
        ("2026-01-01", None, "must be a datetime"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(start: datetime, end: datetime, message: str) -> None:
    with pytest.raises(WindowError, match=message):
        Window(start=start, end=end)


moments = st.datetimes(timezones=st.just(UTC))


@given(moments, moments)
def test_texts_of_instants_order_as_the_instants_do(one: datetime, other: datetime) -> None:
    assert (instants.to_text(one) < instants.to_text(other)) == (one < other)


@given(moments)
def test_an_instant_survives_its_text(instant: datetime) -> None:
    assert instants.from_text(instants.to_text(instant)) == instant
