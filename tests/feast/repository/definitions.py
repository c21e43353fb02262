"""A Feast repository as its owner wrote it, for ``feast apply``: views that move over, and some that do not."""

from datetime import timedelta

from feast import (
    BatchFeatureView,
    Entity,
    FeatureView,
    Field,
    FileSource,
    KafkaSource,
    PushSource,
    StreamFeatureView,
    ValueType,
)
from feast.data_format import JsonFormat
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, Float64, Int32, Int64, Json, Map, String, UnixTimestamp, Uuid

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
shop = Entity(name="shop", value_type=ValueType.STRING)
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)

trips = PostgreSQLSource(
    name="trips", table="trips", timestamp_field="event_timestamp", created_timestamp_column="created"
)

driver_trips = FeatureView(
    name="driver_trips",
    entities=[driver],
    schema=[
        Field(name="trip_count", dtype=Int32),
        Field(name="rating", dtype=Float64),
        Field(name="started", dtype=UnixTimestamp),
        Field(name="event_timestamp", dtype=UnixTimestamp),
    ],
    source=PushSource(name="trips_push", batch_source=trips),
    ttl=timedelta(days=3650),
)

inferred = FeatureView(name="inferred", entities=[driver], source=trips)

shop_visits = FeatureView(
    name="shop_visits",
    entities=[shop, customer],
    schema=[Field(name="Visits", dtype=Int64), Field(name="tags", dtype=Array(String))],
    source=PostgreSQLSource(name="visits", table='public."Visits"', timestamp_field="at"),
)

declared = FeatureView(
    name="declared",
    entities=[driver],
    schema=[
        Field(name="trip_count", dtype=Int64),
        Field(name="rating", dtype=Float32),
        Field(name="device", dtype=Uuid),
        Field(name="settings", dtype=Json),
    ],
    source=PostgreSQLSource(
        name="devices",
        query="SELECT driver_id, event_timestamp, trip_count, rating, device, settings FROM trips WHERE trip_count > 0",
        timestamp_field="event_timestamp",
    ),
)

renamed = FeatureView(
    name="renamed",
    entities=[driver],
    schema=[Field(name="count", dtype=Int32), Field(name="rating", dtype=Float64)],
    source=PostgreSQLSource(
        name="renaming",
        table="trips",
        timestamp_field="at",
        created_timestamp_column="written",
        field_mapping={"trip_count": "count", "event_timestamp": "at", "created": "written"},
    ),
)

renamed_query = FeatureView(
    name="renamed_query",
    entities=[customer],
    schema=[Field(name="count", dtype=Int32)],
    source=PostgreSQLSource(
        name="renaming_query",
        query="SELECT driver_id::text AS who, event_timestamp, trip_count FROM trips WHERE trip_count > 0",
        timestamp_field="event_timestamp",
        field_mapping={"who": "customer_id", "trip_count": "count"},
    ),
)

streamed = StreamFeatureView(
    name="streamed",
    entities=[driver],
    schema=[Field(name="rating", dtype=Float64)],
    source=KafkaSource(
        name="trips_stream",
        kafka_bootstrap_servers="localhost:9092",
        topic="trips",
        message_format=JsonFormat(schema_json="rating double"),
        timestamp_field="event_timestamp",
        batch_source=trips,
    ),
)

# What follows does not move over.

not_online = FeatureView(
    name="not_online", entities=[driver], schema=[Field(name="rating", dtype=Float64)], source=trips, online=False
)
disabled = FeatureView(
    name="disabled", entities=[driver], schema=[Field(name="rating", dtype=Float64)], source=trips, enabled=False
)
of_nobody = FeatureView(name="of_nobody", schema=[Field(name="rating", dtype=Float64)], source=trips)
of_a_file = FeatureView(
    name="of_a_file",
    entities=[driver],
    schema=[Field(name="rating", dtype=Float64)],
    source=FileSource(name="file", path="drivers.parquet", timestamp_field="event_timestamp"),
)
mapped = FeatureView(name="mapped", entities=[driver], schema=[Field(name="rating", dtype=Map)], source=trips)
second = FeatureView(
    name="second", entities=[driver], schema=[Field(name="rating", dtype=Float64)], source=trips, version="v2"
)
age_long = FeatureView(
    name="age_long",
    entities=[driver],
    schema=[Field(name="rating", dtype=Float64)],
    source=trips,
    ttl=timedelta(days=40000),
)
transformed = BatchFeatureView(
    name="transformed",
    entities=[driver],
    schema=[Field(name="rating", dtype=Float64)],
    source=trips,
    online=True,
    mode="pandas",
    udf=lambda frame: frame,
    udf_string="lambda frame: frame",
)
derived = FeatureView(
    name="derived",
    entities=[driver],
    schema=[Field(name="rating", dtype=Float64)],
    source=driver_trips,
    sink_source=trips,
)


@on_demand_feature_view(sources=[driver_trips], schema=[Field(name="doubled", dtype=Float64)], mode="pandas")
def computed(features):
    features["doubled"] = features["rating"] * 2
    return features[["doubled"]]
