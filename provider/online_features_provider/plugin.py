"""The plugin that puts the pages into Airflow's UI."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow.plugins_manager import AirflowPlugin
from airflow.providers.common.compat.sdk import conf

log = logging.getLogger(__name__)

NAME = "online_features"
PREFIX = "/online-features"


class OnlineFeaturesPlugin(AirflowPlugin):
    """An item in the navigation, and a tab on task instances.

    Every process of Airflow loads plugins, so the application is made when the API server asks for it.
    """

    name = NAME

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The application that serves the pages; none if it cannot be imported, so that the API server starts."""
        try:
            from online_features_provider.ui.app import create_app
        except ImportError:
            log.exception("There are no pages of online features, because they do not fit what is installed")
            return []
        return [{"name": NAME, "app": create_app(), "url_prefix": PREFIX}]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The places in Airflow's UI where the pages are shown.

        Their addresses begin with the path of the deployment and end with a slash: Airflow would answer any other
        address with its own UI, inside itself.
        """
        if not self.fastapi_apps:
            return []
        root = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + PREFIX
        icons = f"{root}/static"
        shown = {"name": "Online features", "icon": f"{icons}/icon.svg", "icon_dark_mode": f"{icons}/icon-dark.svg"}
        return [
            {**shown, "href": f"{root}/", "destination": "nav", "nav_top_level": True, "url_route": NAME},
            {**shown, "href": f"{root}/tasks/{{DAG_ID}}/{{TASK_ID}}", "destination": "task_instance",
             "url_route": f"{NAME}_of_task"},
        ]  # fmt: skip
