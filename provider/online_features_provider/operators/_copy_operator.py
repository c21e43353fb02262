"""The bases of operators that copy rows of a feature view from Postgres to Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException
from online_features.errors import ChecksFailedError

from online_features_provider.metrics import emit_checks, emit_result
from online_features_provider.operators._feature_view_operator import origin_of
from online_features_provider.operators._write_operator import EmittingWriteOperator, WriteOperator
from online_features_provider.operators.rendered_fields import count, duration, given, given_options, parse_bool

if TYPE_CHECKING:
    from airflow.sdk import Context
    from online_features.feature_view import FeatureView
    from online_features.materialization.reporting.result import MaterializationResult
    from online_features.offline.store import OfflineStore
    from online_features.online.store import OnlineStore

CHECKS_KEY = "checks"  # of the XCom of a task that has failed


class CopyOperator(WriteOperator):
    """Base of operators that read Postgres and write Redis.

    :param retry_for: how long to retry within one attempt of the task when a store cannot be reached.
    :param statement_timeout: how long each statement may take in Postgres.
    """

    template_fields: Sequence[str] = (*WriteOperator.template_fields, "retry_for", "statement_timeout")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        retry_for: timedelta | str | None = None,
        statement_timeout: timedelta | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.retry_for = retry_for
        self.statement_timeout = statement_timeout

    def stores(self, view: FeatureView) -> tuple[OfflineStore, OnlineStore]:
        """Return the stores of the connections, and record them for lineage."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features_provider.hooks.offline import OfflineStoreHook
        from online_features_provider.hooks.online import OnlineStoreHook

        hook = OfflineStoreHook(postgres_conn_id=self.postgres_conn_id)
        offline = hook.get_store(statement_timeout=duration("statement_timeout", self.statement_timeout))
        online = OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store()
        self.begin_lineage(view, reads=self.postgres_conn_id, writes=(self.redis_conn_id, online))
        return offline, online

    def origin(self, context: Context) -> dict[str, str | int]:
        """Return what the run history says of the task."""
        conn_ids = {"postgres_conn_id": self.postgres_conn_id, "redis_conn_id": self.redis_conn_id}
        return {**origin_of(context), **conn_ids}

    def options(self) -> dict[str, Any]:
        """Return the options that were given, as arguments of the engine's function."""
        return given_options(retry_for=duration("retry_for", self.retry_for))


class ReplicatedCopyOperator(CopyOperator):
    """Base of those that wait until replicas of Redis have the rows.

    :param wait_for_replicas: how many replicas must have them.
    :param replica_timeout: how long to wait for them.
    """

    template_fields: Sequence[str] = (*CopyOperator.template_fields, "wait_for_replicas", "replica_timeout")

    def __init__(
        self,
        *,
        wait_for_replicas: int | str | None = None,
        replica_timeout: timedelta | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_replicas = wait_for_replicas
        self.replica_timeout = replica_timeout

    def options(self) -> dict[str, Any]:
        """Return the options that were given, as arguments of the engine's function."""
        return super().options() | given_options(
            wait_for_replicas=count("wait_for_replicas", self.wait_for_replicas),
            replica_timeout=duration("replica_timeout", self.replica_timeout),
        )


class RunEndingOperator(EmittingWriteOperator, ReplicatedCopyOperator):
    """Base of those that end a run: they judge its rows, publish what it has built, and say what it has done.

    :param publish: let readers see the new generation.
    :param allow_empty: let a generation without rows replace one with rows.
    :param ignore_checks: publish although rows have failed checks of the view.
    :param keep_generations: how many generations to keep to roll back to.
    """

    template_fields: Sequence[str] = (
        *ReplicatedCopyOperator.template_fields, "publish", "allow_empty", "ignore_checks", "keep_generations",
    )  # fmt: skip

    def __init__(
        self,
        *,
        publish: bool | str = True,
        allow_empty: bool | str = False,
        ignore_checks: bool | str = False,
        keep_generations: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.publish = publish
        self.allow_empty = allow_empty
        self.ignore_checks = ignore_checks
        self.keep_generations = keep_generations

    def options(self) -> dict[str, Any]:
        """Return the options that were given, as arguments of the engine's function."""
        return super().options() | given_options(
            publish=given(self.publish) is None or parse_bool("publish", self.publish),
            allow_empty=parse_bool("allow_empty", self.allow_empty),
            ignore_checks=parse_bool("ignore_checks", self.ignore_checks),
            keep_generations=count("keep_generations", self.keep_generations),
        )

    @contextmanager
    def reporting_checks(self, context: Context, view: FeatureView) -> Iterator[None]:
        """Emit results of checks that have failed the run, and leave them as XCom, for whoever raises the alarm."""
        try:
            yield
        except ChecksFailedError as error:
            emit_checks(view, error.results)
            context["ti"].xcom_push(key=CHECKS_KEY, value=[result.to_dict() for result in error.results])
            raise

    def report(
        self, context: Context, view: FeatureView, result: MaterializationResult, *, is_switched: bool
    ) -> dict[str, Any]:
        """Emit metrics and the asset event of a run, and return what the task returns.

        :param is_switched: whether readers have come to see another generation, unless the result says otherwise.
        :raises AirflowSkipException: when nothing was done.
        """
        emit_checks(view, result.checks)
        if result.skipped:
            raise AirflowSkipException(f"feature view {view.name!r}: {result.skipped}")
        emit_result("materialize", view, result)
        returned = {"feature_view": str(view), **result.to_dict()}
        del returned["skipped"]
        self.emit_event(context, view, returned, is_switched=is_switched)
        return returned
