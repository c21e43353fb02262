"""Links from a task in Airflow's UI to what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink, Connection

from online_features.view_reference import feature_view_of

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

URL_EXTRA = "online_features_url"


class OnlineFeaturesLink(BaseOperatorLink):
    """To wherever the user looks at online features: a dashboard, or a browser of Redis.

    The Redis connection says where, in its extra: ``{"online_features_url": "https://…/{project}/{feature_view}"}``.
    Without it there is no link.
    """

    name = "Online features"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """The URL, with the names of the operator's feature view in it."""
        url: str = Connection.get(operator.redis_conn_id).extra_dejson.get(URL_EXTRA, "")
        view = feature_view_of(operator.feature_view)
        return url.replace("{project}", quote(view.project)).replace("{feature_view}", quote(view.name))
