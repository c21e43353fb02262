"""Freshness as checks: they look once, and fail or warn at once where sensors would wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from online_features.common.log_lines import say
from online_features.errors import OptionError

from online_features_provider.operators.freshness_operator import (
    EntityFreshnessQuestion,
    FreshnessQuestion,
    ViewFreshnessQuestion,
)
from online_features_provider.operators.task_failure import failure

if TYPE_CHECKING:
    from airflow.sdk import Context


OnStale = Literal["fail", "warn"]


class FreshnessCheckOperator(FreshnessQuestion):
    """Fails, without retries, unless a check finds what it asks for fresh; or warns.

    :param on_stale: ``"fail"``; or ``"warn"``, which logs a warning and lets the task succeed.
    :raises OptionError: when it is neither.
    """

    ui_color = "#fce8e6"

    def __init__(self, *, on_stale: OnStale = "fail", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if on_stale not in get_args(OnStale):
            raise OptionError(f"on_stale={on_stale!r} is unknown -> choose one of {', '.join(get_args(OnStale))}")
        self.on_stale = on_stale

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Look once; what was measured is the task's XCom."""
        _, finding = self.ask()
        if finding.is_fresh:
            say(self.log.info, finding.message)
        elif self.on_stale == "warn":
            say(self.log.warning, finding.message)
        else:
            raise failure(self.log, finding.message)
        return dict(finding.measured)


class FeatureViewFreshnessCheckOperator(ViewFreshnessQuestion, FreshnessCheckOperator):
    """Fails, or warns, unless a feature view is fresh.

    The parameters, and what it returns, are those of
    :class:`~online_features_provider.sensors.freshness.FeatureViewFreshnessSensor`, without those for waiting.

    :param on_stale: ``"fail"``; or ``"warn"``, which logs a warning and lets the task succeed.
    """


class EntityFreshnessCheckOperator(EntityFreshnessQuestion, FreshnessCheckOperator):
    """Fails, or warns, unless entities are online and their rows fresh.

    The parameters, and what it returns, are those of
    :class:`~online_features_provider.sensors.freshness.EntityFreshnessSensor`, without those for waiting.

    :param on_stale: ``"fail"``; or ``"warn"``, which logs a warning and lets the task succeed.
    """
