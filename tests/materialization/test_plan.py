from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from online_features.feature_view import FeatureView
from online_features.materialization.planning.plan import Plan, PlanInputs, effective_lookback, plan_run
from online_features.offline.horizon import Horizon
from online_features.online.generations.view_definition import changes_since, definition
from online_features.online.generations.view_state import ViewState
from online_features.schema import Column, Encoding, RowSchema
from online_features.window import DEFAULT_LOOKBACK, FUTURE_TOLERANCE, Arrivals, Window

from tests.conftest import at
from tests.support.views import VIEW

INSTANT = "timestamp with time zone"
SCHEMA = RowSchema(
    keys=(Column("id", "text", Encoding.TEXT),),
    event_timestamp=Column("ts", INSTANT, Encoding.INSTANT),
    created_timestamp=Column("created", INSTANT, Encoding.INSTANT),
    deleted=None,
    features=(Column("x", "integer", Encoding.INTEGER),),
)
WITHOUT_CREATED = replace(SCHEMA, created_timestamp=None)
NOTHING = ViewState(
    generation="0",
    layout=None,
    watermark=None,
    cursor=None,
    max_event_timestamp=None,
    materialized_at=None,
    definition=None,
    fingerprint=None,
    schema=None,
    schema_fingerprint=None,
    servers=None,
    source=None,
    evicted=None,
)
SOMETHING = replace(NOTHING, watermark=at(3), cursor=at(3), definition=definition(VIEW, SCHEMA))


def arrivals(*, since: datetime) -> Arrivals:
    return Arrivals(created_since=since, event_since=since, event_until=at(5) + FUTURE_TOLERANCE)


def plan(
    *, view: FeatureView = VIEW, schema: RowSchema = SCHEMA, state: ViewState = SOMETHING, asked: Window | None = None,
    horizon: Horizon | datetime = at(5), now: datetime = at(5), lookback: timedelta | None = None,
    begins_history: bool = False, is_changed: bool = False,
) -> Plan:  # fmt: skip
    if state is SOMETHING and not is_changed:
        state = replace(state, definition=definition(view, schema))
    if isinstance(horizon, datetime):
        horizon = Horizon(claim=horizon, cursor=horizon, is_blind=False)
    inputs = PlanInputs(
        view=view, schema=schema, asked=asked or Window(), full=False, horizon=horizon, now=now,
        lookback=effective_lookback(lookback, schema, horizon, ()), cursor=state.cursor, note=state.source,
        changes=changes_since(state, view, schema), data_loss_reason="",
        begins_history=begins_history,
    )  # fmt: skip
    return plan_run(inputs)


def test_the_first_run_reads_all_of_history() -> None:
    first = plan(state=NOTHING)
    assert (first.kind, first.window, first.covered, first.cursor) == ("full", Window(), (None, at(5)), at(5))
    assert "no earlier run" in first.reason


def test_the_next_run_reads_on_from_the_cursor_by_either_timestamp() -> None:
    following = plan()
    assert following.kind == "incremental"
    assert following.window == arrivals(since=at(3))
    assert following.cursor == at(5)


def test_coarse_timestamps_are_looked_back_for_by_as_much_each() -> None:
    coarse = replace(SCHEMA, created_resolution=timedelta(seconds=1), event_resolution=timedelta(hours=25))
    window = plan(schema=coarse).window
    assert isinstance(window, Arrivals)
    assert (window.created_since, window.event_since) == (at(3) - timedelta(seconds=1), at(3) - timedelta(hours=25))


def test_without_created_timestamps_the_next_run_looks_back() -> None:
    by_event = Arrivals(created_since=None, event_since=at(3), event_until=None)
    assert plan(schema=WITHOUT_CREATED).window == replace(by_event, event_since=at(3) - DEFAULT_LOOKBACK)
    assert plan(schema=WITHOUT_CREATED, lookback=timedelta(0)).window == by_event


