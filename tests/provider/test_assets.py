from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.openlineage.utils.utils import translate_airflow_asset
from airflow.sdk import Asset, Connection
from online_features import PostgresSource
from online_features.errors import FeatureViewError
from online_features_provider.assets.dataset_locations import online_location, source_location
from online_features_provider.assets.feature_view import feature_view_asset, sanitize_uri
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.push import PushOperator

from tests.support.views import VIEW

URI = f"online-features://{VIEW.project}/{VIEW.name}"
TABLE = replace(VIEW, source=PostgresSource(table="Sales.a/b", timestamp_field="ts"))


def test_the_asset_is_the_same_for_a_view_and_its_import_path() -> None:
    assert feature_view_asset(VIEW) == feature_view_asset("tests.test_feature_view.VIEW") == Asset(uri=URI)


def test_airflow_finds_handler_and_converter() -> None:
    with pytest.raises(ValueError, match="not the URI of a feature view"):
        Asset(uri="online-features://p/v/w")
    dataset = translate_airflow_asset(Asset(uri="online-features://p/v/"), None)
    assert dataset is not None
    assert (dataset.namespace, dataset.name) == ("online-features://p", "v")


@pytest.mark.parametrize("path", ["", "p", "p/", "p/a b", "p/v/other", "p/v/changes/x", "p/v?x=1", "u:secret@p/v"])
def test_what_is_no_uri_of_a_feature_view_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="write online-features://<project>/<view>") as refused:
        sanitize_uri(urlsplit(f"online-features://{path}"))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("make", [MaterializeOperator, lambda **kwargs: PushOperator(rows=[], **kwargs)])
def test_the_view_is_an_outlet_beside_the_users_own(make: Any) -> None:
    own = Asset("own")
    assert make(task_id="t", feature_view=VIEW, outlets=[own]).outlets == [own, Asset(uri=URI)]
    assert make(task_id="t", feature_view=VIEW, outlets=[Asset(uri=URI)]).outlets == [Asset(uri=URI)]
    assert make(task_id="t", feature_view=VIEW, emit="never").outlets == []
    with pytest.raises(FeatureViewError, match="choose one of changed, always, never"):
        make(task_id="t", feature_view=VIEW, emit="sometimes")


@pytest.mark.parametrize("fields, namespace, name", [
    ({"host": "db", "schema": "shop"}, "postgres://db:5432", "shop.Sales.a/b"),
    ({"host": "one,two", "port": 5433, "schema": "shop"}, "postgres://one:5433", "shop.Sales.a/b"),
    ({"login": "u", "password": "secret", "extra": '{"host": "/run/sock", "port": "1"}'},
     "postgres://localhost:1", "u.Sales.a/b"),
    ({"host": "::1", "schema": "shop"}, "postgres://[::1]:5432", "shop.Sales.a/b"),
])  # fmt: skip
def test_where_rows_come_from(fields: Any, namespace: str, name: str) -> None:
    place = source_location(Connection(conn_id="c", conn_type="postgres", **fields), TABLE)
    assert place is not None
    assert (place.namespace, place.name) == (namespace, name)
    assert place.asset.uri == f"{namespace}/{name.partition('.')[0]}/Sales/a%2Fb"


def test_a_table_without_a_schema_is_in_the_default_one_and_a_query_in_none() -> None:
    connection = Connection(conn_id="c", conn_type="postgres", host="db", schema="shop")
    place = source_location(connection, replace(VIEW, source=PostgresSource(table="t", timestamp_field="ts")))
    assert place is not None
    assert place.name == "shop.public.t"
    query = replace(VIEW, source=PostgresSource(query="SELECT 1", timestamp_field="ts"))
    assert source_location(connection, query) is None


SENTINELS = {"sentinels": "s2:26380,s1", "sentinel_master": "main", "db": 3}


@pytest.mark.parametrize("fields, extra, namespace, names", [
    ({"host": "cache", "password": "secret"}, {"db": 2}, "redis://cache:6379", "2"),
    ({}, {}, "redis://localhost:6379", "0"),
    ({"host": "::1", "port": 7}, {"db": "2"}, "redis://[::1]:7", "2"),
    ({}, SENTINELS, "redis://s1:26379", "main.3"),
    ({"host": "not-looked-at"}, {**SENTINELS, "sentinels": "s1,s2:26380"}, "redis://s1:26379", "main.3"),
    ({}, {**SENTINELS, "sentinel_master": "other"}, "redis://s1:26379", "other.3"),
    ({"host": "n2"}, {"cluster": True, "startup_nodes": "n1:7,n3"}, "redis://n1:7", "0"),
    ({"host": "n3"}, {"cluster": True, "startup_nodes": "n2,n1:7"}, "redis://n1:7", "0"),
])  # fmt: skip
def test_where_rows_go(fields: Any, extra: Any, namespace: str, names: str) -> None:
    connection = Connection(conn_id="c", conn_type="redis", extra=json.dumps(extra), **fields)
    place = online_location(connection, VIEW)
    assert (place.namespace, place.name) == (namespace, f"{names}.{VIEW.project}:{VIEW.name}")
