"""Pushes of every form and size: DataFrames, Arrow, generators; one round trip; threads; a state that changes."""

from __future__ import annotations

import gc
import logging
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import psycopg2.extras
import pyarrow as pa
import pytest
import redis
from online_features import FeastOptions, FeatureView, OfflineStore, OnlineStore, materialize
from online_features.common.retry_budget import RetryBudget
from online_features.errors import InvalidRowsError
from online_features.online.generations.push_states import PushStates
from online_features.online.redis import deployment_of
from online_features.online.write.push import PushResult, push_rows
from online_features.producers.given_rows import GivenBatch

from tests.conftest import at
from tests.online.write.test_push import EVERY
from tests.support.online import held, held_as_pushed
from tests.support.servers.databases import Database

pytestmark = pytest.mark.layouts

MakeView = Callable[..., FeatureView]


def push_in_batches(client: redis.Redis, view: FeatureView, rows: Any, batch_rows: int) -> PushResult:
    deployment = deployment_of(client)
    views = PushStates(deployment)
    return push_rows(
        deployment, views, view, rows, now=at(1), retry_budget=RetryBudget(timedelta(0)), batch_rows=batch_rows
    )


Form = Callable[[list[dict[str, Any]]], Any]

TYPES = {
    "flag": "boolean", "small": "smallint", "big": "bigint", "single": "real", "ratio": "double precision",
    "exact": "numeric", "words": "text", "day": "date", "local": "timestamp", "instant": "timestamptz",
    "clock": "time", "zoned": "timetz", "took": "interval", "raw": "bytea", "tree": "jsonb", "many": "int[]",
    "moments": "timestamptz[]", "which": "uuid",
}  # fmt: skip

FORMS: dict[str, Form] = {
    "mappings": lambda rows: rows,
    "frame": pd.DataFrame,
    "objects": lambda rows: pd.DataFrame(rows, dtype=object),
    "arrow": lambda rows: pa.table(
        # Arrow has no time with a zone, and of UUIDs, here, the text.
        {name: [str(row[name]) if name == "which" and row[name] else row[name] for row in rows]
         for name in rows[0] if name != "zoned"}
    ),
    "reader": lambda rows: FORMS["arrow"](rows).to_reader(),
}  # fmt: skip


# What Feast cannot hold: times, intervals, and a NULL among integers.
NOT_IN_FEAST = {"clock", "zoned", "took", "many"}


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def _adapted(value: Any) -> Any:
    """The value as psycopg2 takes it, without telling psycopg2 for good, which other tests would notice."""
    match value:
        case dict():
            return psycopg2.extras.Json(value)
        case uuid.UUID():
            return str(value)
    return value


@pytest.mark.parametrize("form", FORMS)
def test_what_is_pushed_is_byte_for_byte_what_a_materialization_of_it_writes(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, project: str, form: str
) -> None:
    is_feast = make_view().layout == "feast"
    left_out = NOT_IN_FEAST if is_feast else {"zoned"} if form in ("arrow", "reader") else set()
    columns = [name for name in EVERY if name not in left_out]
    database(f"CREATE TABLE rows (id int, ts timestamptz, {', '.join(f'{name} {TYPES[name]}' for name in columns)})")
    values = {name: EVERY[name] for name in columns} | {"tree": {"longer": "é", "a": [1, None]}}
    rows = [{"id": 1, "ts": at(1), **values}, {"id": 2, "ts": at(1), **dict.fromkeys(columns)}]
    for row in rows:
        adapted = [_adapted(value) for value in row.values()]
        database(f"INSERT INTO rows VALUES ({', '.join(['%s'] * len(adapted))})", *adapted)
    types = FeastOptions(types={"tree": "Json"} if is_feast else {})
    read, pushed = (
        make_view(project=f"{project}_{name}", features=columns, feast=types) for name in ("read", "pushed")
    )
    materialize(read, offline, online)
    database("DELETE FROM rows")
    materialize(pushed, offline, online)
    result = online.push(pushed, FORMS[form](rows))
    assert (result.rows_read, result.rows_written) == (2, 2)
    for entity in (1, 2):
        assert held_as_pushed(online, pushed, entity) == held(online, read, entity)


