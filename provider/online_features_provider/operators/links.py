"""Links from a task in Airflow's UI to what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import conf
from airflow.sdk import BaseOperatorLink

from online_features_provider.view_reference import feature_view_of

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


def links() -> tuple[BaseOperatorLink, ...]:
    """Return the links of operators: none unless Airflow's configuration sets their URL."""
    return (OnlineFeaturesLink(),) if _url() else ()


def _url() -> str:
    return str(conf.get("online_features", "link_url", fallback=""))


class OnlineFeaturesLink(BaseOperatorLink):
    """A link from a task to a page on its feature view, such as a dashboard.

    ``[online_features] link_url`` in Airflow's configuration is its URL. Without it there is no link.
    """

    name = "Online features"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the URL, with the names of the operator's feature view and Redis connection filled in."""
        url = _url()
        view = feature_view_of(operator.feature_view)
        names = {"project": view.project, "feature_view": view.name, "redis_conn_id": operator.redis_conn_id}
        for name, value in names.items():
            url = url.replace(f"<{name}>", quote(value))
        return url
