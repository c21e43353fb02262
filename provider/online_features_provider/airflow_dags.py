"""DAGs and task groups that keep feature views fresh.

Airflow skips files that do not contain the words ``dag`` and ``airflow``; the import of this module has both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, get_args

from airflow.sdk import DAG, BaseOperator, TaskGroup
from online_features.errors import FeatureViewError, OptionError
from online_features.feature_view import FeatureView

from online_features_provider.operators.check import FeatureViewFreshnessCheckOperator, OnStale
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.publish import PublishOperator
from online_features_provider.operators.rendered_fields import is_template
from online_features_provider.operators.verify import VerifyOperator
from online_features_provider.view_reference import check_reference

Publishing = Literal["each", "together"]

# A store that restarts is back by the second or third retry.
RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": type(BaseOperator.retry_exponential_backoff)(2),  # a flag in Airflow 3.1, later a base
}


def materialization_dag(
    feature_views: Iterable[FeatureView | str],
    *,
    dag_id: str = "materialization",
    publish: Publishing = "each",
    max_staleness: timedelta | None = None,
    on_stale: OnStale = "fail",
    verify: Mapping[str, Any] | None = None,
    default_args: Mapping[str, Any] | None = None,
    tags: Iterable[str] = ("online features",),
    **dag_arguments: Any,
) -> DAG:
    """Make a DAG with a :func:`materialization_group` for each feature view.

    By default, tasks have three retries, after one, two and four minutes, one run is active at a time, and there is no
    catch-up. The DAG's documentation lists the views.

    :param feature_views: the views, or their import paths.
    :param publish: ``"each"``: the groups are independent of each other; or ``"together"``: each task builds a
        generation in full, ``publish`` behind them lets readers see all of them in one step, and ``is_fresh.<view>``
        and ``verify.<view>`` check each view then. Increments write to what is published, so they need a DAG of their
        own.
    :param max_staleness: as for :func:`materialization_group`.
    :param on_stale: as for :func:`materialization_group`.
    :param verify: as for :func:`materialization_group`.
    :param default_args: arguments of all tasks, including those of :class:`.MaterializeOperator`, such as
        ``{"redis_conn_id": "cache", "window": "data_interval"}``.
    :param dag_arguments: other arguments of :class:`airflow.sdk.DAG`, such as ``schedule``.
    """
    if isinstance(feature_views, (str, FeatureView)):
        raise FeatureViewError(f"feature_views={feature_views!r} is one view -> give a list of views")
    if publish not in get_args(Publishing):
        raise OptionError(f"publish={publish!r} is unknown -> choose one of {', '.join(get_args(Publishing))}")
    views, defaults = list(feature_views), {**RETRIES, **(default_args or {})}
    if publish == "together":
        window = defaults.setdefault("window", "full")
        if window != "full" and not is_template(window):
            raise OptionError(
                f"publish='together' publishes full builds, and runs with window={window!r} write to what is published "
                "-> leave window= out, and make another DAG for such runs"
            )
        defaults["publish"] = False
    arguments = {"catchup": False, "max_active_runs": 1, "doc_md": _documentation(views), **dag_arguments}
    with DAG(dag_id, default_args=defaults, tags=list(tags), **arguments) as dag:
        if publish == "together":
            _published_together(views, max_staleness=max_staleness, on_stale=on_stale, verify=verify)
        else:
            for view in views:
                materialization_group(view, max_staleness=max_staleness, on_stale=on_stale, verify=verify)
    return dag


def materialization_group(
    feature_view: FeatureView | str,
    *,
    max_staleness: timedelta | None = None,
    on_stale: OnStale = "fail",
    verify: Mapping[str, Any] | None = None,
    group_id: str | None = None,
    **group_arguments: Any,
) -> TaskGroup:
    """Make a group of tasks ``materialize`` and, downstream, ``is_fresh`` and ``verify``, in the DAG of the user.

    ``is_fresh`` checks once and does not wait: only the next run makes features fresher, and that run may have to wait
    for this one. To wait for fresh features, put a sensor into another DAG.

    :param feature_view: the view, or its import path.
    :param max_staleness: the greatest lag that ``is_fresh`` accepts; by default that of the view. Without either, or if
        the view is given by its import path, there is no such task.
    :param on_stale: what ``is_fresh`` does when the lag is greater: ``"fail"`` without retries, or ``"warn"`` in its
        log and succeed.
    :param verify: arguments of a task ``verify``, a :class:`.VerifyOperator`, such as ``{"sample": 1_000}``; ``None``
        makes no such task.
    :param group_id: by default the name of the view.
    :param group_arguments: other arguments of :class:`airflow.sdk.TaskGroup`, such as ``default_args``.
    """
    check_reference(feature_view)
    with TaskGroup(group_id or _group_id(feature_view), **group_arguments) as group:
        materialize = MaterializeOperator(task_id="materialize", feature_view=feature_view)
        if _has_objective(feature_view, max_staleness):
            materialize >> _check(feature_view, "is_fresh", max_staleness, on_stale)
        if verify is not None:
            materialize >> VerifyOperator(task_id="verify", feature_view=feature_view, **verify)
    return group


def _published_together(
    views: list[FeatureView | str],
    *,
    max_staleness: timedelta | None,
    on_stale: OnStale,
    verify: Mapping[str, Any] | None,
) -> None:
    """Make the tasks that build, publish and check views; see :func:`materialization_dag`."""
    publish = PublishOperator(task_id="publish", feature_views=views)
    [_build(view) for view in views] >> publish
    watched = [view for view in views if _has_objective(view, max_staleness)]
    if watched:
        with TaskGroup("is_fresh") as fresh:
            for view in watched:
                _check(view, _group_id(view), max_staleness, on_stale)
        publish >> fresh
    if verify is not None:
        with TaskGroup("verify") as verified:
            for view in views:
                VerifyOperator(task_id=_group_id(view), feature_view=view, **verify)
        publish >> verified


def _build(view: FeatureView | str) -> TaskGroup:
    """Make a group with ``materialize`` alone: only what is published can be fresh."""
    check_reference(view)
    with TaskGroup(_group_id(view)) as group:
        MaterializeOperator(task_id="materialize", feature_view=view)
    return group


def _has_objective(view: FeatureView | str, max_staleness: timedelta | None) -> bool:
    return max_staleness is not None or (isinstance(view, FeatureView) and view.max_staleness is not None)


def _check(
    view: FeatureView | str, task_id: str, max_staleness: timedelta | None, on_stale: OnStale
) -> FeatureViewFreshnessCheckOperator:
    return FeatureViewFreshnessCheckOperator(
        task_id=task_id, feature_view=view, max_staleness=max_staleness, on_stale=on_stale
    )


def _group_id(view: FeatureView | str) -> str:
    """Return the name of the view, or the end of its import path, without dots, which Airflow refuses."""
    if isinstance(view, FeatureView):
        return view.name.replace(".", "_")
    return view.replace(":", ".").rpartition(".")[2]


def _documentation(views: Iterable[FeatureView | str]) -> str:
    lines = [f"| {view} | {_source(view)} |" for view in views]
    return "\n".join(("Keeps features fresh in Redis:", "", "| feature view | from |", "| --- | --- |", *lines))


def _source(view: FeatureView | str) -> str:
    return view.source.description if isinstance(view, FeatureView) else "imported when a task runs"
