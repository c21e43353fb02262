"""Feature views of tests that need no server."""

from __future__ import annotations

from online_features import FeatureView, PostgresSource

SOURCE = PostgresSource(table="rows", timestamp_field="ts")
VIEW = FeatureView(name="view", entities=["id"], source=SOURCE)
