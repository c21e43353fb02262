"""Views whose sources are divided into parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from online_features import FeatureView

from tests.support.servers.databases import Database


@pytest.fixture
def pairs(database: Database, make_view: Callable[..., FeatureView]) -> FeatureView:
    """200 entities with composite keys and three rows each, some of them deleted, and rows that are rejected."""
    database("CREATE TABLE rows (id text, of int, ts timestamptz, x int, price numeric, gone boolean)")
    database(
        "INSERT INTO rows SELECT 'k' || n % 100, n % 2, timestamptz '2026-01-01Z' + n * interval '1 minute', "
        "nullif(n % 7, 0), n / 8.0, n % 11 = 0 FROM generate_series(1, 600) AS n"
    )
    database("INSERT INTO rows VALUES (NULL, 1, now(), 1), ('a', NULL, now(), 2), (NULL, NULL, now(), 3)")
    database("INSERT INTO rows VALUES ('b', 1, NULL, 4), ('c', 1, 'infinity', 5)")
    return make_view(entities=["id", "of"], features=["x", "price"], source={"deleted_field": "gone"})


@pytest.fixture
def small(database: Database, make_view: Callable[..., FeatureView]) -> Callable[..., FeatureView]:
    """Makes views of 100 entities, ``x`` from 1 to 100."""
    database(
        "CREATE TABLE rows AS SELECT n AS id, now() - interval '1 day' AS ts, n AS x FROM generate_series(1, 100) AS n"
    )
    return lambda **changed: make_view(**{"features": ["x"], **changed})