def test_rows_of_the_future_are_rejected_only_where_the_source_says_so() -> None:
    rejecting = replace(VIEW, source=replace(VIEW.source, future_rows="reject"))
    for state, asked in ((SOMETHING, Window()), (NOTHING, Window()), (SOMETHING, Window(start=at(1), end=at(2)))):
        assert plan(view=rejecting, state=state, asked=asked).window.latest == at(5) + FUTURE_TOLERANCE
        assert plan(state=state, asked=asked).window.latest == Window().latest


def test_lookback_widens_a_run_by_created_timestamp_too() -> None:
    assert plan(lookback=timedelta(hours=2)).window.start == at(1)


@pytest.mark.parametrize("horizon, now", [(at(4), at(5)), (at(5), at(4))])
def test_a_claim_goes_neither_beyond_the_horizon_nor_into_the_future(horizon: datetime, now: datetime) -> None:
    for claim in (plan(horizon=horizon, now=now), plan(state=NOTHING, horizon=horizon, now=now)):
        assert claim.covered == (None, at(4))
        assert claim.cursor == at(4)


@pytest.mark.parametrize(
    "asked, covered",
    [
        (Window(start=at(1), end=at(2)), (at(1), at(2))),
        (Window(start=at(1), end=at(9)), (at(1), at(5))),
        (Window(start=at(1)), (at(1), at(5))),
        (Window(end=at(2)), (None, at(2))),
        (Window(start=at(8), end=at(9)), None),
    ],
)
def test_a_window_covers_no_more_than_itself_and_leaves_the_cursor(asked: Window, covered: Any) -> None:
    windowed = plan(asked=asked)
    assert (windowed.kind, windowed.window, windowed.covered, windowed.cursor) == ("window", asked, covered, None)


def test_a_first_window_with_nothing_before_it_covers_history_from_the_beginning() -> None:
    window = Window(start=at(1), end=at(2))
    assert plan(state=NOTHING, asked=window, begins_history=True).covered == (None, at(2))
    assert plan(state=NOTHING, asked=window).covered == (at(1), at(2))


def test_late_rows_that_cannot_be_seen_coming_are_looked_back_for() -> None:
    blind = Horizon(claim=at(5), cursor=at(5), is_blind=True)
    assert plan(horizon=blind).window == arrivals(since=at(3) - DEFAULT_LOOKBACK)
    assert plan(horizon=blind, lookback=timedelta(0)).window == arrivals(since=at(3))


def test_a_prepared_transaction_holds_the_cursor_where_it_is() -> None:
    held = plan(horizon=Horizon(claim=at(4), cursor=None, is_blind=False))
    assert (held.covered, held.cursor) == ((None, at(4)), None)


CHANGES: dict[str, tuple[Any, RowSchema]] = {
    "features": (VIEW, replace(SCHEMA, features=(Column("x", "bigint", Encoding.INTEGER),))),
    "timestamps": (VIEW, WITHOUT_CREATED),
    "ttl": (replace(VIEW, ttl=timedelta(days=1)), SCHEMA),
    "source": (replace(VIEW, source=replace(VIEW.source, table="other")), SCHEMA),
    "entities": (VIEW, replace(SCHEMA, keys=(Column("id", "bigint", Encoding.INTEGER),))),
}


@pytest.mark.parametrize("asked", [Window(), Window(start=at(1), end=at(2))])
@pytest.mark.parametrize("part", CHANGES)
def test_a_changed_definition_makes_a_full_run_that_says_what_changed(asked: Window, part: str) -> None:
    view, schema = CHANGES[part]
    assert changes_since(SOMETHING, view, schema) == [part]
    changed = plan(view=view, schema=schema, is_changed=True, asked=asked)
    assert changed.kind == "full"
    assert changed.reason == f"the view has changed in {part}"
    assert changed.clears == (part == "entities")


def test_windows_alone_do_not_make_increments() -> None:
    assert plan(state=replace(SOMETHING, cursor=None)).kind == "full"


def test_the_order_of_features_is_no_change() -> None:
    columns = (Column("x", "integer", Encoding.INTEGER), Column("y", "text", Encoding.TEXT))
    stored = replace(SOMETHING, definition=definition(VIEW, replace(SCHEMA, features=columns)))
    assert changes_since(stored, VIEW, replace(SCHEMA, features=columns[::-1])) == []
