"""Sensors that wait for fresh features, measured in Redis."""

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
    EntityFreshnessOperator,
    FreshnessOperator,
    ViewFreshnessOperator,
)
from online_features_provider.operators.task_failure import task_failure

if TYPE_CHECKING:
    from airflow.sdk import Context
    from online_features.online.read.store_reader import FreshnessCheck

LONGEST_INTERVAL = 3600.0  # seconds: the limit of exponential_backoff, unless max_wait is given
# The trigger times out first, and reports what it measured last. Airflow's own time-out is for a lost trigger.
TIMEOUT_GRACE = timedelta(minutes=5)


class FreshnessSensor(FreshnessOperator, BaseSensorOperator):
    """Base of sensors that wait until a freshness check passes."""

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
        self._last_message = ""
        self._log_throttle = LogThrottle()

    def execute(self, context: Context) -> Any:
        """Wait; return what the last check measured."""
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            raise self._timed_out(f"{error} {self._last_message}") from None

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002
        """Run the check once; a deferrable sensor does so before it defers, so that mistakes show at once."""
        check, result = self.run_check()
        if result.kind == "absent" and self.fail_fast:
            raise task_failure(self.log, result.message)
        self._last_message = result.message
        self._report(result.kind, result.message)
        if not result.is_fresh and self.deferrable:
            self._defer(check)
        return PokeReturnValue(is_done=result.is_fresh, xcom_value=dict(result.measured))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """End the task with the outcome in the trigger's event."""
        match event["outcome"]:
            case "fresh":
                say(self.log.info, event["message"])
                return dict(event["measured"])
            case "timeout":
                raise self._timed_out(f"Sensor has timed out after {self.timeout:.0f} seconds; {event['message']}")
        raise task_failure(self.log, event["message"])

    def _defer(self, check: FreshnessCheck) -> None:
        # Imported here: parsing a DAG file loads no driver.
        from online_features_provider.triggers import check_json
        from online_features_provider.triggers.freshness import FreshnessTrigger

        if not check_json.is_small(check):
            self.log.info("Waiting in the worker: the entities are too many for the triggerer, or not JSON")
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

    def _report(self, kind: str, message: str) -> None:
        if self._log_throttle.is_due(kind, time.monotonic()):
            say(self.log.info, message)

    def _timed_out(self, message: str) -> AirflowSensorTimeout:
        say(self.log.error, message)
        return AirflowSensorTimeout(in_two_lines(message))


class FeatureViewFreshnessSensor(ViewFreshnessOperator, FreshnessSensor):
    """Wait until a feature view is fresh, by the watermark or the newest event timestamp in Redis.

    Give ``max_staleness``, ``at_least`` or both; the view is fresh if all of them hold. If neither is given, its own
    ``max_staleness`` must hold.

    :param feature_view: the view, or its import path (templated).
    :param max_staleness: the greatest lag, now minus what is measured: a timedelta, seconds, or text such as ``PT1H``
        (templated).
    :param at_least: the instant that what is measured must have reached: an aware datetime or ISO-8601 text, for
        example ``"{{ data_interval_end }}"`` (templated).
    :param measure: what to measure: ``"watermark"``, the default: everything in the source up to it is online; or
        ``"event_timestamp"``: the newest that was materialized or pushed (templated).
    :param redis_conn_id: Airflow connection of the online store (templated).
    :param fail_fast: fail at once, without retries, if the view is not in Redis: usually because of a typo, another
        Redis, or one that was flushed. ``False`` waits for the view's first materialization.
    :param deferrable: wait in the triggerer; the default is Airflow's ``[operators] default_deferrable``.
    :returns: ``lag_seconds``, ``event_lag_seconds``, ``watermark`` and ``max_event_timestamp``.
    """


class EntityFreshnessSensor(EntityFreshnessOperator, FreshnessSensor):
    """Wait until entities are online, and their rows fresh, by the event timestamps of the rows.

    Give ``entities``, ``sample`` or both.

    :param feature_view: the view, or its import path (templated).
    :param entities: one mapping per entity, from join key to value, for example the output of a task (templated).
    :param sample: check a new random sample of this size each time, of ``entities``, or of the entities online, of
        which none is missing (templated).
    :param share: the share of the checked entities that must pass, for example ``0.95``; default all (templated).
    :param max_staleness: the greatest age of a row, now minus its event timestamp: a timedelta, seconds, or text such
        as ``PT1H``; ``None`` checks only that there is a row (templated).
    :param redis_conn_id: Airflow connection of the online store (templated).
    :param fail_fast: as in :class:`FeatureViewFreshnessSensor`.
    :param deferrable: as in :class:`FeatureViewFreshnessSensor`; but the worker waits for entities that take more than
        64 KiB of JSON, or have values that JSON cannot hold.
    :returns: how many entities were checked, and how many of them are fresh, stale, missing and expired.
    """
