"""Two feature views for whoever looks at the demo: one that is late, and one with a build that failed a check."""

from __future__ import annotations

from contextlib import closing, suppress
from datetime import timedelta

import psycopg2
from online_features import (
    ChecksFailedError,
    FeatureView,
    OfflineStore,
    OnlineStore,
    PostgresSource,
    checks,
    materialize,
    verify,
)

# As tasks of Airflow say it: with these connections, the page of an entity can ask both stores.
ORIGIN = {"postgres_conn_id": "offline_store", "redis_conn_id": "online_store"}

# Materialized once, and by no DAG.
late_arrivals = FeatureView(
    name="late_arrivals",
    project="flights",
    entities=["tailnum"],
    features=["carrier", "arr_delay"],
    source=PostgresSource(
        table="nycflights.flights", timestamp_field="event_timestamp", created_timestamp_column="created_at"
    ),
    max_staleness=timedelta(seconds=30),
)

route_delays = FeatureView(
    name="route_delays",
    project="flights",
    entities=["origin", "dest"],
    features=["carrier", "dep_delay", "distance"],
    source=PostgresSource(table="nycflights.route_delays", timestamp_field="event_timestamp"),
    max_staleness=timedelta(days=1),
    checks=[checks.nulls("dep_delay", at_most=0.1), checks.rows(at_least=100, change=0.2)],
)

COPY = "CREATE TABLE nycflights.route_delays AS SELECT * FROM nycflights.flights"
DAMAGE = """
    UPDATE nycflights.route_delays SET dep_delay = CASE WHEN dest < 'L' THEN dep_delay * 3 END,
        event_timestamp = event_timestamp + interval '1 minute'"""


def show_views(postgres_uri: str, redis_url: str) -> None:
    """Put the two views online; their data are in the flights database."""
    offline, online = OfflineStore(postgres_uri), OnlineStore.from_url(redis_url)
    materialize(late_arrivals, offline, online, origin=ORIGIN)
    verify(late_arrivals, offline, online, record=True)
    _execute(postgres_uri, COPY)
    materialize(route_delays, offline, online, origin=ORIGIN)
    _execute(postgres_uri, DAMAGE)
    with suppress(ChecksFailedError):  # so that its build is not published
        materialize(route_delays, offline, online, full=True, origin=ORIGIN)


def _execute(postgres_uri: str, statement: str) -> None:
    with closing(psycopg2.connect(postgres_uri)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
