"""The base of all operators and sensors: a task on one feature view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from online_features_provider.view_reference import check_reference

if TYPE_CHECKING:
    from online_features.feature_view import FeatureView


class FeatureViewOperator(BaseOperator):
    """Base of operators and sensors on one feature view.

    :param feature_view: the view, or its import path, such as ``"features.views.plane_trips"``.
    :param redis_conn_id: Airflow connection of the online store.
    """

    template_fields: Sequence[str] = ("feature_view", "redis_conn_id")

    def __init__(self, *, feature_view: FeatureView | str, redis_conn_id: str = "online_store", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_reference(feature_view)
        self.feature_view = feature_view
        self.redis_conn_id = redis_conn_id
