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
from online_features_provider.operators.parts import FinishBuildOperator, MaterializePartOperator, PlanBuildOperator
from online_features_provider.operators.publish import PublishOperator
from online_features_provider.operators.rendered_fields import given, is_template
from online_features_provider.operators.run_window import WindowMode
from online_features_provider.operators.verify import VerifyOperator
from online_features_provider.view_reference import check_reference, short_name

Publishing = Literal["each", "together"]

# A store that restarts is back by the second or third retry.
RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": type(BaseOperator.retry_exponential_backoff)(2),  # a flag in Airflow 3.1, later a base
}

# Arguments of MaterializeOperator that a build in parts cannot follow.
NOT_IN_PARTS = ("start", "end", "lookback", "in_place", "overwrite", "parallel")


def materialization_dag(
    feature_views: Iterable[FeatureView | str],
    *,
    dag_id: str = "materialization",
    publish: Publishing = "each",
    parts: int | str | None = None,
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
    :param parts: as for :func:`materialization_group`. With ``publish="together"``, the last task of each group is
        named ``finish``.
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
    if parts is not None:
        _check_parts(defaults)
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
            _published_together(views, parts=parts, max_staleness=max_staleness, on_stale=on_stale, verify=verify)
        else:
            for view in views:
                materialization_group(view, parts=parts, max_staleness=max_staleness, on_stale=on_stale, verify=verify)
    return dag


def materialization_group(
    feature_view: FeatureView | str,
    *,
    window: WindowMode | str | None = None,
    parts: int | str | None = None,
    max_staleness: timedelta | None = None,
    on_stale: OnStale = "fail",
    verify: Mapping[str, Any] | None = None,
    group_id: str | None = None,
    **group_arguments: Any,
) -> TaskGroup:
    """Make a group of tasks ``materialize`` and, downstream, ``is_fresh`` and ``verify``, in the DAG of the user.

    With ``parts``, the view is built in full by tasks ``plan``, ``part``, mapped over the parts of the plan, and
    ``publish``, in place of ``materialize``.

    ``is_fresh`` checks once and does not wait: only the next run makes features fresher, and that run may have to wait
    for this one. To wait for fresh features, put a sensor into another DAG.

    :param feature_view: the view, or its import path.
    :param window: as for :class:`.MaterializeOperator`; by default that of ``default_args``.
    :param parts: into how many parts to divide a full build, as for :class:`.PlanBuildOperator`; ``None`` leaves it to
        one task.
    :param max_staleness: the greatest lag that ``is_fresh`` accepts; by default that of the view. Without either, or if
        the view is given by its import path, there is no such task.
    :param on_stale: what ``is_fresh`` does when the lag is greater: ``"fail"`` without retries, or ``"warn"`` in its
        log and succeed.
    :param verify: arguments of a task ``verify``, a :class:`.VerifyOperator`, such as ``{"sample": 1_000}``; ``None``
        makes no such task.
    :param group_id: by default the name of the view.
    :param group_arguments: other arguments of :class:`airflow.sdk.TaskGroup`, such as ``default_args``.
    :raises OptionError: when a build in parts cannot follow another argument.
    """
    check_reference(feature_view)
    given_window = {} if window is None else {"window": window}
    if parts is not None:
        _check_parts({**(group_arguments.get("default_args") or {}), **given_window})
    with TaskGroup(group_id or _group_id(feature_view), **group_arguments) as group:
        materialize = _materialize(feature_view, parts, last="publish", **given_window)
        if _has_objective(feature_view, max_staleness):
            materialize >> _check(feature_view, "is_fresh", max_staleness, on_stale)
        if verify is not None:
            materialize >> VerifyOperator(task_id="verify", feature_view=feature_view, **verify)
    return group


def _published_together(
    views: list[FeatureView | str],
    *,
    parts: int | str | None,
    max_staleness: timedelta | None,
    on_stale: OnStale,
    verify: Mapping[str, Any] | None,
) -> None:
    """Make the tasks that build, publish and check views; see :func:`materialization_dag`."""
    publish = PublishOperator(task_id="publish", feature_views=views)
    [_build(view, parts) for view in views] >> publish
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


def _build(view: FeatureView | str, parts: int | str | None) -> TaskGroup:
    """Make a group that only builds: what is not published cannot be fresh."""
    check_reference(view)
    with TaskGroup(_group_id(view)) as group:
        _materialize(view, parts, last="finish")
    return group


def _materialize(view: FeatureView | str, parts: int | str | None, *, last: str, **window: str) -> BaseOperator:
    """Make the task that materializes a view, or those that build it in parts, and return the last one.

    :param last: the name of the last one of those in parts. It says what the task does: it publishes, or leaves that to
        the DAG's task ``publish``.
    """
    if parts is None:
        return MaterializeOperator(task_id="materialize", feature_view=view, **window)
    plan = PlanBuildOperator(task_id="plan", feature_view=view, parts=parts)
    copied = MaterializePartOperator.partial(task_id="part", feature_view=view).expand(part=plan.output)
    finish = FinishBuildOperator(task_id=last, feature_view=view, parts=plan.output)
    copied >> finish
    return finish


def _check_parts(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that contradict a build in parts.

    :raises OptionError: naming the argument.
    """
    if (window := given(arguments.get("window"))) not in (None, "full"):
        raise OptionError(f"window={window!r} does not build a view in full -> give window='full' with parts=")
    for name in NOT_IN_PARTS:
        if value := arguments.get(name):
            raise OptionError(f"{name}={value!r} is not for a build in parts -> leave it out, or parts=")


def _has_objective(view: FeatureView | str, max_staleness: timedelta | None) -> bool:
    return max_staleness is not None or (isinstance(view, FeatureView) and view.max_staleness is not None)


def _check(
    view: FeatureView | str, task_id: str, max_staleness: timedelta | None, on_stale: OnStale
) -> FeatureViewFreshnessCheckOperator:
    return FeatureViewFreshnessCheckOperator(
        task_id=task_id, feature_view=view, max_staleness=max_staleness, on_stale=on_stale
    )


def _group_id(view: FeatureView | str) -> str:
    """Return the name of a view as that of a group: without dots, which Airflow refuses."""
    return short_name(view).replace(".", "_")


def _documentation(views: Iterable[FeatureView | str]) -> str:
    lines = [f"| {view} | {_source(view)} |" for view in views]
    return "\n".join(("Keeps features fresh in Redis:", "", "| feature view | from |", "| --- | --- |", *lines))


def _source(view: FeatureView | str) -> str:
    return view.source.description if isinstance(view, FeatureView) else "imported when a task runs"
