"""A view's query reads: it ends in time, writes nothing, and is nothing but one query, however it is written."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import (
    OfflineAccessError,
    OfflineStoreUnavailableError,
    OnlineFeaturesError,
    OptionError,
    SourceError,
)
from online_features.window import Window
from online_features_provider.hooks.offline import OfflineStoreHook
from sqlalchemy.engine import make_url

from demo.workplace import PROJECT
from tests.conftest import at
from tests.materialization.test_broken_off import SLOW
from tests.support.processes import until
from tests.support.servers.databases import Database, new_database

MakeView = Callable[..., FeatureView]

VICTIM = """
    CREATE TABLE victim (id int);
    CREATE SEQUENCE numbers;
    CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO victim VALUES (1) RETURNING id';
    CREATE FUNCTION ends() RETURNS int LANGUAGE plpgsql AS 'BEGIN COMMIT; RETURN 1; END'
"""
UNHARMED = "SELECT to_regclass('victim') IS NOT NULL, to_regclass('leaked') IS NULL, (SELECT is_called FROM numbers)"
ATTACK = "COMMIT; BEGIN READ WRITE; DROP TABLE victim; CREATE TABLE leaked (x int); COMMIT"
ROW = "SELECT 1 AS id, timestamptz '2026-01-01 00:30Z' AS ts"

BREAKOUTS = [
    f"{ROW}) AS source; {ATTACK}; SELECT * FROM ({ROW}",
    f"{ROW}\n) AS source LIMIT 0; {ATTACK}; --",
    f"{ROW}) AS source; {ATTACK}; /*",
    f"{ROW}) AS source; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; {ATTACK}; SELECT * FROM ({ROW}",
    f"{ROW}; {ATTACK}",
    f"{ROW}; {ATTACK}; --",
    f"{ATTACK}; {ROW}",
    f"{ROW}, '\\') AS source; {ATTACK}; SELECT * FROM ({ROW}, ' AS x",
    f"{ROW}, E'\\'') AS source; {ATTACK}; SELECT * FROM ({ROW}, ' AS x",
    f"{ROW}, $$) AS source; {ATTACK}; SELECT * FROM ({ROW}, $",
    f"{ROW}, U&'\\0027) AS source; {ATTACK}; --",
    f"{ROW} -- '\n) AS source; {ATTACK}; SELECT * FROM ({ROW} -- '",
    f"{ROW} /* /* */ ) AS source; {ATTACK}; --",
    f'{ROW}, 1 AS "x) AS source; {ATTACK}; --',
    f"{ROW} AS %s) AS source; {ATTACK}; --",
    f"{ROW} UNION SELECT :x) AS source; {ATTACK}; --",
    ATTACK,
    "DROP TABLE victim",
    "COPY victim TO PROGRAM 'touch leaked'",
]
WRITES = [
    "SELECT nextval('numbers') AS id, now() AS ts",
    "SELECT setval('numbers', 7) AS id, now() AS ts",
    "SELECT writes() AS id, now() AS ts",
    "SELECT ends() AS id, now() AS ts",
    "SELECT id, now() AS ts FROM victim FOR UPDATE",
    "SELECT 1 AS id, now() AS ts INTO leaked",
    "WITH gone AS (DELETE FROM victim RETURNING id) SELECT id, now() AS ts FROM gone",
    f"SELECT *, set_config('transaction_read_only', 'off', false) AS x FROM ({ROW}) AS row",
    f"SELECT *, set_config('transaction_isolation', 'read committed', true) AS x FROM ({ROW}) AS row",
    f"SELECT *, query_to_xml('DROP TABLE victim', true, true, '')::text AS x FROM ({ROW}) AS row",
]


@pytest.fixture(scope="module")
def database(postgres_uri: str) -> Iterator[Database]:
    with new_database(postgres_uri) as database:
        database(VICTIM)
        yield database


@pytest.mark.parametrize("query", [*BREAKOUTS, *WRITES])
def test_a_query_that_would_write_or_break_out_is_refused_and_nothing_is_harmed(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, query: str
) -> None:
    with pytest.raises(SourceError, match=" -> "):
        materialize(make_view(source={"query": query}), offline, online)
    assert database(UNHARMED) == [(True, True, False)]


LOOK = f"{ROW}) AS source); {ATTACK}; SELECT EXISTS (SELECT * FROM ({ROW}"


@pytest.mark.parametrize("query", [LOOK, *WRITES])
def test_a_look_for_rows_harms_nothing_either(
    database: Database, make_view: MakeView, offline: OfflineStore, query: str
) -> None:
    schema = offline.describe(make_view(source={"query": ROW}))
    with pytest.raises(SourceError, match=" -> "):
        offline._source(make_view(source={"query": query})).has_rows(schema, Window())
    assert database(UNHARMED) == [(True, True, False)]


LITERALS = [
    "'it''s'", r"'back\slash'", r"E'it\'s'", "$$'; -- $$", "$a$ $$ $a$", r"U&'\0041\0027'", "'%s %(x)s %%'",
    r"':x ::y \:z'", "'/* not a comment'", "'-- nor this'", "')'", "';'",
]  # fmt: skip


def test_whatever_literals_hold_comes_online_as_it_is(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    texts = ", ".join(f"{literal}::text AS x{i}" for i, literal in enumerate(LITERALS))
    view = make_view(source={"query": f"SELECT *, {texts} FROM ({ROW}) AS row /* ' */; "})
    materialize(view, offline, online)
    (row,) = online.get_online_features(view, [{"id": 1}])
    (expected,) = database(f"SELECT {texts}")
    assert tuple(row.values.values()) == expected


def test_what_a_query_sets_is_gone_with_its_session(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    settings = "set_config('default_transaction_read_only', 'off', false) || set_config('search_path', 'x', false)"
    view = make_view(source={"query": f"SELECT *, {settings} || pg_advisory_lock(7)::text AS x FROM ({ROW}) AS row"})
    materialize(view, offline, online)
    until(lambda: database("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)])
    with pytest.raises(SourceError, match="read-only"):
        materialize(make_view(source={"query": WRITES[0]}), offline, online)


@pytest.mark.parametrize("query", SLOW.values(), ids=SLOW)
def test_a_query_ends_when_its_time_is_over(
    database: Database, make_view: MakeView, online: OnlineStore, query: str
) -> None:
    view = make_view(source={"query": query})
    hasty = OfflineStore(database.uri, statement_timeout=timedelta(milliseconds=200))
    began = time.monotonic()
    with pytest.raises(
        OfflineStoreUnavailableError, match="statement timeout -> .* raise statement_timeout, of OfflineSt"
    ):
        materialize(view, hasty, online, start=at(0), end=at(1))
    assert time.monotonic() - began < 5
    assert not online.freshness(view).is_materialized


def test_a_time_out_that_is_none_leaves_that_of_the_connection(
    database: Database, make_view: MakeView, online: OnlineStore
) -> None:
    uri = f"{database.uri}?options=-c%20statement_timeout%3D200"
    view = make_view(source={"query": f"SELECT * FROM ({ROW}) AS row WHERE pg_sleep(0.5) IS NOT NULL"})
    with pytest.raises(OfflineStoreUnavailableError, match="statement timeout"):
        materialize(view, OfflineStore(uri), online)
    assert materialize(view, OfflineStore(uri, statement_timeout=timedelta(minutes=1)), online).rows_written == 1


@pytest.mark.parametrize(
    "timeout", [timedelta(0), timedelta(microseconds=999), timedelta(seconds=-1), timedelta(days=25)]
)
def test_a_time_out_that_postgres_does_not_take_is_refused(timeout: timedelta) -> None:
    with pytest.raises(OptionError, match=f"{re.escape(repr(timeout))}.* -> give one millisecond to 24 days"):
        OfflineStore("postgresql://", statement_timeout=timeout)


def test_the_hook_hands_a_time_out_on(database: Database, make_view: MakeView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OFFLINE_STORE", database.uri)
    store = OfflineStoreHook().get_store(statement_timeout=timedelta(milliseconds=100))
    view = make_view(source={"query": f"SELECT * FROM ({ROW}) AS row WHERE pg_sleep(9) IS NOT NULL"})
    with pytest.raises(OnlineFeaturesError, match="statement timeout"):
        store._source(view).has_rows(store.describe(view), Window(end=at(1)))


@pytest.fixture(scope="module")
def reader(database: Database) -> Iterator[str]:
    """The URI of a role that may read, and no more."""
    role = f"reader_{uuid.uuid4().hex[:8]}"
    database(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    yield make_url(database.uri).set(username=role, password="secret").render_as_string(hide_password=False)
    database(f"DROP OWNED BY {role}; DROP ROLE {role}")


SUPERUSERS = "SELECT pid FROM pg_stat_activity WHERE usename = 'postgres' LIMIT 1"


@pytest.mark.parametrize("call", [
    "pg_read_file('PG_VERSION')", "pg_switch_wal()", "pg_reload_conf()", "lo_export(1, '/tmp/leaked')",
    f"pg_terminate_backend(({SUPERUSERS}))",
])  # fmt: skip
def test_what_a_read_only_transaction_lets_pass_the_roles_grants_do_not(
    reader: str, make_view: MakeView, online: OnlineStore, call: str
) -> None:
    view = make_view(source={"query": f"SELECT *, {call}::text AS x FROM ({ROW}) AS row"})
    with pytest.raises(OfflineAccessError, match="permission denied|must be a superuser"):
        materialize(view, OfflineStore(reader), online)


@pytest.mark.parametrize(
    "call", ["pg_advisory_lock(8)", "pg_notify('said', 'x')", "set_config('work_mem', '1MB', false)"]
)
def test_what_neither_prevents_is_documented(reader: str, make_view: MakeView, online: OnlineStore, call: str) -> None:
    view = make_view(source={"query": f"SELECT *, {call}::text AS x FROM ({ROW}) AS row"})
    assert materialize(view, OfflineStore(reader), online).rows_written == 1
    assert f"`{call.partition('(')[0]}`" in (PROJECT / "docs" / "operators.md").read_text()
