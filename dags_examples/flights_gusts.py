"""Run when features have changed online, whichever DAG wrote them."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG, task
from flights_views import airport_weather
from online_features_provider.assets.feature_view import feature_view_asset
from online_features_provider.hooks.online import OnlineStoreHook

log = logging.getLogger(__name__)

with DAG("flights_gusts", schedule=[feature_view_asset(airport_weather)], catchup=False) as dag:

    @task
    def gusts(triggering_asset_events: Any = None) -> dict[str, float | None]:
        """Return the gusts at New York's airports, in miles per hour, at least as new as the events of this run."""
        for uri, events in triggering_asset_events.items():
            log.info("%s: %d rows", uri, sum(event.extra.get("rows_written", 0) for event in events))
        store = OnlineStoreHook(redis_conn_id="online_store").get_store()
        airports = [{"origin": origin} for origin in ("EWR", "JFK", "LGA")]
        rows = store.get_online_features(airport_weather, airports, ["wind_gust"])
        return {row.entity["origin"]: row.values["wind_gust"] for row in rows}

    gusts()