@pytest.mark.parametrize("form", FORMS)
def test_the_first_push_of_any_form_can_be_read_back(make_view: MakeView, online: OnlineStore, form: str) -> None:
    view = make_view()
    rows = [{"id": 7, "ts": at(1), "x": 1.5, "y": "é"}, {"id": 8, "ts": at(2), "x": None, "y": None}]
    online.push(view, FORMS[form](rows))
    first, second = online.get_online_features(view, [{"id": 7}, {"id": 8}])
    assert (first.values, second.values) == ({"x": 1.5, "y": "é"}, {"x": None, "y": None})
    assert online.freshness(view).max_event_timestamp == at(2)


def test_rows_that_pandas_leaves_without_entity_or_instant_are_rejected(
    make_view: MakeView, online: OnlineStore, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pd.DataFrame({
        "id": [1, None, 3], "ts": pd.to_datetime([at(1), at(1), None]), "x": ["kept", "secret", "secret"],
    })  # fmt: skip
    with caplog.at_level(logging.WARNING):
        result = online.push(make_view(), frame)
    assert (result.rows_read, result.rows_written, result.rows_rejected) == (3, 1, 2)
    assert "id=3.0, ts=None" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("rows", [pd.DataFrame({"id": [], "ts": [], "x": []}), pa.table({"id": []}), iter(())])
def test_nothing_pushed_is_nothing_done(
    make_view: MakeView, online: OnlineStore, client: redis.Redis, rows: Any
) -> None:
    view = make_view()
    assert online.push(view, rows).rows_read == 0
    assert list(client.scan_iter(f"*{view.project}*")) == []


@pytest.mark.parametrize("seconds", [10**12, 10**14, -(10**12)])
def test_rows_at_no_time_of_ours_are_rejected_and_shown(
    make_view: MakeView, online: OnlineStore, caplog: pytest.LogCaptureFixture, seconds: int
) -> None:
    table = pa.table({"id": ["a"], "ts": pa.array([seconds], pa.timestamp("s", "UTC")), "x": [1]})
    for rows in (table, table.to_pandas(types_mapper=pd.ArrowDtype)):
        with caplog.at_level(logging.WARNING):
            result = online.push(make_view(), rows)
        assert (result.rows_read, result.rows_rejected) == (1, 1)
        said = " ".join(record.getMessage() for record in caplog.records)
        assert f"id='a', ts='{seconds} timestamp[s, tz=UTC]'" in said
        caplog.clear()


def test_columns_with_hostile_names(make_view: MakeView, online: OnlineStore) -> None:
    names = ['a"b', "a b", "é:{}%", "\n", "$1", "'; DROP", "_id", "0"]
    view = make_view(entities=['i"d%s'], source={"timestamp_field": "t:s"})
    rows = [{'i"d%s': "a", "t:s": at(1), **dict(zip(names, range(8), strict=True))}]
    for form in ("frame", "arrow"):
        online.push(view, FORMS[form](rows))
        (row,) = online.get_online_features(view, [{'i"d%s': "a"}])
        assert row.values == dict(zip(names, range(8), strict=True))


@pytest.mark.parametrize(
    "given, message",
    [
        (["x", 1], "'x' is not of type integer"),
        ([2**40], "is not of type integer"),
        (5, r"5 is not of type integer\[\]"),
        ({"k": 1}, r"is not of type integer\[\]"),
        ([[1], [2, 3]], r"is not of type integer\[\]"),
    ],
)
def test_arrays_whose_elements_do_not_fit_are_refused(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, given: Any, message: str
) -> None:
    database("CREATE TABLE rows (id text, ts timestamptz, x int[])")
    view = make_view()
    materialize(view, offline, online)
    with pytest.raises(InvalidRowsError, match=f"column 'x': .*{message}"):
        online.push(view, [{"id": "a", "ts": at(1), "x": given}])
    assert online.get_online_features(view, [{"id": "a"}])[0].status == "not_found"


@pytest.mark.parametrize(
    "rows, message",
    [
        (pd.DataFrame({"id": ["a"], "ts": [at(1)]}), "lack column 'x'"),
        (pd.DataFrame({"id": ["a"], "ts": [at(1)], "x": [1], 7: [1]}), "have column 7, which the view does not have"),
        (pd.DataFrame({"id": ["a", "b"], "ts": [at(1)] * 2, "x": [1, 2.5]}), "column 'x': 2.5 is not of type integer"),
        (pa.table({"id": ["a"], "ts": [datetime(2026, 1, 1)], "x": [1]}), "'ts': 2026-01-01T00:00:00 has no time zone"),
    ],
)  # fmt: skip
def test_frames_that_do_not_fit_are_refused_and_nothing_is_written(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, rows: Any, message: str
) -> None:
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    view = make_view()
    materialize(view, offline, online)
    with pytest.raises(InvalidRowsError, match=message):
        online.push(view, rows)
    assert online.get_online_features(view, [{"id": "a"}])[0].status == "not_found"


def test_rows_from_a_generator_are_never_in_memory_together(
    make_view: MakeView, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, batch_rows = 20_000, 1_000
    alive: weakref.WeakSet[GivenBatch] = weakref.WeakSet()
    most = 0
    made = GivenBatch.__init__

    def counted(batch: GivenBatch, *arguments: Any) -> None:
        nonlocal most
        made(batch, *arguments)
        alive.add(batch)
        gc.collect()
        most = max(most, len(alive))

    monkeypatch.setattr(GivenBatch, "__init__", counted)
    monkeypatch.setattr(GivenBatch, "__hash__", object.__hash__)
    view = make_view()
    generator = ({"id": i, "ts": at(1), "x": i} for i in range(rows))
    result = push_in_batches(client, view, generator, batch_rows)
    assert result.rows_written == rows
    assert most <= 5


def test_a_misfit_in_a_later_batch_names_it_and_says_what_is_online(make_view: MakeView, client: redis.Redis) -> None:
    rows = ({"id": i, "ts": at(1), "x": i if i < 25 else "no"} for i in range(30))
    with pytest.raises(
        InvalidRowsError, match=r"'x': 'no' is not of type bigint \(in batch 3; 20 rows of earlier ones"
    ):
        push_in_batches(client, make_view(), rows, 10)


def test_a_generator_runs_in_the_thread_of_its_caller(make_view: MakeView, client: redis.Redis) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for i in range(50):
            assert threading.current_thread() is caller
            yield {"id": i, "ts": at(1), "x": i}

    caller = threading.current_thread()
    result = push_in_batches(client, make_view(), rows(), 10)
    assert result.rows_written == 50


class CountingConnection(redis.Connection):
    packets = 0

    def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        type(self).packets += 1
        super().send_packed_command(*arguments, **options)


def test_a_push_of_a_view_that_is_known_takes_one_round_trip_and_two_in_layout_feast(
    make_view: MakeView, redis_url: str
) -> None:
    pool = redis.ConnectionPool.from_url(redis_url, connection_class=CountingConnection)
    with redis.Redis(connection_pool=pool) as counted:
        online, view = OnlineStore(counted), make_view()
        online.push(view, [{"id": "a", "ts": at(1), "x": 1}])
        CountingConnection.packets = 0
        for hour in (2, 3, 4):
            assert online.push(view, [{"id": "a", "ts": at(hour), "x": hour}]).rows_written == 1
        each = 2 if view.layout == "feast" else 1  # its types change in place, so they are checked first
        assert CountingConnection.packets == 3 * each
        online.push(view, pd.DataFrame({"id": ["a"], "ts": [at(5)], "x": [5]}))
        assert CountingConnection.packets == 4 * each


def test_a_push_moves_the_newest_event_forward_and_never_the_watermark(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, %s AS ts, 1 AS x", at(1))
    view = make_view()
    watermark = materialize(view, offline, online).watermark
    for hour, newest in ((3, 3), (2, 3), (4, 4)):
        online.push(view, [{"id": "b", "ts": at(hour), "x": 1}])
        fresh = online.freshness(view)
        assert (fresh.watermark, fresh.max_event_timestamp) == (watermark, at(newest))
    materialize(view, offline, online)
    assert online.freshness(view).max_event_timestamp == at(4)


def test_a_push_notices_that_a_run_has_told_other_types(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    database("CREATE TABLE rows (id text, ts timestamptz, x numeric)")
    view, producer = make_view(), OnlineStore(client)
    producer.push(view, [{"id": "a", "ts": at(1), "x": 1.0}])
    materialize(view, offline, online)
    result = producer.push(view, [{"id": "a", "ts": at(2), "x": 2.5}])
    assert (result.rows_read, result.rows_written) == (1, 1)
    assert str(online.get_online_features(view, [{"id": "a"}])[0].values["x"]) == "2.5"
    producer.push(view, [{"id": "a", "ts": at(3), "x": 2}])
    database("ALTER TABLE rows ALTER x TYPE int")
    materialize(view, offline, online)
    with pytest.raises(InvalidRowsError, match="column 'x': 2.5 is not of type integer"):
        producer.push(view, [{"id": "a", "ts": at(4), "x": 2.5}])


def test_a_push_after_a_flush_records_the_types_again(make_view: MakeView, client: redis.Redis) -> None:
    online, view = OnlineStore(client), make_view()
    online.push(view, [{"id": "a", "ts": at(1), "x": 1}])
    for key in client.scan_iter(f"*{view.project}*"):
        client.delete(key)
    online.push(view, [{"id": "a", "ts": at(1), "x": "now text"}])
    assert online.get_online_features(view, [{"id": "a"}])[0].values == {"x": "now text"}
    assert online.freshness(view).max_event_timestamp == at(1)


def test_a_first_push_does_not_overrule_types_that_somebody_else_has_told_meanwhile(
    make_view: MakeView, client: redis.Redis
) -> None:
    view, views = make_view(), PushStates(deployment_of(client))
    assert views.known(view).published.schema is None
    OnlineStore(client).push(view, [{"id": "a", "ts": at(1), "x": "text"}])
    with pytest.raises(InvalidRowsError, match="column 'x': 2 is not of type text"):
        push_rows(
            deployment_of(client),
            views,
            view,
            [{"id": "a", "ts": at(2), "x": 2}],
            now=at(1),
            retry_budget=RetryBudget(timedelta(0)),
        )


def test_threads_share_a_store(make_view: MakeView, online: OnlineStore) -> None:
    views = [make_view(name=name, source={"created_timestamp_column": "created"}) for name in "ab"]

    def push(worker: int) -> int:
        written = 0
        for i in range(50):
            row = {"id": i, "ts": at(1) + timedelta(minutes=(i * 7 + worker * 13) % 50), "x": worker, "created": at(1)}
            result = online.push(views[(i + worker) % 2], [row])
            written += result.rows_written + result.rows_stale
        return written

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(push, range(8))) == [50] * 8
    for view in views:
        rows = online.get_online_features(view, [{"id": i} for i in range(50)])
        for i, row in enumerate(rows):
            workers = [worker for worker in range(8) if views[(i + worker) % 2] is view]
            newest = max((i * 7 + worker * 13) % 50 for worker in workers)
            assert row.event_timestamp == at(1) + timedelta(minutes=newest)


@pytest.mark.parametrize("newer", ["pushed", "stored"])
def test_pushes_and_runs_in_either_order_leave_the_newer_row(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, newer: str
) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, %s AS ts, 'stored' AS x", at(2))
    frame = pd.DataFrame({"id": ["a"], "ts": [at(3 if newer == "pushed" else 1)], "x": ["pushed"]})
    for order in ("push first", "run first"):
        view = make_view(name=order.replace(" ", "-"))
        if order == "push first":
            online.push(view, frame)
        materialize(view, offline, online)
        if order == "run first":
            online.push(view, frame)
        assert online.get_online_features(view, [{"id": "a"}])[0].values == {"x": newer}
