from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView, MaterializationResult, OfflineStore, OnlineStore, materialize
from online_features.errors import (
    ColumnNotFoundError,
    OfflineAccessError,
    OfflineStoreUnavailableError,
    OnlineAccessError,
    OnlineDataError,
    OnlineDataLostError,
    OnlineStoreUnavailableError,
    SourceError,
    SourceNotFoundError,
    UnsupportedTypeError,
    WindowError,
)
from online_features.materialization.reporting.progress import Progress

from tests.conftest import at
from tests.support.online import row_key, state_key
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]
CREATED = {"created_timestamp_column": "created_at"}


@pytest.fixture
def rows(database: Database) -> Callable[..., None]:
    """Inserts rows into table ``rows``: id, ts, x, and when they were created."""
    database(
        "CREATE TABLE rows (id text, ts timestamptz, x int, y text, created_at timestamptz DEFAULT clock_timestamp())"
    )

    def insert(*values: tuple[Any, ...]) -> None:
        for row in values:
            database("INSERT INTO rows (id, ts, x, y) VALUES (%s, %s, %s, %s)", *(*row, None, None)[:4])

    return insert


def outcomes(result: MaterializationResult) -> dict[str, int]:
    counted = {name: getattr(result, f"rows_{name}") for name in ("written", "stale", "expired", "deleted", "rejected")}
    assert result.rows_read == sum(counted.values())
    return {name: count for name, count in counted.items() if count}


def values(online: OnlineStore, view: FeatureView, *ids: str) -> list[dict[str, Any] | None]:
    rows = online.get_online_features(view, [{"id": id} for id in ids])  # noqa: A001
    return [dict(row.values) if row.status == "present" else None for row in rows]


def test_a_run_logs_which_side_was_the_limit(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore, caplog: pytest.LogCaptureFixture
) -> None:
    rows(("a", at(1)))
    with caplog.at_level(logging.INFO):
        materialize(make_view(), offline, online, full=True)
    assert re.search(
        r"(Postgres|encoding|Redis) was the limit; busy: Postgres \d+%, encoding \d+%, Redis \d+%", caplog.text
    )


