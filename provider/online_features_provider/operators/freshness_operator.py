"""What sensors and check operators have in common: the question how fresh features are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator
from online_features.errors import WindowError

from online_features_provider.operators.rendered_fields import count, duration, instant, number
from online_features_provider.operators.task_failure import ending_in_words
from online_features_provider.view_reference import check_reference, feature_view_of

if TYPE_CHECKING:
    from online_features.feature_view import FeatureView
    from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
    from online_features.online.read.store_reader import FreshnessCheck
    from online_features.online.read.view_freshness_check import CheckResult, Measure, ViewFreshnessCheck


class FreshnessQuestion(BaseOperator):
    """A task that asks Redis how fresh features are.

    :param feature_view: what to watch, or where to import it from (templated).
    :param redis_conn_id: Airflow connection of the online store (templated).
    """

    template_fields: Sequence[str] = ("feature_view", "redis_conn_id")

    def __init__(self, *, feature_view: FeatureView | str, redis_conn_id: str = "online_store", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_reference(feature_view)
        self.feature_view = feature_view
        self.redis_conn_id = redis_conn_id

    @abstractmethod
    def make_check(self) -> FreshnessCheck:
        """The check, from rendered fields."""

    def ask(self) -> tuple[FreshnessCheck, CheckResult]:
        """Look once; what is measured becomes Airflow metrics."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features_provider.hooks.online import OnlineStoreHook
        from online_features_provider.operators import metrics

        with ending_in_words(self.log, redis_conn_id=self.redis_conn_id):
            check = self.make_check()
            finding = OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store().check(check)
        metrics.emit_measured(check.view, finding.measured)
        return check, finding


class ViewFreshnessQuestion(FreshnessQuestion):
    """Asks how fresh a feature view is."""

    template_fields: Sequence[str] = (*FreshnessQuestion.template_fields, "max_staleness", "at_least", "measure")

    def __init__(
        self,
        *,
        max_staleness: timedelta | float | str | None = None,
        at_least: datetime | str | None = None,
        measure: Measure | str = "watermark",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if max_staleness is None and at_least is None:
            raise WindowError("a freshness check needs max_staleness=, at_least= or both")
        self.max_staleness = max_staleness
        self.at_least = at_least
        self.measure = measure

    def make_check(self) -> ViewFreshnessCheck:
        """The check, from rendered fields."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.online.read.view_freshness_check import ViewFreshnessCheck

        return ViewFreshnessCheck(
            view=feature_view_of(self.feature_view),
            max_staleness=duration("max_staleness", self.max_staleness),
            at_least=instant("at_least", self.at_least),
            measure=self.measure,  # type: ignore[arg-type]
        )


class EntityFreshnessQuestion(FreshnessQuestion):
    """Asks how fresh entities of a feature view are."""

    template_fields: Sequence[str] = (
        *FreshnessQuestion.template_fields,
        "entities",
        "sample",
        "share",
        "max_staleness",
    )

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
        """The check, from rendered fields."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.online.read.entity_freshness_check import EntityFreshnessCheck

        return EntityFreshnessCheck(
            view=feature_view_of(self.feature_view),
            entities=self.entities,
            sample=count("sample", self.sample),
            share=1.0 if (share := number("share", self.share)) is None else share,
            max_staleness=duration("max_staleness", self.max_staleness),
        )
