"""The metadata that Airflow reads of this provider."""

from __future__ import annotations

from typing import Any

from online_features.__version__ import __version__

INTEGRATION = "Online features"
ASSET = "online_features_provider.assets.feature_view"

LINK_URL = {
    "description": "URL of the link from a task to the feature view that it writes. <project>, <feature_view> and "
    "<redis_conn_id> in it are filled in. Empty: no link.",
    "version_added": None,
    "type": "string",
    "example": "https://grafana.example.com/d/features?var-project=<project>&var-view=<feature_view>",
    "default": "",
}

REDIS_CONN_IDS = {
    "description": "Ids of the Redis connections whose feature views the pages in Airflow's UI show, with commas "
    "between several.",
    "version_added": None,
    "type": "string",
    "example": "online_store,other_redis",
    "default": "online_store",
}

OPTIONS = {"link_url": LINK_URL, "redis_conn_ids": REDIS_CONN_IDS}


def get_provider_info() -> dict[str, Any]:
    """Return the metadata in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-online-features",
        "name": "Online features",
        "description": "Features from Postgres to Redis, the newest row of each entity.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": INTEGRATION, "external-doc-url": "https://redis.io/", "tags": ["software"]}
        ],
        "hooks": [_modules("hooks.offline", "hooks.online")],
        "operators": [
            _modules(
                "operators.check",
                "operators.materialize",
                "operators.parts",
                "operators.publish",
                "operators.push",
                "operators.rollback",
                "operators.verify",
            )
        ],
        "extra-links": ["online_features_provider.operators.links.OnlineFeaturesLink"],
        "config": {"online_features": {"description": "Features kept in Redis.", "options": OPTIONS}},
        "task-decorators": [
            {"name": "push_features", "class-name": "online_features_provider.decorators.push.push_features_task"}
        ],
        "sensors": [_modules("sensors.freshness")],
        "triggers": [_modules("triggers.changes", "triggers.freshness")],
        "asset-uris": [
            {
                "schemes": ["online-features"],
                "handler": f"{ASSET}.sanitize_uri",
                "factory": f"{ASSET}.create_asset",
                "to_openlineage_converter": f"{ASSET}.convert_asset_to_openlineage",
            }
        ],
    }


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": INTEGRATION, "python-modules": [f"online_features_provider.{name}" for name in names]}
