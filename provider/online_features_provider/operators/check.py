"""Operators that check freshness once, without waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from online_features.common.log_lines import say
from online_features.errors import OptionError

from online_features_provider.operators.freshness_operator import (
    EntityFreshnessOperator,
    FreshnessOperator,
    ViewFreshnessOperator,
)
from online_features_provider.operators.task_failure import task_failure

if TYPE_CHECKING:
    from airflow.sdk import Context


OnStale = Literal["fail", "warn"]


class FreshnessCheckOperator(FreshnessOperator):
    """Base of operators that check freshness once.

    :raises OptionError: when ``on_stale`` is unknown.
    """

    ui_color = "#fce8e6"

    def __init__(self, *, on_stale: OnStale = "fail", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if on_stale not in get_args(OnStale):
            raise OptionError(f"on_stale={on_stale!r} is unknown -> choose one of {', '.join(get_args(OnStale))}")
        self.on_stale = on_stale

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Run the check; return what it measured."""
        _, result = self.run_check()
        if result.is_fresh:
            say(self.log.info, result.message)
        elif self.on_stale == "warn":
            say(self.log.warning, result.message)
        else:
            raise task_failure(self.log, result.message)
        return dict(result.measured)


class FeatureViewFreshnessCheckOperator(ViewFreshnessOperator, FreshnessCheckOperator):
    """Check once that a feature view is fresh.

    The other parameters, and what it returns, are those of
    :class:`~online_features_provider.sensors.freshness.FeatureViewFreshnessSensor`, without ``fail_fast`` and
    ``deferrable``.

    :param on_stale: ``"fail"``: fail the task, without retries, if the view is not fresh; or ``"warn"``: log a warning,
        and let the task succeed.
    """


class EntityFreshnessCheckOperator(EntityFreshnessOperator, FreshnessCheckOperator):
    """Check once that entities are online, and their rows fresh.

    The other parameters, and what it returns, are those of
    :class:`~online_features_provider.sensors.freshness.EntityFreshnessSensor`, without ``fail_fast`` and
    ``deferrable``.

    :param on_stale: ``"fail"``: fail the task, without retries, if too few entities pass; or ``"warn"``: log a warning,
        and let the task succeed.
    """
