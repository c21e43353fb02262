"""Increments of the tables that people have: updated in place, refreshed, reloaded, attached, with future rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import FeatureViewError
from online_features.materialization.pending import has_pending_rows
from online_features.offline import query_plan as reading
from online_features.offline.sql import source_rows, statements
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
from online_features.online.read.view_freshness_check import ViewFreshnessCheck
from online_features.window import Arrivals

from tests.support.processes import until
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]

ACCOUNTS = """
    CREATE TABLE rows (
        id int PRIMARY KEY, plan text, created_at timestamptz DEFAULT now(), ts {} DEFAULT clock_timestamp()
    );
    INSERT INTO rows (id, plan) SELECT i, 'free' FROM generate_series(1, 5) AS i
"""
CREATED = {"created_timestamp_column": "created_at"}


@pytest.fixture
def plans(online: OnlineStore) -> Callable[[FeatureView], list[Any]]:
    def read(view: FeatureView) -> list[Any]:
        rows = online.get_online_features(view, [{"id": i} for i in range(1, 6)])
        return [row.values["plan"] for row in rows]

    return read


def told(caplog: pytest.LogCaptureFixture) -> str:
    """What the log says, its short lines joined."""
    return " ".join(record.getMessage() for record in caplog.records)


def reported(database: Database, counter: str, at_least: int, table: str = "rows") -> None:
    """Wait until the statistics of Postgres report changes, which they do about a second late."""
    until(lambda: database(f"SELECT pg_stat_get_tuples_{counter}('{table}'::regclass) >= {at_least}") == [(True,)])


@pytest.mark.parametrize("source", [CREATED, {}])
@pytest.mark.parametrize("kind", ["timestamptz", "timestamptz(0)", "timestamp", "date"])
def test_a_row_updated_in_place_is_read_by_the_next_increment(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]], kind: str, source: dict[str, str],
) -> None:  # fmt: skip
    database(ACCOUNTS.format(kind))
    view = make_view(source=source, features=["plan"])
    materialize(view, offline, online)
    for plan in ("pro", "team"):
        database("UPDATE rows SET plan = %s, ts = now() WHERE id = 1", plan)
        materialize(view, offline, online)
        assert plans(view) == [plan, "free", "free", "free", "free"]
    assert {run["kind"] for run in online.runs(view)[:2]} == {"incremental"}


def test_an_update_in_a_transaction_in_flight_arrives_when_it_is_committed(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]],
) -> None:  # fmt: skip
    database(ACCOUNTS.format("timestamptz"))
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    writer = psycopg2.connect(database.uri)
    with writer.cursor() as cursor:
        cursor.execute("UPDATE rows SET plan = 'pro', ts = now() WHERE id = 2")
    materialize(view, offline, online)
    writer.commit()
    writer.close()
    materialize(view, offline, online)
    assert plans(view)[1] == "pro"


def test_an_increment_uses_an_index_for_either_timestamp(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT i AS id, 'free' AS plan, now() - i * interval '1 min' AS created_at, "
             "now() - i * interval '1 min' AS ts FROM generate_series(1, 50000) AS i; "
             "CREATE INDEX ON rows (created_at); CREATE INDEX ON rows (ts); ANALYZE rows")  # fmt: skip
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    schema = offline.describe(view)
    state = online.state(view)
    assert state.cursor is not None
    arrivals = Arrivals.since(state.cursor, schema, lookback=timedelta(0), now=datetime.now(UTC))
    sql = source_rows.sql_text(statements.newest_rows(view.source, schema, arrivals))
    plan = "\n".join(line for (line,) in database(f"EXPLAIN {sql.replace('%', '%%')}"))
    assert "Seq Scan" not in plan
    assert "rows_created_at_idx" in plan
    assert "rows_ts_idx" in plan


def test_rows_updated_without_a_timestamp_that_says_so_are_warned_of(
    database: Database,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database(ACCOUNTS.format("timestamptz"))
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    database("UPDATE rows SET plan = 'seen', ts = now() WHERE id = 1")
    reported(database, "updated", 1)
    with caplog.at_level(logging.WARNING):
        materialize(view, offline, online)
    assert "without a new timestamp" not in told(caplog)
    database("UPDATE rows SET plan = 'unseen' WHERE id = 2")
    reported(database, "updated", 2)
    with caplog.at_level(logging.WARNING):
        materialize(view, offline, online)
    assert "rows were written since the last run without a new timestamp (1 of a sample)" in told(caplog)
    assert "set 'ts' or 'created_at' whenever a row changes" in told(caplog)
    caplog.clear()
    materialize(view, offline, online, full=True)
    materialize(view, offline, online)
    assert "without a new timestamp" not in told(caplog)


def test_rows_that_are_loaded_with_old_timestamps_are_warned_of(
    database: Database,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database(ACCOUNTS.format("timestamptz"))
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    database("INSERT INTO rows VALUES (9, 'copied', now() - interval '1 day', now() - interval '1 day')")
    reported(database, "inserted", 6)
    with caplog.at_level(logging.WARNING):
        materialize(view, offline, online)
    assert "without a new timestamp" in told(caplog)


def test_deleted_rows_of_a_table_with_one_row_per_entity_are_warned_of(
    database: Database,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database(ACCOUNTS.format("timestamptz"))
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    database("DELETE FROM rows WHERE id < 3")
    reported(database, "deleted", 2)
    with caplog.at_level(logging.WARNING):
        materialize(view, offline, online)
        materialize(view, offline, online)
    assert told(caplog).count("2 row(s) were deleted since the last run and stay online") == 1
    assert materialize(view, offline, online, full=True, in_place=True, prune=True).entities_pruned == 2


def test_history_that_is_trimmed_is_not_warned_of(
    database: Database,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database("CREATE TABLE rows (id int, plan text, created_at timestamptz DEFAULT now(), ts timestamptz)")
    database("INSERT INTO rows VALUES (1, 'old', now(), now() - interval '1 day'), (1, 'free', now(), now())")
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    database("DELETE FROM rows WHERE plan = 'old'")
    reported(database, "deleted", 1)
    with caplog.at_level(logging.WARNING):
        materialize(view, offline, online)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


REPLACED = {
    "materialized view refreshed": (
        "CREATE TABLE base (id int, plan text, created_at timestamptz DEFAULT now(), ts timestamptz); "
        "CREATE MATERIALIZED VIEW rows AS SELECT * FROM base",
        "INSERT INTO base VALUES (1, 'pro', now() - interval '1 day', now() - interval '2 days'); "
        "REFRESH MATERIALIZED VIEW rows",
        "materialized view public.rows was refreshed",
    ),
    "truncated and reloaded": (
        "CREATE TABLE rows (id int, plan text, created_at timestamptz, ts timestamptz)",
        "TRUNCATE rows; INSERT INTO rows VALUES (1, 'pro', now() - interval '1 day', now() - interval '2 days')",
        "table public.rows was truncated or rewritten",
    ),
    "swapped": (
        "CREATE TABLE rows (id int, plan text, created_at timestamptz, ts timestamptz)",
        "CREATE TABLE other AS SELECT 1 AS id, 'pro' AS plan, now() - interval '1 day' AS created_at, "
        "now() - interval '2 days' AS ts; DROP TABLE rows; ALTER TABLE other RENAME TO rows",
        "table public.rows is new or was replaced",
    ),
    "view redefined": (
        "CREATE VIEW rows AS SELECT 1 AS id, 'free' AS plan, now() - interval '1 day' AS created_at, "
        "now() - interval '2 days' AS ts",
        "CREATE OR REPLACE VIEW rows AS SELECT 1 AS id, 'pro' AS plan, now() - interval '1 day' AS created_at, "
        "now() - interval '2 days' AS ts",
        "view public.rows was redefined",
    ),
    "partition attached": (
        "CREATE TABLE rows (id int, plan text, created_at timestamptz, ts timestamptz) PARTITION BY RANGE (ts); "
        "CREATE TABLE rows_now PARTITION OF rows FOR VALUES FROM ('2020-01-01') TO ('2200-01-01')",
        "CREATE TABLE rows_old AS SELECT 1 AS id, 'pro' AS plan, now() - interval '1 day' AS created_at, "
        "'2019-05-05'::timestamptz AS ts; "
        "ALTER TABLE rows ATTACH PARTITION rows_old FOR VALUES FROM ('2019-01-01') TO ('2020-01-01')",
        "table public.rows_old was attached with rows that are older than the last run",
    ),
    "child added": (
        "CREATE TABLE rows (id int, plan text, created_at timestamptz, ts timestamptz)",
        "CREATE TABLE child () INHERITS (rows); "
        "INSERT INTO child VALUES (1, 'pro', now() - interval '1 day', now() - interval '2 days')",
        "table public.child was attached with rows that are older than the last run",
    ),
}


@pytest.mark.parametrize("is_query", [False, True])
@pytest.mark.parametrize("shape", REPLACED)
def test_rows_that_are_replaced_as_a_whole_make_the_next_run_read_everything_and_say_why(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]], shape: str, is_query: bool,
) -> None:  # fmt: skip
    before, change, _ = REPLACED[shape]
    database(before)
    view = make_view(source={**CREATED, **({"query": "SELECT * FROM rows"} if is_query else {})}, features=["plan"])
    materialize(view, offline, online)
    materialize(view, offline, online)
    assert online.runs(view)[0]["kind"] == "incremental"
    assert not has_pending_rows(view, offline, online)
    database(change)
    materialize(view, offline, online)
    assert plans(view)[0] == "pro"
    assert online.runs(view)[0]["kind"] == "full"
    materialize(view, offline, online)
    assert online.runs(view)[0]["kind"] == "incremental"


def test_the_log_says_why_everything_is_read(
    database: Database,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number, (before, change, reason) in enumerate(REPLACED.values()):
        database("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        database(before)
        view = make_view(name=f"view_{number}", source=CREATED, features=["plan"])
        materialize(view, offline, online, full=True)
        database(change)
        with caplog.at_level(logging.INFO):
            caplog.clear()
            materialize(view, offline, online)
        assert reason in told(caplog)


def test_a_new_partition_that_holds_new_rows_only_is_read_by_an_increment(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]],
) -> None:  # fmt: skip
    database(REPLACED["partition attached"][0])
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    database("CREATE TABLE rows_old PARTITION OF rows FOR VALUES FROM ('2019-01-01') TO ('2020-01-01'); "
             "INSERT INTO rows VALUES (1, 'pro', now(), '2019-05-05')")  # fmt: skip
    materialize(view, offline, online)
    assert plans(view)[0] == "pro"
    assert online.runs(view)[0]["kind"] == "incremental"


def test_a_materialized_view_that_is_refreshed_concurrently_is_read_again(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]],
) -> None:  # fmt: skip
    before, _, _ = REPLACED["materialized view refreshed"]
    database(f"{before}; CREATE UNIQUE INDEX ON rows (id)")
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    database("INSERT INTO base VALUES (1, 'pro', now() - interval '1 day', now() - interval '2 days')")
    database("REFRESH MATERIALIZED VIEW CONCURRENTLY rows")
    reported(database, "inserted", 1)
    materialize(view, offline, online)
    assert plans(view)[0] == "pro"


FUTURE = datetime(2062, 1, 1, tzinfo=UTC)


@pytest.fixture
def forecasts(database: Database) -> Database:
    database("CREATE TABLE rows (id int, plan text, created_at timestamptz DEFAULT now(), ts timestamptz)")
    database("INSERT INTO rows VALUES (1, 'now', now(), now()), (1, 'future', now(), %s)", FUTURE)
    return database


def test_a_row_from_the_future_is_counted_and_warned_of(
    forecasts: Database,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    view = make_view(source=CREATED, features=["plan"])
    with caplog.at_level(logging.WARNING):
        result = materialize(view, offline, online)
    assert (result.rows_read, result.rows_written, result.rows_future) == (1, 1, 1)
    assert "has a row of the future: id=1, 2062-01-01T00:00:00.000000Z" in told(caplog)
    assert "1 row(s) have an event timestamp in the future, up to 2062-01-01T00:00:00" in told(caplog)
    assert online.runs(view)[0]["rows_future"] == 1


@pytest.mark.parametrize("future_rows", ["warn", "allow"])
@pytest.mark.parametrize("is_push", [False, True])
def test_a_row_from_the_future_says_nothing_of_freshness(
    forecasts: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    caplog: pytest.LogCaptureFixture, future_rows: str, is_push: bool,
) -> None:  # fmt: skip
    view = make_view(source={**CREATED, "future_rows": future_rows}, features=["plan"])
    with caplog.at_level(logging.WARNING):
        if is_push:
            pushed = online.push(view, [{"id": 1, "ts": FUTURE, "plan": "future"}])
            assert pushed.rows_future == 1
        else:
            materialize(view, offline, online)
    assert ("in the future" in told(caplog)) == (future_rows == "warn")
    assert online.freshness(view).max_event_timestamp is None
    check = ViewFreshnessCheck(view=view, max_staleness=timedelta(days=1), measure="event_timestamp")
    assert not online.check(check).is_fresh
    of_entity = EntityFreshnessCheck(view=view, entities=[{"id": 1}], max_staleness=timedelta(days=1))
    finding = online.check(of_entity)
    assert not finding.is_fresh
    if not is_push:
        assert "in the future)" in finding.message


@pytest.mark.parametrize("index", ["", "CREATE INDEX ON rows (id, ts)"])
def test_a_rejected_row_from_the_future_does_not_hide_the_one_of_the_present(
    forecasts: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]], index: str, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    if index:  # deep enough for a skip scan
        forecasts("INSERT INTO rows SELECT 100 + i % 1000, 'old', now(), now() - i * interval '1 min' "
                  f"FROM generate_series(1, 100000) AS i; {index}; ANALYZE rows")  # fmt: skip
    view = make_view(source={**CREATED, "future_rows": "reject"}, features=["plan"])
    with caplog.at_level(logging.INFO):
        result = materialize(view, offline, online)
    assert ("skip scan" in told(caplog)) == bool(index)
    assert plans(view)[0] == "now"
    others = 1000 if index else 0
    assert (result.rows_read, result.rows_written, result.rows_rejected) == (2 + others, 1 + others, 1)
    assert result.rows_future == 0
    assert "rejects a row without an entity or an event timestamp, or of the future: id='1', ts='2062" in told(caplog)
    pushed = online.push(
        view, [{"id": 1, "ts": FUTURE, "plan": "future"}, {"id": 2, "ts": datetime.now(UTC), "plan": "b"}]
    )
    assert (pushed.rows_written, pushed.rows_rejected) == (1, 1)
    assert plans(view)[:2] == ["now", "b"]


@pytest.mark.parametrize("kind", ["timestamp", "date"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_naive_rows_from_the_future_are_rejected(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, kind: str, zone: str
) -> None:
    database(f"CREATE TABLE rows (id int, plan text, ts {kind})")
    database("INSERT INTO rows VALUES (1, 'now', now() - interval '2 days'), (2, 'future', now() + interval '3 days')")
    view = make_view(source={"future_rows": "reject", "timezone": zone}, features=["plan"])
    result = materialize(view, offline, online)
    assert (result.rows_written, result.rows_rejected) == (1, 1)


def test_an_unknown_way_with_future_rows_is_refused(make_view: MakeView) -> None:
    with pytest.raises(FeatureViewError, match="future_rows='drop' is unknown -> choose one of 'warn', 'reject'"):
        make_view(source={"future_rows": "drop"})


def test_an_increment_without_an_index_says_which_would_serve(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    database(ACCOUNTS.format("timestamptz"))
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    with caplog.at_level(logging.INFO):
        materialize(view, offline, online)
        assert "CREATE INDEX" not in told(caplog)
        monkeypatch.setattr(reading, "COSTLY_SCAN", 0)
        materialize(view, offline, online)
    assert "CREATE INDEX ON rows (ts); CREATE INDEX ON rows (created_at)" in told(caplog).replace('"', "")


LATE = {
    "materialized view": ("CREATE MATERIALIZED VIEW rows AS SELECT * FROM base", "materialized view public.rows"),
    "view of one": (
        "CREATE MATERIALIZED VIEW beneath AS SELECT * FROM base; CREATE VIEW rows AS SELECT * FROM beneath",
        "materialized view public.beneath",
    ),
    "subscribed table": (
        "ALTER TABLE base RENAME TO rows; SET allow_system_table_mods = on; "
        "CREATE SUBSCRIPTION {subscription} CONNECTION 'dbname=none' PUBLICATION p "
        "WITH (connect = false, slot_name = NONE); "
        "INSERT INTO pg_subscription_rel SELECT oid, 'rows'::regclass, 'r', NULL FROM pg_subscription",
        "table public.rows, which logical replication writes",
    ),
}


@pytest.mark.parametrize("shape", LATE)
def test_increments_look_back_where_rows_appear_later_than_they_were_created_and_say_so(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    caplog: pytest.LogCaptureFixture, shape: str,
) -> None:  # fmt: skip
    create, said = LATE[shape]
    database("CREATE TABLE base (id int, plan text, created_at timestamptz DEFAULT now(), ts timestamptz)")
    database(create.format(subscription=make_view().project))
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    cursor = online.state(view).cursor
    assert cursor is not None
    with caplog.at_level(logging.WARNING):
        result = materialize(view, offline, online)
    assert f"reads {said}: rows appear there later than they were created" in told(caplog)
    assert result.start is not None
    # A view may have cut off parts of a second.
    assert timedelta(hours=1) <= cursor - result.start <= timedelta(hours=1, seconds=1)
    if shape == "subscribed table":
        database(f"DROP SUBSCRIPTION {make_view().project}")


def test_a_row_from_the_future_is_put_right_as_the_guide_says(
    forecasts: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]],
) -> None:  # fmt: skip
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    forecasts("UPDATE rows SET ts = now() WHERE plan = 'future'")
    materialize(view, offline, online, full=True)
    assert plans(view)[0] == "future"


def test_a_slowly_changing_table_serves_the_current_row(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]],
) -> None:  # fmt: skip
    database("CREATE TABLE rows (id int, plan text, valid_from timestamptz, valid_to timestamptz)")
    database("INSERT INTO rows VALUES (1, 'free', now() - interval '2 days', NULL)")
    view = make_view(source={"timestamp_field": "valid_from"}, features=["plan"])
    materialize(view, offline, online)
    database("UPDATE rows SET valid_to = now(); INSERT INTO rows VALUES (1, 'pro', now(), NULL)")
    materialize(view, offline, online)
    assert plans(view)[0] == "pro"


@pytest.mark.parametrize("source", [CREATED, {}])
def test_a_snapshot_per_day_is_read_when_it_is_loaded(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]], source: dict[str, str],
) -> None:  # fmt: skip
    database("CREATE TABLE rows (id int, plan text, created_at timestamptz DEFAULT now(), ts date)")
    database("INSERT INTO rows VALUES (1, 'yesterday', now(), current_date - 1)")
    view = make_view(source=source, features=["plan"])
    materialize(view, offline, online)
    database("INSERT INTO rows VALUES (1, 'today', now(), current_date)")
    materialize(view, offline, online)
    assert plans(view)[0] == "today"


def day(database: Database, number: int) -> None:
    """Make the partition of a day, with one row of now."""
    database(
        f"CREATE TABLE day_{number} PARTITION OF rows FOR VALUES IN ({number}); "
        f"INSERT INTO rows VALUES ({number}, 'free', now(), now(), {number})"
    )


PARTITIONED = (
    "CREATE TABLE rows (id int, plan text, created_at timestamptz, ts timestamptz, day int) PARTITION BY LIST (day)"
)
SOURCES = {
    "table": {},
    "view": {"table": "shown"},
    "query": {"query": "SELECT id, plan, created_at, ts FROM rows WHERE id > 0"},
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("created", [CREATED, {}])
def test_a_new_partition_each_day_does_not_make_runs_read_everything(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]], source: str, created: dict[str, str],
) -> None:  # fmt: skip
    database(f"{PARTITIONED}; CREATE VIEW shown AS SELECT id, plan, created_at, ts FROM rows")
    day(database, 1)
    view = make_view(source={**created, **SOURCES[source]}, features=["plan"])
    materialize(view, offline, online)
    for number in (2, 3):
        day(database, number)
        materialize(view, offline, online)
        assert online.runs(view)[0]["kind"] == "incremental"
    assert plans(view) == ["free", "free", "free", None, None]


@pytest.mark.parametrize(
    "child", ["CREATE TABLE day_2 PARTITION OF rows FOR VALUES IN (2)", "CREATE TABLE c () INHERITS (rows)"]
)
def test_a_role_that_may_read_the_table_alone_meets_new_partitions(
    database: Database, make_view: MakeView, online: OnlineStore, child: str
) -> None:
    database(PARTITIONED if "PARTITION" in child else PARTITIONED.partition(" PARTITION")[0])
    role = f"reader_{make_view().project}"
    database(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT SELECT ON rows TO {role}")
    offline = OfflineStore(f"postgresql://{role}:x@{database.uri.rpartition('@')[2]}")
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    database(child)
    materialize(view, offline, online)
    assert online.runs(view)[0]["kind"] == "incremental"
    name = "day_2" if "PARTITION" in child else "c"
    database(f"INSERT INTO {name} VALUES (1, 'old', now() - interval '1 day', now() - interval '1 day', 2)")
    database(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_partition_attached_with_older_rows_is_found_by_a_role_that_may_read_the_table_alone(
    database: Database, make_view: MakeView, online: OnlineStore
) -> None:
    database(PARTITIONED)
    role = f"reader_{make_view().project}"
    database(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT SELECT ON rows TO {role}")
    offline = OfflineStore(f"postgresql://{role}:x@{database.uri.rpartition('@')[2]}")
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    database("CREATE TABLE late AS SELECT 1 AS id, 'old' AS plan, now() - interval '1 day' AS created_at, "
             "now() - interval '2 days' AS ts, 2 AS day; "
             "ALTER TABLE rows ATTACH PARTITION late FOR VALUES IN (2)")  # fmt: skip
    materialize(view, offline, online)
    assert online.get_online_features(view, [{"id": 1}])[0].values == {"plan": "old"}
    database(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize(
    "create",
    [
        "CREATE DOMAIN seconds AS timestamptz(0); "
        "CREATE TABLE rows (id int, plan text, created_at seconds DEFAULT clock_timestamp(), ts timestamptz)",
        "CREATE TABLE base (id int, plan text, c timestamptz DEFAULT clock_timestamp(), ts timestamptz); "
        "CREATE VIEW rows AS SELECT id, plan, date_trunc('second', c) AS created_at, ts FROM base",
    ],
)
def test_coarse_timestamps_of_domains_and_views_lose_no_rows(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]], create: str,
) -> None:  # fmt: skip
    database(create)
    table = "base" if "base" in create else "rows"
    view = make_view(source=CREATED, features=["plan"])
    for number in range(1, 6):
        materialize(view, offline, online)
        database(f"INSERT INTO {table} (id, plan, ts) VALUES ({number}, 'free', now() - interval '1 day')")
    materialize(view, offline, online)
    assert plans(view) == ["free"] * 5


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


ORDINARY_DAYS = {
    "late rows that are looked back for": (
        "CREATE TABLE rows (id int, plan text, ts timestamptz)", {},
        ["INSERT INTO rows VALUES (1, 'late', now() - interval '5 min')"], ("inserted", 1),
    ),
    "a slowly changing table": (
        "CREATE TABLE rows (id int, plan text, ts timestamptz, valid_to timestamptz)", {},
        ["UPDATE rows SET valid_to = now() WHERE valid_to IS NULL; INSERT INTO rows VALUES (1, 'next', now(), NULL)"],
        ("inserted", 1),
    ),
    "rows deleted and inserted again": (
        ACCOUNTS.format("timestamptz"), CREATED,
        ["DELETE FROM rows; INSERT INTO rows (id, plan) SELECT i, 'again' FROM generate_series(1, 5) AS i"],
        ("deleted", 5),
    ),
    "a deletion that is rolled back": (
        ACCOUNTS.format("timestamptz"), CREATED,
        ["DO $$ BEGIN BEGIN DELETE FROM rows; RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL; END; END $$"],
        ("deleted", 5),
    ),
    "upserts": (
        ACCOUNTS.format("timestamptz"), CREATED,
        ["INSERT INTO rows (id, plan) VALUES (1, 'pro'), (9, 'new') "
         "ON CONFLICT (id) DO UPDATE SET plan = excluded.plan, ts = now()"], ("updated", 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", ORDINARY_DAYS)
def test_ordinary_days_raise_no_alarm(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    caplog: pytest.LogCaptureFixture, shape: str,
) -> None:  # fmt: skip
    create, created, changes, (counter, at_least) = ORDINARY_DAYS[shape]
    database(create)
    view = make_view(source=created, features=["plan"])
    materialize(view, offline, online)
    for number in range(1, 4):
        for change in changes:
            database(change)
        reported(database, counter, at_least * number)
        materialize(view, offline, online)
    assert warnings(caplog) == []


def test_a_transaction_in_another_database_raises_no_alarm(
    database: Database, postgres_uri: str, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    database(
        "CREATE TABLE rows (id int, plan text, created_at timestamptz DEFAULT now(), ts timestamptz DEFAULT now())"
    )
    view = make_view(source=CREATED, features=["plan"])
    other = psycopg2.connect(postgres_uri)
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
    materialize(view, offline, online)
    for number in range(1, 4):
        database(f"INSERT INTO rows VALUES ({number}, 'free')")
        reported(database, "inserted", number)
        materialize(view, offline, online)
    other.rollback()
    other.close()
    assert warnings(caplog) == []


def test_a_row_changed_in_place_to_be_of_the_future_is_warned_of_and_read_in_full(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore,
    plans: Callable[[FeatureView], list[Any]], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    database(ACCOUNTS.format("timestamptz"))
    view = make_view(source=CREATED, features=["plan"])
    materialize(view, offline, online)
    database("UPDATE rows SET plan = 'typo', ts = %s WHERE id = 1", FUTURE)
    reported(database, "updated", 1)
    materialize(view, offline, online)
    assert plans(view)[0] == "free"
    assert "rows were given event timestamps in the future (1 of a sample)" in told(caplog)
    assert "without a new timestamp" not in told(caplog)
    assert materialize(view, offline, online, full=True).rows_future == 1
    assert plans(view)[0] == "typo"
