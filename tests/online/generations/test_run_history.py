"""What the history tells of runs: when, for whom, how far, and why one failed; and what of it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.common.instants import from_text, to_text
from online_features.errors import OfflineStoreUnavailableError, OnlineDataError, SourceNotFoundError
from online_features.layouts import keyspace
from online_features.online.generations.runs import RUNS_KEPT, RUNS_KEPT_FOR

from tests.conftest import at
from tests.support.online import row_key
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]

TASK: dict[str, str | int] = {"dag_id": "features", "run_id": "scheduled__1", "task_id": "materialize", "try_number": 2}


@pytest.fixture
def view(database: Database, make_view: MakeView) -> FeatureView:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    return make_view(source={"created_timestamp_column": "ts"})


def insert(database: Database) -> None:
    database("INSERT INTO rows VALUES ('a', now(), 2)")


def test_a_run_is_told_with_its_times_its_watermark_and_its_origin(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    before = datetime.now(UTC)
    result = materialize(view, offline, online, origin=TASK)
    (run,) = online.runs(view)
    assert before <= from_text(run["began"]) <= from_text(run["ended"]) <= datetime.now(UTC)
    assert result.watermark is not None
    assert run["watermark"] == to_text(result.watermark)
    assert (run["run_id"], run["outcome"], run["origin"]) == (result.run_id, "success", TASK)
    assert "error" not in run


def test_a_run_that_fails_before_it_reads_is_told(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, database: Database
) -> None:
    result = materialize(view, offline, online)
    database("DROP TABLE rows")
    with pytest.raises(SourceNotFoundError):
        materialize(view, offline, online, origin=TASK)
    run, _ = online.runs(view)
    assert (run["outcome"], run["origin"], run["kind"], run["rows_read"]) == ("SourceNotFoundError", TASK, None, 0)
    assert "-> name an existing table" in run["error"]
    assert online.freshness(view).watermark == result.watermark


def test_a_postgres_that_is_away_is_told_once_and_without_its_password(view: FeatureView, online: OnlineStore) -> None:
    away = OfflineStore("postgresql://u:s3cret@127.0.0.1:1/x")
    with pytest.raises(OfflineStoreUnavailableError):
        materialize(view, away, online, retry_for=timedelta(seconds=1))
    (run,) = online.runs(view)
    assert run["outcome"] == "OfflineStoreUnavailableError"
    assert "Connection refused" in run["error"]
    assert "s3cret" not in json.dumps(run)


def test_a_run_that_fails_while_it_reads_tells_the_watermark_that_it_found(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    result = materialize(view, offline, online)
    assert result.watermark is not None

    def fail(_: object) -> None:
        raise RuntimeError("postgresql://u:s3cret@host")

    with pytest.raises(RuntimeError):
        materialize(view, offline, online, full=True, on_progress=fail)
    run, _ = online.runs(view)
    assert (run["outcome"], run["error"], run["kind"]) == ("RuntimeError", "RuntimeError", "full")
    assert run["watermark"] == to_text(result.watermark)


def test_runs_that_did_nothing_are_one_record(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, database: Database
) -> None:
    def run(**origin: str) -> Any:
        return materialize(view, offline, online, origin={**origin, "try_number": 1, "run_id": str(datetime.now(UTC))})

    run()
    first, _, last = (run() for _ in range(3))
    nothing, full = online.runs(view)
    assert (nothing["runs"], nothing["run_id"], full["kind"]) == (3, last.run_id, "full")
    assert last.watermark is not None
    assert nothing["watermark"] == to_text(last.watermark)
    assert from_text(nothing["began"]) < from_text(nothing["ended"]) - timedelta(seconds=nothing["seconds"])
    assert first.rows_read == 0
    run(task_id="another")
    assert [run.get("runs") for run in online.runs(view)] == [1, 3, None]
    insert(database)
    assert run(task_id="another").rows_written == 1
    run(task_id="another")
    assert [run.get("runs") for run in online.runs(view)] == [1, None, 1, 3, None]


@pytest.mark.parametrize("recorded, days, kept", [(RUNS_KEPT + 50, 1, RUNS_KEPT), (150, 8, 100), (150, 6, 151)])
def test_a_week_of_runs_is_kept_and_always_the_newest_hundred(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, recorded: int, days: int, kept: int
) -> None:
    ended = to_text(datetime.now(UTC) - timedelta(days=days))
    known = {"began": ended, "ended": ended, "outcome": "success", "seconds": 0}
    assert timedelta(days=6) < RUNS_KEPT_FOR < timedelta(days=8)
    key = keyspace.runs_key(view)
    online._client.rpush(key, *[json.dumps({**known, "run_id": str(n)}) for n in range(recorded)])
    materialize(view, offline, online)
    assert online._client.llen(key) == kept
    assert [run["run_id"] for run in online.runs(view, limit=3)[1:]] == ["0", "1"]
    assert len(online.runs(view)) == 100


def test_what_redis_says_while_a_run_writes_is_told_with_its_cure(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    key = row_key(online._client, view, ["a"])
    online._client.set(key, "somebody else's")
    with pytest.raises(OnlineDataError):
        materialize(view, offline, online, start=at(0))
    (run,) = online.runs(view)
    assert run["outcome"] == "OnlineDataError"
    assert f"(key {key})" in run["error"]
    assert " -> look at the key" in run["error"]
