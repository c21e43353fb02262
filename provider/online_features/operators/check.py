"""Freshness as checks: they fail at once where sensors would wait, for DAGs that raise the alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException

from online_features.operators.freshness_question import (
    EntityFreshnessQuestion,
    FreshnessQuestion,
    ViewFreshnessQuestion,
)

if TYPE_CHECKING:
    from airflow.sdk import Context


class FreshnessCheckOperator(FreshnessQuestion):
    """Fails, without retries, unless a check finds what it asks for fresh."""

    ui_color = "#fce8e6"

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Look once; what was measured is the task's XCom."""
        _, finding = self.ask()
        if not finding.is_fresh:
            raise AirflowFailException(finding.message)
        self.log.info("%s", finding.message)
        return dict(finding.measured)


class FeatureViewFreshnessCheckOperator(ViewFreshnessQuestion, FreshnessCheckOperator):
    """Fails unless a feature view is fresh.

    The parameters, and what it returns, are those of
    :class:`~online_features.sensors.freshness.FeatureViewFreshnessSensor`, without those for waiting.
    """


class EntityFreshnessCheckOperator(EntityFreshnessQuestion, FreshnessCheckOperator):
    """Fails unless entities are online and their rows fresh.

    The parameters, and what it returns, are those of
    :class:`~online_features.sensors.freshness.EntityFreshnessSensor`, without those for waiting.
    """
