"""Feature views of the DAGs that operators are tested by; the project is the test's."""

from __future__ import annotations

import os

from online_features import FeatureView, PostgresSource


def view_named(name: str) -> FeatureView:
    source = PostgresSource(table="rows", timestamp_field="ts")
    return FeatureView(name=name, project=os.environ["TEST_PROJECT"], entities=["id"], source=source)


one, two, daily = map(view_named, ("one", "two", "daily"))

slow = FeatureView(
    name="slow",
    project=os.environ["TEST_PROJECT"],
    entities=["id"],
    source=PostgresSource(
        query="SELECT i AS id, now() AS ts, pg_sleep(1)::text AS x FROM generate_series(1, 600) AS i",
        timestamp_field="ts",
    ),
)
