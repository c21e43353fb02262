"""The base of sensors and check operators: a task that checks freshness in Redis."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from online_features.errors import WindowError
from online_features.feature_view import FeatureView
from online_features.window import NEEDS_BOUND

from online_features_provider.operators._feature_view_operator import FeatureViewOperator
from online_features_provider.operators.rendered_fields import count, duration, instant, number
from online_features_provider.operators.task_failure import readable_errors
from online_features_provider.view_reference import feature_view_of

if TYPE_CHECKING:
    from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
    from online_features.online.read.store_reader import FreshnessCheck
    from online_features.online.read.view_freshness_check import FreshnessResult, Measure, ViewFreshnessCheck


class FreshnessOperator(FeatureViewOperator):
    """Base of sensors and operators that check freshness."""

    @abstractmethod
    def make_check(self) -> FreshnessCheck:
        """Make the check from the rendered fields."""

    def run_check(self) -> tuple[FreshnessCheck, FreshnessResult]:
        """Run the check once, and emit what it measured as Airflow metrics."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features_provider import metrics
        from online_features_provider.hooks.online import OnlineStoreHook

        with readable_errors(self.log, redis_conn_id=self.redis_conn_id):
            check = self.make_check()
            result = OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store().check(check)
        metrics.emit_measured(check.view, result.measured)
        return check, result


class ViewFreshnessOperator(FreshnessOperator):
    """Base of those that check a feature view."""

    template_fields: Sequence[str] = (*FreshnessOperator.template_fields, "max_staleness", "at_least", "measure")

    def __init__(
        self,
        *,
        max_staleness: timedelta | float | str | None = None,
        at_least: datetime | str | None = None,
        measure: Measure | str = "watermark",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        view = self.feature_view
        if max_staleness is None and at_least is None and isinstance(view, FeatureView) and view.max_staleness is None:
            raise WindowError(NEEDS_BOUND)
        self.max_staleness = max_staleness
        self.at_least = at_least
        self.measure = measure

    def make_check(self) -> ViewFreshnessCheck:
        """Make the check from the rendered fields."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.online.read.view_freshness_check import ViewFreshnessCheck

        return ViewFreshnessCheck(
            view=feature_view_of(self.feature_view),
            max_staleness=duration("max_staleness", self.max_staleness),
            at_least=instant("at_least", self.at_least),
            measure=self.measure,  # type: ignore[arg-type]
        )


class EntityFreshnessOperator(FreshnessOperator):
    """Base of those that check entities of a feature view."""

    template_fields: Sequence[str] = (
        *FreshnessOperator.template_fields, "entities", "sample", "share", "max_staleness",
    )  # fmt: skip

    def __init__(
        self,
        *,
        entities: Sequence[Mapping[str, Any]] | None = None,
        sample: int | str | None = None,
        share: float | str = 1.0,
        max_staleness: timedelta | float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.entities = entities
        self.sample = sample
        self.share = share
        self.max_staleness = max_staleness

    def make_check(self) -> EntityFreshnessCheck:
        """Make the check from the rendered fields."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.online.read.entity_freshness_check import EntityFreshnessCheck

        return EntityFreshnessCheck(
            view=feature_view_of(self.feature_view),
            entities=self.entities,
            sample=count("sample", self.sample),
            share=1.0 if (share := number("share", self.share)) is None else share,
            max_staleness=duration("max_staleness", self.max_staleness),
        )
