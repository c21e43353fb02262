"""The operator that publishes generations of several feature views together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import BaseHook
from online_features.common.log_lines import say
from online_features.errors import PublishError

from online_features_provider.operators._copy_operator import RunEndingOperator
from online_features_provider.operators._feature_view_operator import SwitchOperator, origin_of
from online_features_provider.operators.rendered_fields import count, duration, given_options, parse_bool
from online_features_provider.operators.task_failure import KillableOperator, readable_errors

if TYPE_CHECKING:
    from airflow.sdk import Context
    from online_features.feature_view import FeatureView

SKIPPED = "skipped"  # Airflow's state of a task


class PublishOperator(KillableOperator, SwitchOperator):
    """Let readers see the generations that upstream tasks have built, all of them in one step.

    The builds are those of :class:`.MaterializeOperator` tasks with ``window="full"`` and ``publish=False``, and of
    :class:`.FinishBuildOperator` tasks with ``publish=False``, anywhere upstream in the same DAG run, also mapped and
    in task groups. Each first catches up with what increments and windows have read meanwhile. If one of the views
    cannot be published, none is. Retries are safe: what is published stays so, and a generation that was rolled back
    from is not published again.

    While a view is held after a rollback, the task is skipped and publishes nothing: release the views first. It is
    also skipped if an upstream build was.

    All parameters but ``emit`` are templated.

    :param feature_views: the views, or their import paths; all of one project.
    :param postgres_conn_id: Airflow connection of the offline store, which builds read to catch up.
    :param redis_conn_id: Airflow connection of the online store.
    :param ignore_missed: publish also a generation that lacks pushed rows, which its definition did not allow.
    :param retry_for: how long to retry within one attempt of the task when a store cannot be reached; default one
        minute.
    :param wait_for_replicas: how many replicas of Redis must have what a build has caught up with; default none.
    :param replica_timeout: how long to wait for them; default ten seconds.
    :param statement_timeout: how long each statement may take in Postgres; default: the setting of connection, role or
        server.
    :param emit: when a successful task emits an event of each view's asset: ``"changed"``, the default, and
        ``"always"`` are the same here; or ``"never"``. The extra is the result of the build.
    :returns: the name of each view with its published generation.
    """

    template_fields: Sequence[str] = (
        *SwitchOperator.template_fields, "postgres_conn_id", "ignore_missed", "retry_for", "wait_for_replicas",
        "replica_timeout", "statement_timeout",
    )  # fmt: skip
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        postgres_conn_id: str = "offline_store",
        ignore_missed: bool | str = False,
        retry_for: timedelta | str | None = None,
        wait_for_replicas: int | str | None = None,
        replica_timeout: timedelta | str | None = None,
        statement_timeout: timedelta | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.postgres_conn_id = postgres_conn_id
        self.ignore_missed = ignore_missed
        self.retry_for = retry_for
        self.wait_for_replicas = wait_for_replicas
        self.replica_timeout = replica_timeout
        self.statement_timeout = statement_timeout

    def execute(self, context: Context) -> dict[str, str]:
        """Publish the builds of upstream tasks; return their generations."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.materialization.publication import publish

        from online_features_provider.hooks.offline import OfflineStoreHook
        from online_features_provider.hooks.online import OnlineStoreHook

        conn_ids = {"postgres_conn_id": self.postgres_conn_id, "redis_conn_id": self.redis_conn_id}
        with self.doing("published feature views"), readable_errors(self.log, **conn_ids):
            views = self.views()
            builds = self._builds(context, views)
            hook = OfflineStoreHook(postgres_conn_id=self.postgres_conn_id)
            publication = publish(
                views,
                hook.get_store(statement_timeout=duration("statement_timeout", self.statement_timeout)),
                OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store(),
                generations={view.name: builds[str(view)]["generation"] for view in views},
                ends_hold=False,
                ignore_missed=parse_bool("ignore_missed", self.ignore_missed),
                origin=origin_of(context),
                **self._options(),
            )
            if publication.outcome == "held":
                names = ", ".join(map(repr, publication.views))
                raise AirflowSkipException(
                    f"feature views {names} were rolled back and are held, so nothing is published -> release them"
                )
        for view in views:
            say(
                self.log.info,
                f"Feature view {view.name!r}: generation {publication.generations[view.name]} is published",
            )
        self.emit_events(context, [(view, self._extra(view, builds[str(view)])) for view in views])
        return dict(publication.generations)

    def _extra(self, view: FeatureView, build: Mapping[str, Any]) -> dict[str, Any]:
        """Return the extra of a view's event: the result of the build, as of a full run that publishes."""
        # Imported here: parsing a DAG file needs none of it.
        from online_features_provider.assets.dataset_locations import source_location

        source = source_location(BaseHook.get_connection(self.postgres_conn_id), view)
        return {**build, "is_published": True, "source": source.asset.uri if source else None}

    def _options(self) -> dict[str, Any]:
        """Return the options that were given, as arguments of :func:`~online_features.publish`."""
        return given_options(
            retry_for=duration("retry_for", self.retry_for),
            wait_for_replicas=count("wait_for_replicas", self.wait_for_replicas),
            replica_timeout=duration("replica_timeout", self.replica_timeout),
        )

    def _builds(self, context: Context, views: Sequence[FeatureView]) -> dict[str, dict[str, Any]]:
        """Return the newest build of each view that an upstream task of this DAG run has returned.

        :raises PublishError: when there is none of a view, or its task has published it.
        :raises AirflowSkipException: when there is none, and an upstream build was skipped.
        """
        task_ids = sorted(self._build_tasks())
        results = list(_results(context, task_ids))
        builds: dict[str, dict[str, Any]] = {}
        for result in sorted(results, key=lambda result: result["generation"]):
            if not result["is_published"]:
                builds[result["feature_view"]] = result
        for view in views:
            if str(view) in builds:
                continue
            if any(result["feature_view"] == str(view) for result in results):
                raise PublishError(
                    f"feature view {view.name!r}: its upstream task has written to what is published, and built no "
                    "generation to publish -> give that task window='full', publish=False"
                )
            if skipped := _skipped(context, task_ids):
                raise AirflowSkipException(
                    f"feature view {view.name!r} was not built, since {', '.join(skipped)} was skipped, so nothing is "
                    "published"
                )
            raise PublishError(
                f"feature view {view.name!r}: no upstream task of this DAG run has built a generation of it -> put a "
                "MaterializeOperator with window='full', publish=False upstream"
            )
        return builds

    def _build_tasks(self) -> Iterator[str]:
        for task in self.get_flat_relatives(upstream=True):
            kind = getattr(task, "operator_class", type(task))  # of mapped tasks
            if isinstance(kind, type) and issubclass(kind, RunEndingOperator):
                yield task.task_id


def _results(context: Context, task_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what tasks have returned, mapped ones included."""
    for task_id in task_ids:
        returned = context["ti"].xcom_pull(task_ids=[task_id])
        yield from (result for result in returned or () if isinstance(result, dict) and "is_published" in result)


def _skipped(context: Context, task_ids: Sequence[str]) -> list[str]:
    """Return which of the tasks were skipped in this DAG run; mapped ones with their index."""
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=list(task_ids), run_ids=[ti.run_id])
    return sorted(task for task, state in states.get(ti.run_id, {}).items() if state == SKIPPED)
