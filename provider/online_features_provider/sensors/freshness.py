"""Freshness as sensors: measured in Redis, never inferred from the run that was meant to write it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from online_features.common.instants import to_text
from online_features.common.log_lines import in_two_lines, say
from online_features.common.log_throttle import LogThrottle

from online_features_provider.operators.freshness_operator import (
    EntityFreshnessQuestion,
    FreshnessQuestion,
    ViewFreshnessQuestion,
)
from online_features_provider.operators.task_failure import failure

if TYPE_CHECKING:
    from airflow.sdk import Context
    from online_features.online.read.store_reader import FreshnessCheck

LONGEST_INTERVAL = 3600.0  # seconds up to which exponential_backoff doubles the interval where max_wait does not say
# The trigger ends in time, and says what it saw last; Airflow's own time-out is for when the trigger is gone.
TIMEOUT_GRACE = timedelta(minutes=5)


class FreshnessSensor(FreshnessQuestion, BaseSensorOperator):
    """Waits until a check finds what it asks for fresh.

    :param fail_fast: whether to fail, without retries, when Redis does not know the view at all: a typo, another
        Redis, or one that was flushed. ``False`` waits for its first materialization.
    :param deferrable: whether to wait in the triggerer; the default is Airflow's ``[operators] default_deferrable``.
    """

    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        fail_fast: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.fail_fast = fail_fast
        self.deferrable = deferrable
        self._last_seen = ""
        self._log_throttle = LogThrottle()

    def execute(self, context: Context) -> Any:
        """Wait; what was measured is the task's XCom."""
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            raise self._timed_out(f"{error} {self._last_seen}") from None

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002
        """Look once; a sensor that is deferrable does so before it defers, so that mistakes show at once."""
        check, finding = self.ask()
        if finding.kind == "absent" and self.fail_fast:
            raise failure(self.log, finding.message)
        self._last_seen = finding.message
        self._say(finding.kind, finding.message)
        if not finding.is_fresh and self.deferrable:
            self._defer(check)
        return PokeReturnValue(is_done=finding.is_fresh, xcom_value=dict(finding.measured))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """End as the trigger says."""
        match event["outcome"]:
            case "fresh":
                say(self.log.info, event["message"])
                return dict(event["measured"])
            case "timeout":
                raise self._timed_out(f"Sensor has timed out after {self.timeout:.0f} seconds; {event['message']}")
        raise failure(self.log, event["message"])

    def _defer(self, check: FreshnessCheck) -> None:
        # Imported here: parsing a DAG file loads no driver.
        from online_features_provider.triggers import check_json
        from online_features_provider.triggers.freshness import FreshnessTrigger

        if not check_json.is_small(check):
            self.log.info("Waiting here: the entities are too many, or of types that cannot be handed to the triggerer")
            self.deferrable = False
            return
        timeout = timedelta(seconds=self.timeout)
        longest = LONGEST_INTERVAL if self.max_wait is None else self.max_wait.total_seconds()
        trigger = FreshnessTrigger(
            check=check_json.dump(check),
            redis_conn_id=self.redis_conn_id,
            poke_interval=self.poke_interval,
            longest_interval=longest if self.exponential_backoff else self.poke_interval,
            deadline=to_text(datetime.now(UTC) + timeout),
            fail_fast=self.fail_fast,
        )
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timeout + TIMEOUT_GRACE)

    def _say(self, kind: str, message: str) -> None:
        if self._log_throttle.is_due(kind, time.monotonic()):
            say(self.log.info, message)

    def _timed_out(self, message: str) -> AirflowSensorTimeout:
        say(self.log.error, message)
        return AirflowSensorTimeout(in_two_lines(message))


class FeatureViewFreshnessSensor(ViewFreshnessQuestion, FreshnessSensor):
    """Waits until a feature view is fresh, by the watermark or the newest event timestamp that Redis records of it.

    At least one of ``max_staleness`` and ``at_least`` is given; where both are, both must hold.

    :param feature_view: what to watch, or where to import it from (templated).
    :param max_staleness: the greatest lag, now minus what is measured: a timedelta, seconds, or text such as ``PT1H``
        (templated).
    :param at_least: an instant that what is measured must have reached, with its time zone, for example
        ``"{{ data_interval_end }}"`` (templated).
    :param measure: ``"watermark"``: everything in the source up to it is online; or ``"event_timestamp"``: the newest
        one that was materialized or pushed (templated).
    :param redis_conn_id: Airflow connection of the online store (templated).
    :param fail_fast: whether to fail, without retries, when Redis does not know the view at all: a typo, another
        Redis, or one that was flushed. ``False`` waits for its first materialization.
    :param deferrable: whether to wait in the triggerer; the default is Airflow's ``[operators] default_deferrable``.
    :returns: ``lag_seconds``, ``event_lag_seconds``, ``watermark`` and ``max_event_timestamp``.
    """


class EntityFreshnessSensor(EntityFreshnessQuestion, FreshnessSensor):
    """Waits until entities are online, and their rows fresh, read from the rows themselves.

    At least one of ``entities`` and ``sample`` is given.

    :param feature_view: what to watch, or where to import it from (templated).
    :param entities: one mapping per entity, from join key to value, for example the output of a task (templated).
    :param sample: look at so many of the entities, or, without ``entities``, of those online; drawn anew at each look
        (templated). Of those online none is missing.
    :param share: of the entities looked at, how many must pass, for example ``0.95`` (templated).
    :param max_staleness: the greatest age of a row, now minus its event timestamp: a timedelta, seconds, or text such
        as ``PT1H``; ``None`` asks only that it is there (templated).
    :param redis_conn_id: Airflow connection of the online store (templated).
    :param fail_fast: as in :class:`FeatureViewFreshnessSensor`.
    :param deferrable: as in :class:`FeatureViewFreshnessSensor`; entities that are more than 64 KiB of JSON, or values
        that JSON does not hold, are waited for by the worker all the same.
    :returns: how many entities were checked, and how many of them fresh, stale, missing and expired.
    """
