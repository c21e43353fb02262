"""The watermark moves forward only, over covered ground only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import OnlineDataError, OvertakenError
from online_features.materialization.reporting.progress import Progress
from online_features.online.read.view_freshness_check import ViewFreshnessCheck

from tests.conftest import at
from tests.support.online import state_key
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]


@pytest.fixture
def view(database: Database, make_view: MakeView) -> FeatureView:
    database("CREATE TABLE rows AS SELECT 'a' AS id, '2026-01-01 01:00Z'::timestamptz AS ts, 1 AS x")
    return make_view()


@pytest.mark.parametrize(
    "windows, watermark",
    [
        ([(1, 2)], 2),
        ([(1, 2), (2, 3)], 3),
        ([(1, 2), (3, 4)], 2),
        ([(1, 2), (3, 4), (2, 3)], 4),
        ([(1, 2), (4, 5), (3, 4), (2, 3)], 5),
        ([(3, 4), (1, 2)], 2),
        ([(3, 4), (1, 4)], 4),
        ([(1, 5), (2, 3)], 5),
    ],
)
def test_windows_move_the_watermark_when_they_join_on(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, windows: list[tuple[int, int]], watermark: int
) -> None:
    for start, end in windows:
        result = materialize(view, offline, online, start=at(start), end=at(end))
    assert result.watermark == online.freshness(view).watermark == at(watermark)


@pytest.mark.parametrize(
    "windows, gaps",
    [
        ([], ()),
        ([(1, 2), (2, 3)], ()),
        ([(1, 2), (3, 4)], ((2, 3),)),
        ([(1, 2), (5, 6), (3, 4)], ((2, 3), (4, 5))),
        ([(1, 2), (4, 5), (3, 4)], ((2, 3),)),
        ([(1, 2), (3, 6), (4, 5), (7, 8)], ((2, 3), (6, 7))),
        ([(1, 2), (3, 4), (2, 3)], ()),
        ([(3, 4), (6, 7)], ((None, 3), (4, 6))),
        ([(1, 2), (3, 4), (4, 5), (3, 5), (5, 6)], ((2, 3),)),
    ],
)
def test_a_window_that_is_missing_is_seen(
    view: FeatureView,
    offline: OfflineStore,
    online: OnlineStore,
    windows: list[tuple[int, int]],
    gaps: tuple[tuple[int | None, int], ...],
) -> None:
    for start, end in windows:
        materialize(view, offline, online, start=at(start), end=at(end))
    expected = tuple((None if start is None else at(start), at(end)) for start, end in gaps)
    assert online.freshness(view).gaps == online.state(view).gaps == expected
    assert len(online.state(view).pending) == len(expected), "windows without a gap between them are joined"
    if windows and not expected:
        materialize(view, offline, online, start=at(9), end=at(10))
        materialize(view, offline, online)
        assert online.freshness(view).gaps == ()


def test_a_check_and_the_summary_of_a_view_name_what_is_missing(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    view = replace(view, max_staleness=timedelta(hours=1))
    for start in (1, 3, 5, 7, 9):
        materialize(view, offline, online, start=at(start), end=at(start + 1))
    missing = "not materialized, while later windows are: [2026-01-01T02:00:00.000000Z, 2026-01-01T03:00:00.000000Z), "
    found = online.check(ViewFreshnessCheck(view=view))
    assert missing in found.message
    assert found.message.endswith(" and 1 more -> materialize these windows")
    assert missing in online.summary(str(view)).reason


def test_a_window_into_the_future_claims_nothing_beyond_now(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    now = datetime.now(at(0).tzinfo)
    assert materialize(view, offline, online, start=now + timedelta(days=1)).watermark is None
    result = materialize(view, offline, online, start=at(0), end=now + timedelta(days=1))
    assert result.watermark is not None
    assert now <= result.watermark < now + timedelta(minutes=5)


def test_windows_do_not_hide_history_from_the_next_increment(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    materialize(view, offline, online, start=at(2), end=at(3))
    assert materialize(view, offline, online).rows_written == 1
    assert [run["kind"] for run in online.runs(view)] == ["full", "window"]


def test_a_first_window_claims_nothing_where_there_is_history_before_it(
    database: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    assert materialize(view, offline, online, start=at(2), end=at(3)).watermark is None
    fresh = online.freshness(view)
    assert fresh.is_materialized
    assert fresh.lag is None
    assert materialize(view, offline, online, start=at(0), end=at(1, 30)).watermark == at(1, 30)
    assert materialize(view, offline, online, start=at(1, 30), end=at(2)).watermark == at(3)


def test_a_run_that_another_definition_has_overtaken_claims_nothing(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    view = replace(view, layout="feast")  # others build generations side by side
    materialize(view, offline, online)
    new = replace(view, ttl=timedelta(days=30_000))

    def old_definition_runs_meanwhile(_: Progress) -> None:
        materialize(replace(view, ttl=timedelta(days=20_000)), offline, online)

    with pytest.raises(OvertakenError, match="give the view one definition"):
        materialize(new, offline, online, on_progress=old_definition_runs_meanwhile)
    assert online.runs(view)[0]["outcome"] == "OvertakenError"
    materialize(new, offline, online)
    assert online.runs(view)[0]["kind"] == "full"


def test_freshness_is_measured_against_the_instant_given(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    materialize(view, offline, online, start=at(0), end=at(2))
    fresh = online.freshness(view, now=at(5))
    assert (fresh.watermark, fresh.lag, fresh.event_lag) == (at(2), timedelta(hours=3), timedelta(hours=4))


@pytest.mark.parametrize("field, value", [("watermark", "yesterday"), ("pending", '["ab"]'), ("pending", "5")])
def test_a_damaged_state_is_named(
    view: FeatureView, online: OnlineStore, client: redis.Redis, field: str, value: str
) -> None:
    client.hset(state_key(client, view), field, value)
    with pytest.raises(OnlineDataError, match="is damaged .* delete it and materialize with full=True"):
        online.freshness(view)
