"""The whole of the demo's data, compared with what Postgres says, value by value."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize
from psycopg2.extras import RealDictCursor

from demo.flights import Flights
from tests.support.servers.databases import Database

SOURCE = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created_at"}


@pytest.mark.parametrize("table, entity", [("flights", "tailnum"), ("weather", "origin")])
def test_every_entity_is_exactly_the_newest_row_in_postgres(
    database: Database, offline: OfflineStore, online: OnlineStore, project: str, table: str, entity: str
) -> None:
    flights = Flights(database.uri)
    flights.stage()
    flights.release(timedelta(0))
    source = PostgresSource(table=f"nycflights.{table}", **SOURCE)
    view = FeatureView(name=table, project=project, entities=[entity], source=source)
    result = materialize(view, offline, online, full=True)
    newest = newest_rows(database.uri, table, entity)
    assert result.rows_written == len(newest)
    assert result.rows_rejected == (2512 if table == "flights" else 0)
    online_rows = online.get_online_features(view, [{entity: row[entity]} for row in newest])
    for expected, row in zip(newest, online_rows, strict=True):
        found = {entity: row.entity[entity], "event_timestamp": row.event_timestamp, **row.values}
        del expected["created_at"]
        assert found == expected


def newest_rows(uri: str, table: str, entity: str) -> list[dict[str, Any]]:
    with closing(psycopg2.connect(uri)) as connection, connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(
            f"SELECT DISTINCT ON ({entity}) * FROM nycflights.{table} WHERE {entity} IS NOT NULL "
            f"ORDER BY {entity}, event_timestamp DESC, created_at DESC"
        )
        return [dict(row) for row in cursor]
