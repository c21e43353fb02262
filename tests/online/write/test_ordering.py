"""Newest wins by (event timestamp, created timestamp): in SQL, within a batch, and in the script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import permutations
from typing import Any

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize

from tests.conftest import at
from tests.support.layouts import LAYOUTS_OF_EVERY_TYPE
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.layouts, pytest.mark.servers]

MakeView = Callable[..., FeatureView]

# Rows as (event timestamp, created timestamp, x); each newer than the one before it.
OLD_TO_NEW: list[tuple[datetime, datetime | None, int]] = [
    (at(1), at(9), 1),
    (at(2), None, 2),
    (at(2), at(1), 3),
    (at(2), at(2), 4),
    (at(3), None, 5),
]


# The same where a row that is online has no created timestamp.
BY_EVENT = [(at(hour), created, x) for hour, (_, created, x) in enumerate(OLD_TO_NEW, 1)]


@pytest.fixture
def view(database: Database, make_view: MakeView) -> FeatureView:
    database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz, x int)")
    return make_view(source={"created_timestamp_column": "created"}, features=["x"])


def row(ts: datetime, created: datetime | None, x: int) -> dict[str, Any]:
    return {"id": "a", "ts": ts, "created": created, "x": x}


def online_x(online: OnlineStore, view: FeatureView) -> Any:
    (found,) = online.get_online_features(view, [{"id": "a"}])
    return found.values["x"]


@pytest.mark.parametrize("order", list(permutations(range(len(OLD_TO_NEW)), 3)))
def test_postgres_and_the_script_agree_on_the_newest(
    database: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, order: tuple[int, ...]
) -> None:
    old_to_new = BY_EVENT if view.layout == "feast" else OLD_TO_NEW
    rows = [old_to_new[i] for i in order]
    newest = max(order) + 1
    for ts, created, x in rows:
        database("INSERT INTO rows VALUES ('a', %s, %s, %s)", ts, created, x)
    materialize(view, offline, online, full=True)
    assert online_x(online, view) == newest
    online.delete(view, [{"id": "a"}])
    pushed = replace(view, name="pushed")
    online.push(pushed, [row(*some) for some in rows])
    assert online_x(online, pushed) == newest
    one_by_one = replace(view, name="single")
    for some in rows:
        online.push(one_by_one, [row(*some)])
    assert online_x(online, one_by_one) == newest


def test_a_push_and_a_run_respect_each_others_newer_rows(
    database: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("INSERT INTO rows VALUES ('a', %s, %s, 1)", at(2), at(2))
    assert online.push(view, [row(at(3), at(3), 2)]).rows_written == 1
    assert materialize(view, offline, online).rows_stale == 1
    assert online.push(view, [row(at(2), at(2), 3)]).rows_stale == 1
    assert online_x(online, view) == 2


def test_equal_timestamps_overwrite_so_that_a_corrected_row_can_be_pushed_again(
    view: FeatureView, online: OnlineStore
) -> None:
    for x in (1, 2):
        assert online.push(view, [row(at(1), at(1), x)]).rows_written == 1
    assert online_x(online, view) == 2


def test_a_push_without_created_timestamp_is_created_now(
    database: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("INSERT INTO rows VALUES ('a', %s, %s, 1)", at(1), at(1))
    materialize(view, offline, online)
    assert online.push(view, [{"id": "a", "ts": at(1), "x": 2}]).rows_written == 1
    assert online_x(online, view) == 2


@pytest.mark.parametrize("values", list(permutations([None, 3, 7])))
def test_ties_go_to_the_greater_values_whatever_the_order_of_insertion(
    database: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, values: tuple[int | None, ...]
) -> None:
    for x in values:
        database("INSERT INTO rows VALUES ('a', %s, %s, %s)", at(1), at(1), x)
    materialize(view, offline, online)
    assert online_x(online, view) == 7


@pytest.mark.layouts(*LAYOUTS_OF_EVERY_TYPE)
def test_ties_are_broken_in_types_that_have_no_order(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE ties (id text, ts timestamptz, p point, j json, a int[], x xid)")
    for p, j, a, x in (("(1,1)", "[1]", "{1}", "1"), ("(2,2)", "[2]", "{2}", "2"), (None, None, None, None)):
        database("INSERT INTO ties VALUES ('a', %s, %s, %s, %s, %s)", at(1), p, j, a, x)
    view = make_view(source={"table": "ties"})
    materialize(view, offline, online)
    (found,) = online.get_online_features(view, [{"id": "a"}])
    assert found.values == {"p": "(2,2)", "j": [2], "a": [2], "x": "2"}
