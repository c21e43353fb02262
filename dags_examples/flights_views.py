"""Feature views of the flights example, for the DAGs that write them and the services that read them."""

from __future__ import annotations

from datetime import timedelta

from online_features import FeatureView, PostgresSource

plane_trips = FeatureView(
    name="plane_trips",
    project="flights",
    entities=["tailnum"],
    features=["carrier", "flight", "origin", "dest", "dep_delay", "arr_delay", "distance"],
    source=PostgresSource(
        table="nycflights.flights",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_at",
    ),
    max_staleness=timedelta(minutes=10),
)

airport_weather = FeatureView(
    name="airport_weather",
    project="flights",
    entities=["origin"],
    source=PostgresSource(
        table="nycflights.weather",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_at",
    ),
    ttl=timedelta(days=7),
    max_staleness=timedelta(minutes=10),
)

# Only pushed, never materialized: the table of its source need not exist.
carrier_delays = FeatureView(
    name="carrier_delays",
    project="flights",
    entities=["carrier"],
    features=["flights", "mean_delay"],
    source=PostgresSource(table="nycflights.carrier_delays", timestamp_field="event_timestamp"),
    ttl=timedelta(days=7),
)
