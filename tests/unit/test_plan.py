from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from online_features.materialization import DEFAULT_LOOKBACK, Plan, plan_run
from online_features.online.state import ViewState, fingerprint
from online_features.schema import Column, RowSchema
from online_features.window import Window

from tests.conftest import at
from tests.unit.test_feature_view import VIEW

INSTANT = "timestamp with time zone"
SCHEMA = RowSchema(
    keys=(Column("id", "text"),),
    event_timestamp=Column("ts", INSTANT),
    created_timestamp=Column("created", INSTANT),
    deleted=None,
    features=(Column("x", "integer"),),
)
WITHOUT_CREATED = replace(SCHEMA, created_timestamp=None)
NOTHING = ViewState(
    watermark=None, cursor=None, max_event_timestamp=None, materialized_at=None, fingerprint=None, schema=None
)
SOMETHING = replace(NOTHING, watermark=at(3), cursor=at(3), fingerprint=fingerprint(VIEW, SCHEMA))


def plan(
    *, schema: RowSchema = SCHEMA, state: ViewState = SOMETHING, asked: Window | None = None, full: bool = False,
    lookback: timedelta | None = None, horizon: datetime = at(5), now: datetime = at(5),
) -> Plan:  # fmt: skip
    if schema is not SCHEMA and state is SOMETHING:
        state = replace(state, fingerprint=fingerprint(VIEW, schema))
    return plan_run(
        VIEW, schema, state, asked or Window(), full=full, lookback=lookback, horizon=horizon, now=now
    )  # fmt: skip


def test_the_first_run_reads_all_of_history() -> None:
    first = plan(state=NOTHING)
    assert (first.kind, first.window, first.covered, first.cursor) == ("full", Window(), (None, at(5)), at(5))
    assert "no earlier run" in first.reason


def test_the_next_run_reads_on_from_the_cursor_by_created_timestamp() -> None:
    following = plan()
    assert following.kind == "incremental"
    assert following.window == Window(start=at(3), axis="created_timestamp")
    assert following.cursor == at(5)


def test_without_created_timestamps_the_next_run_looks_back() -> None:
    assert plan(schema=WITHOUT_CREATED).window == Window(start=at(3) - DEFAULT_LOOKBACK)
    assert plan(schema=WITHOUT_CREATED, lookback=timedelta(0)).window == Window(start=at(3))


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


@pytest.mark.parametrize("asked", [Window(), Window(start=at(1), end=at(2))])
def test_a_changed_definition_makes_a_full_run(asked: Window) -> None:
    changed = plan(asked=asked, state=replace(SOMETHING, fingerprint="other"))
    assert changed.kind == "full"
    assert "changed" in changed.reason


def test_windows_alone_do_not_make_increments() -> None:
    assert plan(state=replace(SOMETHING, cursor=None)).kind == "full"


def test_the_fingerprint_follows_the_definition_but_not_the_order_of_features() -> None:
    same = replace(SCHEMA, features=(Column("x", "integer"), Column("y", "text")))
    swapped = replace(SCHEMA, features=(Column("y", "text"), Column("x", "integer")))
    assert fingerprint(VIEW, same) == fingerprint(VIEW, swapped)
    others = [
        fingerprint(VIEW, SCHEMA),
        fingerprint(VIEW, replace(SCHEMA, features=(Column("x", "bigint"),))),
        fingerprint(VIEW, WITHOUT_CREATED),
        fingerprint(replace(VIEW, ttl=timedelta(days=1)), SCHEMA),
        fingerprint(replace(VIEW, source=replace(VIEW.source, table="other")), SCHEMA),
    ]
    assert len(set(others)) == len(others)
