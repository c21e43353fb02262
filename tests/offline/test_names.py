"""Names are taken literally, whatever they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize

from tests.conftest import at
from tests.support.servers.databases import Database

HOSTILE = ["order", "Mixed Case", 'quo"te', "100%", "%(x)s", "a:b", ":bind", "semi;colon--", "né", "back\\slash", "'"]


@pytest.mark.parametrize("name", HOSTILE)
def test_columns(
    database: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, name: str
) -> None:
    quoted = '"' + name.replace('"', '""').replace("%", "%%") + '"'
    database(f"CREATE TABLE rows (id text, ts timestamptz, {quoted} text)".replace("%%", "%"))
    database(f"INSERT INTO rows VALUES (%s, %s, %s)", "a", at(1), name)  # noqa: F541
    view = make_view(features=[name])
    materialize(view, offline, online)
    (row,) = online.get_online_features(view, [{"id": "a"}])
    assert row.values == {name: name}
    as_key = make_view(name="by-name", entities=[name], features=["id"])
    materialize(as_key, offline, online)
    (row,) = online.get_online_features(as_key, [{name: name}])
    assert row.values == {"id": "a"}


@pytest.mark.parametrize("schema, table", [("Other Schema", "order"), ("s%", "T.with.dots"), (None, "Mixed")])
def test_tables(
    database: Database,
    make_view: Callable[..., FeatureView],
    offline: OfflineStore,
    online: OnlineStore,
    schema: str | None,
    table: str,
) -> None:
    where = f'"{schema}"."{table}"' if schema else f'"{table}"'
    if schema:
        database(f'CREATE SCHEMA "{schema}"')
    database(f"CREATE TABLE {where} AS SELECT 'a'::text AS id, now() AS ts, 1 AS x")
    view = make_view(source={"table": f"{schema}.{table}" if schema else table})
    assert materialize(view, offline, online).rows_written == 1


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 'a' AS id, now() AS ts, ':x %(y)s 100%'::text AS x",
        "SELECT 'a'::text AS id, now() AS ts, ':x %(y)s 100%' AS x -- and a comment",
        "  WITH t AS (SELECT 'a' AS id) SELECT id, now()::timestamptz AS ts, E':x %(y)s 100\\x25' AS x FROM t ;\n",
    ],
)
def test_queries(make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, query: str) -> None:
    view = make_view(source={"query": query})
    materialize(view, offline, online)
    (row,) = online.get_online_features(view, [{"id": "a"}])
    assert row.values == {"x": ":x %(y)s 100%"}


def test_columns_named_like_our_own_labels(
    database: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> None:
    database(
        "CREATE TABLE rows (event_timestamp text, created_timestamp timestamptz, _event_timestamp timestamptz, "
        "key_0 text, feature_0 int, place int, source int)"
    )
    database("INSERT INTO rows VALUES ('a', %s, %s, 'x', 1, 1, 1)", at(1), at(5))
    database("INSERT INTO rows VALUES ('a', %s, %s, 'y', 2, 2, 2)", at(2), at(2))
    view = make_view(
        entities=["event_timestamp"],
        source={"timestamp_field": "created_timestamp", "created_timestamp_column": "_event_timestamp"},
    )
    assert materialize(view, offline, online, full=True, prune=True).rows_written == 1
    (row,) = online.get_online_features(view, [{"event_timestamp": "a"}])
    assert row.values == {"key_0": "y", "feature_0": 2, "place": 2, "source": 2}
