"""Freshness as a sensor: measured in Redis, never inferred from the run that was meant to write it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import BaseSensorOperator

from online_features.errors import TerminalError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from online_features.feature_view import FeatureView


class FeatureViewFreshnessSensor(BaseSensorOperator):
    """Waits until a feature view's online watermark is no older than ``max_staleness``.

    :param feature_view: what to watch.
    :param max_staleness: the greatest lag, now minus watermark, that counts as fresh.
    :param redis_conn_id: Airflow connection of the online store (templated).
    """

    template_fields: Sequence[str] = ("redis_conn_id",)
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        feature_view: FeatureView,
        max_staleness: timedelta,
        redis_conn_id: str = "online_store",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_view = feature_view
        self.max_staleness = max_staleness
        self.redis_conn_id = redis_conn_id

    def poke(self, context: Context) -> bool:  # noqa: ARG002
        """Whether the view is fresh now."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.hooks.online import OnlineStoreHook

        try:
            fresh = OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store().freshness(self.feature_view)
        except TerminalError as error:
            raise AirflowFailException(str(error)) from error
        name = self.feature_view.name
        if not fresh.is_materialized:
            self.log.info("Feature view %r is not fresh: no materialization of it has ended yet", name)
            return False
        if fresh.lag is None:
            self.log.info(
                "Feature view %r has no watermark: it was materialized in windows that leave out what is before them; "
                "run it once with window='incremental'",
                name,
            )
            return False
        self.log.info("Feature view %r lags %s behind; fresh is at most %s", name, fresh.lag, self.max_staleness)
        return fresh.lag <= self.max_staleness