def test_the_newest_row_of_each_entity_goes_online(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    rows(("a", at(1), 1), ("a", at(3), 3), ("a", at(2), 2), ("b", at(1), 4, "é"))
    view = make_view(features=["x", "y"])
    result = materialize(view, offline, online)
    assert outcomes(result) == {"written": 2}
    assert values(online, view, "a", "b", "c") == [{"x": 3, "y": None}, {"x": 4, "y": "é"}, None]
    assert result.max_event_timestamp == at(3)
    (row,) = online.get_online_features(view, [{"id": "a"}])
    assert row.event_timestamp == at(3)


def test_a_run_right_after_another_writes_nothing_and_keeps_the_watermark_honest(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    rows(("a", at(1), 1))
    view = make_view(source=CREATED)
    first = materialize(view, offline, online)
    second = materialize(view, offline, online)
    assert outcomes(first) == {"written": 1}
    assert outcomes(second) == {}
    assert first.watermark is not None
    assert second.watermark is not None
    assert first.watermark <= second.watermark <= datetime.now(UTC)
    assert online.freshness(view).watermark == second.watermark
    assert online.freshness(view).max_event_timestamp == at(1)


def test_an_increment_touches_only_what_came_since(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    rows(("a", at(1), 1), ("b", at(1), 1), ("c", at(5), 1))
    view = make_view(source=CREATED, features=["x"])
    materialize(view, offline, online)
    rows(("a", at(2), 2), ("c", at(4), 2))
    assert outcomes(materialize(view, offline, online)) == {"written": 1, "stale": 1}
    assert values(online, view, "a", "b", "c") == [{"x": 2}, {"x": 1}, {"x": 1}]


def test_a_window_holds_its_start_and_not_its_end(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    rows(("before", at(0, 59), 1), ("start", at(1), 1), ("inside", at(1, 30), 1), ("end", at(2), 1))
    view = make_view(features=["x"])
    result = materialize(view, offline, online, start=at(1), end=at(2))
    assert outcomes(result) == {"written": 2}
    assert (result.start, result.end) == (at(1), at(2))
    assert values(online, view, "before", "start", "inside", "end") == [None, {"x": 1}, {"x": 1}, None]


def test_a_backfill_of_old_days_does_not_regress_what_is_online(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    rows(("a", at(1), 1), ("a", at(5), 5))
    view = make_view(features=["x"])
    materialize(view, offline, online)
    assert outcomes(materialize(view, offline, online, start=at(0), end=at(2))) == {"stale": 1}
    assert values(online, view, "a") == [{"x": 5}]


def test_a_newer_row_replaces_the_whole_row(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    rows(("a", at(1), 1, "old"))
    view = make_view(source=CREATED, features=["x", "y"])
    materialize(view, offline, online)
    rows(("a", at(2), None, None))
    materialize(view, offline, online)
    assert values(online, view, "a") == [{"x": None, "y": None}]


def test_rows_without_entity_or_instant_are_rejected_counted_and_shown(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore, caplog: pytest.LogCaptureFixture
) -> None:
    rows((None, at(1), 1), (None, at(2), 1), ("a", None, 1), ("b", "infinity", 1), ("c", "0044-03-15 BC", 1))
    rows(("d", at(1), 1))
    with caplog.at_level(logging.WARNING):
        result = materialize(make_view(), offline, online)
    assert outcomes(result) == {"written": 1, "rejected": 5}
    assert "id=None, ts='2026-01-01" in caplog.text
    assert "id='a', ts=None" in caplog.text


def test_an_empty_table_succeeds(rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore) -> None:
    view = make_view()
    result = materialize(view, offline, online)
    assert outcomes(result) == {}
    assert result.watermark is not None
    assert result.max_event_timestamp is None
    assert values(online, view, "a") == [None]


def test_batches_of_one_row_and_progress(
    rows: Any, database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    rows(*((f"e{i}", at(1), i) for i in range(5)))
    database("ANALYZE rows")
    seen: list[Progress] = []
    result = materialize(make_view(), offline, online, batch_rows=1, on_progress=seen.append)
    assert outcomes(result) == {"written": 5}
    assert [progress.rows for progress in seen] == [1, 2, 3, 4, 5]
    assert all(0 < progress.share <= 1 for progress in seen)
    assert seen[0].seconds_left is None
    assert all(progress.seconds_left is not None for progress in seen[1:])
    assert seen[-1].seconds_left == 0


def test_a_changed_view_is_written_anew(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore, caplog: pytest.LogCaptureFixture
) -> None:
    rows(("a", at(1), 1, "y"))
    materialize(make_view(source=CREATED), offline, online)
    narrower = make_view(source=CREATED, features=["y"])
    with caplog.at_level(logging.INFO):
        assert outcomes(materialize(narrower, offline, online)) == {"written": 1}
    assert "the view has changed in features" in caplog.text
    assert values(online, narrower, "a") == [{"y": "y"}]


def test_a_flushed_redis_is_filled_again(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    rows(("a", at(1), 1))
    view = make_view(source=CREATED, features=["x"])
    materialize(view, offline, online)
    client.delete(state_key(client, view), row_key(client, view, ["a"]))
    assert not online.freshness(view).is_materialized
    assert outcomes(materialize(view, offline, online)) == {"written": 1}
    assert values(online, view, "a") == [{"x": 1}]


def test_a_flush_during_a_run_stops_it_from_claiming_its_rows(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    rows(("a", at(1), 1))
    view = make_view()

    def lose_everything(_: Progress) -> None:
        for key in client.scan_iter(f"*{view.project}*"):
            client.delete(key)

    with pytest.raises(OnlineDataLostError, match="run again"):
        materialize(view, offline, online, on_progress=lose_everything, retry_for=timedelta(0))
    assert online.freshness(view).watermark is None


def test_a_run_that_fails_moves_no_watermark_and_is_told_in_the_history(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    rows(("a", at(1), 1))
    view = make_view()

    def fail(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(view, offline, online, on_progress=fail)
    assert not online.freshness(view).is_materialized
    assert [run["outcome"] for run in online.runs(view)] == ["KeyboardInterrupt"]
    assert outcomes(materialize(view, offline, online)) == {"written": 1}
    assert [run["outcome"] for run in online.runs(view)] == ["success", "KeyboardInterrupt"]


def test_a_server_that_forgets_the_script_is_told_it_again(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    rows(*((f"e{i}", at(1), i) for i in range(3)))
    drop_view_data: Callable[[Progress], None] = lambda _: client.script_flush()  # noqa: E731
    result = materialize(make_view(), offline, online, batch_rows=1, on_progress=drop_view_data)
    assert outcomes(result) == {"written": 3}


def test_a_ttl_keeps_old_rows_offline_and_lets_the_others_expire(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    now = datetime.now(UTC)
    rows(("old", now - timedelta(hours=3), 1), ("new", now - timedelta(hours=1), 1))
    view = make_view(ttl=timedelta(hours=2), features=["x"])
    assert outcomes(materialize(view, offline, online)) == {"written": 1, "expired": 1}
    assert values(online, view, "old", "new") == [None, {"x": 1}]
    assert 3500 < client.ttl(row_key(client, view, ["new"])) <= 3600
    shorter = make_view(ttl=timedelta(minutes=30), features=["x"])
    (row,) = online.get_online_features(shorter, [{"id": "new"}])
    assert (row.status, row.values) == ("expired", {"x": None})


def test_windows_that_contradict_are_refused(make_view: MakeView, offline: OfflineStore, online: OnlineStore) -> None:
    for arguments in (
        {"start": datetime(2026, 1, 1)},
        {"start": at(2), "end": at(1)},
        {"full": True, "end": at(1)},
        {"full": True, "lookback": timedelta(hours=1)},
        {"lookback": timedelta(hours=-1)},
    ):
        with pytest.raises(WindowError):
            materialize(make_view(), offline, online, **arguments)  # type: ignore[arg-type]


# What goes wrong before the first row: one clear, typed error each.


def test_a_wrong_password(database: Database, make_view: MakeView, online: OnlineStore) -> None:
    role = f"reader_{uuid.uuid4().hex[:8]}"
    database(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    host = database.uri.rpartition("@")[2]
    with pytest.raises(OfflineAccessError, match="check user and password") as caught:
        materialize(make_view(), OfflineStore(f"postgresql://{role}:canary@{host}"), online)
    assert "canary" not in str(caught.value)
    database(f"DROP ROLE {role}")


def test_a_missing_grant(rows: Any, database: Database, make_view: MakeView, online: OnlineStore) -> None:
    role = f"reader_{uuid.uuid4().hex[:8]}"
    database(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    host = database.uri.rpartition("@")[2]
    with pytest.raises(OfflineAccessError, match="permission denied for table rows -> GRANT"):
        materialize(make_view(), OfflineStore(f"postgresql://{role}:right@{host}"), online)
    database(f"DROP ROLE {role}")


def test_no_postgres(make_view: MakeView, online: OnlineStore) -> None:
    with pytest.raises(OfflineStoreUnavailableError, match="Connection refused"):
        materialize(
            make_view(), OfflineStore("postgresql://nobody@127.0.0.1:1/none"), online, retry_for=timedelta(0)
        )  # fmt: skip


def test_an_unknown_table(make_view: MakeView, offline: OfflineStore, online: OnlineStore) -> None:
    for table in ("nothing", "nowhere.nothing"):
        with pytest.raises(SourceNotFoundError, match=f"table '{table}'.* does not exist -> name an existing table"):
            materialize(make_view(source={"table": table}), offline, online)


@pytest.mark.parametrize(
    "change, part",
    [
        ({"entities": ["nope"]}, "join key 'nope'"),
        ({"features": ["nope"]}, "feature 'nope'"),
        ({"source": {"timestamp_field": "nope"}}, "timestamp_field 'nope'"),
        ({"source": {"created_timestamp_column": "nope"}}, "created_timestamp_column 'nope'"),
        ({"source": {"deleted_field": "nope"}}, "deleted_field 'nope'"),
    ],
)
def test_an_unknown_column(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore, change: Any, part: str
) -> None:
    with pytest.raises(
        ColumnNotFoundError, match=f"{part} is not a column of table 'rows', which has 'id', 'ts', 'x', .* -> "
    ):
        materialize(make_view(**change), offline, online)


def test_columns_of_a_type_that_cannot_play_their_part(
    rows: Any, database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    with pytest.raises(UnsupportedTypeError, match="timestamp_field 'x' has type 'integer' but must have 'date'"):
        materialize(make_view(source={"timestamp_field": "x"}), offline, online)
    with pytest.raises(UnsupportedTypeError, match="deleted_field 'x' has type 'integer' but must have 'boolean'"):
        materialize(make_view(source={"deleted_field": "x"}), offline, online)
    database("ALTER TABLE rows ADD tree pg_node_tree, ADD ratio float")
    with pytest.raises(UnsupportedTypeError, match="feature 'tree' has type 'pg_node_tree', which cannot go online"):
        materialize(make_view(), offline, online)
    with pytest.raises(UnsupportedTypeError, match="join key 'ratio' has type 'double precision', of which equal"):
        materialize(make_view(entities=["ratio"]), offline, online)


def test_a_query_that_is_wrong_or_writes(
    rows: Any, database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    with pytest.raises(SourceError, match="its query: syntax error"):
        materialize(make_view(source={"query": "select from where"}), offline, online)
    database(
        "CREATE FUNCTION add_row() RETURNS text LANGUAGE sql AS $$ INSERT INTO rows (id) VALUES ('w') RETURNING id $$"
    )
    writing = make_view(source={"query": "SELECT add_row() AS id, timestamptz '2000-01-01' AS ts"})
    for window in ({}, {"start": at(1)}):
        with pytest.raises(SourceError, match="read-only transaction"):
            materialize(writing, offline, online, **window)
    assert database("SELECT count(*) FROM rows") == [(0,)]


def test_no_redis(rows: Any, make_view: MakeView, offline: OfflineStore) -> None:
    nobody = OnlineStore(redis.Redis(host="127.0.0.1", port=1, retry=None))
    with pytest.raises(OnlineStoreUnavailableError, match="feature view 'view', Redis: .* -> check host and port"):
        materialize(make_view(), offline, nobody, retry_for=timedelta(0))


def test_a_wrong_redis_password(
    rows: Any, make_view: MakeView, offline: OfflineStore, redis_url: str, client: redis.Redis
) -> None:
    host, port = client.connection_pool.connection_kwargs["host"], client.connection_pool.connection_kwargs["port"]
    stranger = OnlineStore(redis.Redis(host=host, port=port, username="stranger", password="canary"))
    with pytest.raises(OnlineAccessError, match="check user and password") as caught:
        materialize(make_view(), offline, stranger)
    assert "canary" not in str(caught.value)


def test_a_key_that_holds_something_else(
    rows: Any, make_view: MakeView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    rows(("a", at(1), 1))
    view = make_view()
    client.set(row_key(client, view, ["a"]), "mine")
    with pytest.raises(OnlineDataError, match="WRONGTYPE"):
        materialize(view, offline, online, start=at(0))
    assert client.get(row_key(client, view, ["a"])) == "mine"
    assert not online.freshness(view).is_materialized
