"""A view's transform is applied on every way online, and what goes wrong in it is told by name."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import FeatureViewError, TransformError

from tests.conftest import at
from tests.support.online import held, held_as_pushed
from tests.support.servers.databases import Database

pytestmark = pytest.mark.layouts

MakeView = Callable[..., FeatureView]

ROW = {"id": "a", "ts": at(1), "price": 2.5, "n": 3, "tags": ["x", None], "seen": at(0)}


def in_pandas(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(total=frame.price * frame.n, tags=frame.tags.str.len(), hour=frame.seen.dt.hour)


def in_arrow(table: pa.Table) -> pa.Table:
    table = table.append_column("total", pc.multiply(table["price"], table["n"]))
    table = table.set_column(table.column_names.index("tags"), "tags", pc.list_value_length(table["tags"]))
    return table.append_column("hour", pc.hour(table["seen"]))


def loses_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return in_pandas(frame).head(1) if len(frame) else in_pandas(frame)


def reorders(frame: pd.DataFrame) -> pd.DataFrame:
    return in_pandas(frame).iloc[::-1].reset_index(drop=True)


def drops_the_key(frame: pd.DataFrame) -> pd.DataFrame:
    return in_pandas(frame).drop(columns="id")


def drops_a_feature(table: pa.Table) -> pa.Table:
    return in_arrow(table).drop_columns(["total"])


def fails_on_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return in_pandas(frame) if frame.empty else 1 / 0  # type: ignore[return-value]


def returns_something_else(frame: pd.DataFrame) -> Any:
    return 7


def has_no_type(frame: pd.DataFrame) -> pd.DataFrame:
    return in_pandas(frame).assign(total=None)


def changes_its_mind(frame: pd.DataFrame) -> pd.DataFrame:
    return in_pandas(frame).assign(hour="noon" if len(frame) else frame.seen.dt.hour)


def first_of_many(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(first=pd.array([None if many is None else many[0] for many in frame.many], "Int64"))


def at_hour(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(hour=frame.ts.dt.hour, written=frame.created.dt.hour)


@pytest.fixture
def table(database: Database) -> Database:
    database("CREATE TABLE rows (id text, ts timestamptz, price numeric, n int, tags text[], seen timestamptz)")
    return database


def view_with(make_view: MakeView, transform: Any, **changed: Any) -> FeatureView:
    return make_view(features=["total", "tags", "hour"], transform=transform, **changed)


def insert(table: Database, *names: str) -> None:
    for name in names:
        table("INSERT INTO rows VALUES (%s, %s, %s, %s, %s, %s)", name, *list(ROW.values())[1:])


@pytest.mark.parametrize("transform", [in_pandas, in_arrow])
def test_every_way_online_serves_what_the_transform_makes(
    table: Database,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    client: redis.Redis,
    transform: Any,
) -> None:
    view = view_with(make_view, transform)
    insert(table, "a", "b")
    assert materialize(view, offline, online).rows_written == 2
    (read,) = online.get_online_features(view, [{"id": "a"}])
    assert read.values == {"total": 7.5, "tags": 2, "hour": 0}
    run = held(online, view, "a")
    for name, rows in (("c", pd.DataFrame), ("d", lambda rows: rows), ("e", pa.Table.from_pylist)):
        online.push(view, rows([{**ROW, "id": name}]))
        assert held_as_pushed(online, view, name) == run
    result = online.push(view, [{**ROW, "id": "f"}], offline=offline)
    assert (result.rows_written, result.rows_appended) == (1, 1)
    assert held_as_pushed(online, view, "f") == run
    assert materialize(view, offline, online, full=True, prune=True).rows_written == 3
    assert held(online, view, "f") == run


def test_a_push_before_the_first_run_tells_types_from_what_the_transform_returns(
    make_view: MakeView, online: OnlineStore
) -> None:
    view = view_with(make_view, in_pandas)
    online.push(view, [ROW, {**ROW, "id": None}])
    assert online.get_online_features(view, [{"id": "a"}])[0].values == {"total": 7.5, "tags": 2, "hour": 0}


def test_nulls_of_the_source_are_nulls_of_the_features(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    table("INSERT INTO rows (id, ts) VALUES ('a', %s)", at(1))
    for transform in (in_pandas, in_arrow):
        view = view_with(make_view, transform, name=transform.__name__)
        materialize(view, offline, online)
        (read,) = online.get_online_features(view, [{"id": "a"}])
        assert set(read.values.values()) == {None}


def test_integers_are_exact_in_pandas_with_a_null_among_them(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows (id bigint, ts timestamptz, x bigint, flag bool, many bigint[])")
    big = 2**53 + 1
    database("INSERT INTO rows VALUES (%s, %s, %s, true, %s)", big, at(1), big, [big, None])
    database("INSERT INTO rows VALUES (1, %s)", at(1))
    view = make_view(features=["x", "flag", "first"], transform=first_of_many)
    materialize(view, offline, online)
    rows = [{"id": big, "ts": at(2), "x": big, "flag": True, "many": [big, None]}, {"id": 1, "ts": at(2)}]
    for _ in range(2):
        first, second = online.get_online_features(view, [{"id": big}, {"id": 1}])
        assert first.values == {"x": big, "flag": True, "first": big}
        assert set(second.values.values()) == {None}
        online.push(view, rows)


def test_a_transform_gets_instants_on_every_way(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows (id text, ts timestamp, created timestamp)")
    database("INSERT INTO rows VALUES ('a', '2026-01-01 10:00', '2026-01-01 11:00')")
    source = {"timezone": "America/New_York", "created_timestamp_column": "created"}
    view = make_view(source=source, features=["hour", "written"], transform=at_hour)
    materialize(view, offline, online)
    row = {"ts": datetime(2026, 1, 1, 10), "created": datetime(2026, 1, 1, 11)}
    online.push(view, [{"id": "b", **row}])
    online.push(view, pd.DataFrame([{"id": "c", **row}]))
    online.push(view, [{"id": "d", **row}], offline=offline)
    for read in online.get_online_features(view, [{"id": name} for name in "abcd"]):
        assert read.values == {"hour": 15, "written": 16}


@pytest.mark.parametrize(
    "transform, message",
    [
        (loses_rows, "'loses_rows', batch 1: it returns 1 rows for 2; it must keep every row"),
        (reorders, "'reorders', batch 1: it changes or reorders column 'id'"),
        (drops_the_key, "'drops_the_key', an empty batch, which determines the types: it returns no column 'id'"),
        (drops_a_feature, "it returns no column 'total'"),
        (fails_on_rows, "'fails_on_rows', batch 1: ZeroDivisionError: division by zero"),
        (returns_something_else, "neither a DataFrame nor an Arrow table, but int"),
        (has_no_type, "feature 'total' has no type; give it one, for example .astype"),
        (changes_its_mind, "batch 1: column 'hour': 'noon' is not of type integer"),
    ],
)
def test_what_goes_wrong_in_a_transform_is_told_and_nothing_is_written(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, transform: Any, message: str
) -> None:
    view = view_with(make_view, transform)
    insert(table, "a", "b")
    with pytest.raises(TransformError, match=f"feature view 'view', transform .*{message}"):
        materialize(view, offline, online)
    assert online.get_online_features(view, [{"id": "a"}])[0].status == "not_found"


def test_rows_of_which_a_transform_makes_nothing_are_not_in_the_table(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    view = view_with(make_view, fails_on_rows)
    for put in (partial(online.push, offline=offline), offline.append):
        with pytest.raises(TransformError, match="'fails_on_rows', batch 1: ZeroDivisionError"):
            put(view, [ROW])
    assert table("SELECT * FROM rows") == []


def test_a_transform_that_fails_names_the_batch_of_a_push(make_view: MakeView, online: OnlineStore) -> None:
    with pytest.raises(TransformError, match="'fails_on_rows', batch 1: ZeroDivisionError"):
        online.push(view_with(make_view, fails_on_rows), [ROW])


def test_a_transform_of_another_name_makes_a_full_run(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, caplog: pytest.LogCaptureFixture
) -> None:
    insert(table, "a")
    materialize(view_with(make_view, in_pandas), offline, online)
    with caplog.at_level("INFO"):
        materialize(view_with(make_view, in_arrow), offline, online)
    assert re.search("Because the view has changed in .*transform", caplog.text)


@pytest.mark.parametrize(
    "transform, changed, message",
    [
        (in_pandas, {"features": None}, "transform= needs features="),
        (lambda frame: frame, {}, "must be a function of a module"),
        (7, {}, "must be a function of a module"),
        (insert, {}, "annotate the first parameter of its transform with pandas.DataFrame or pyarrow.Table"),
    ],
)
def test_a_transform_that_cannot_work_is_refused_with_the_view(
    make_view: MakeView, transform: Any, changed: Any, message: str
) -> None:
    with pytest.raises(FeatureViewError, match=message):
        make_view(**{"features": ["x"], "transform": transform, **changed})


def test_a_view_with_a_transform_survives_pickling(make_view: MakeView) -> None:
    view = view_with(make_view, in_pandas)
    assert pickle.loads(pickle.dumps(view)) == view
    assert "in_pandas" not in repr(view)
