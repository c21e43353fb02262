"""The bases of all operators and sensors: tasks on one feature view, or on several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from online_features.errors import FeatureViewError
from online_features.feature_view import FeatureView

from online_features_provider.assets.feature_view import feature_view_asset
from online_features_provider.operators._emitting_operator import EmittingOperator
from online_features_provider.operators.rendered_fields import is_template
from online_features_provider.view_reference import check_reference, feature_view_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class FeatureViewOperator(BaseOperator):
    """Base of operators and sensors on one feature view.

    :param feature_view: the view, or its import path, such as ``"features.views.plane_trips"``.
    :param redis_conn_id: Airflow connection of the online store.
    """

    template_fields: Sequence[str] = ("feature_view", "redis_conn_id")

    def __init__(self, *, feature_view: FeatureView | str, redis_conn_id: str = "online_store", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_reference(feature_view)
        self.feature_view = feature_view
        self.redis_conn_id = redis_conn_id


class FeatureViewList(list[Any]):
    """Feature views, which Airflow serializes by their names."""

    def serialize(self) -> list[str]:
        """Return the names, or import paths."""
        return [str(view) for view in self]


class FeatureViewsOperator(BaseOperator):
    """Base of operators that change what readers see of several feature views, in one step.

    :param feature_views: the views, or their import paths; all of one project.
    :param redis_conn_id: Airflow connection of the online store.
    """

    template_fields: Sequence[str] = ("feature_views", "redis_conn_id")

    def __init__(
        self, *, feature_views: Sequence[FeatureView | str] | str, redis_conn_id: str = "online_store", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not is_template(feature_views):
            feature_views = _checked(feature_views)
        self.feature_views = feature_views
        self.redis_conn_id = redis_conn_id

    def _do_render_template_fields(self, *arguments: Any, **named_arguments: Any) -> None:
        """Render the fields; the rendered views are shown by their names."""
        super()._do_render_template_fields(*arguments, **named_arguments)
        if isinstance(self.feature_views, list):
            self.feature_views = FeatureViewList(self.feature_views)

    def views(self) -> list[FeatureView]:
        """Return the views, imported if needed.

        :raises FeatureViewError: when there is no such view, or they cannot be changed in one step.
        """
        views = [feature_view_of(reference) for reference in _checked(self.feature_views)]
        _checked(views)
        return views


class SwitchOperator(EmittingOperator, FeatureViewsOperator):
    """Base of those that emit an asset event of each view."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A template, or a view that only workers can import, is known when the task runs.
        for view in self.feature_views if isinstance(self.feature_views, list) else ():
            with suppress(FeatureViewError):
                self.add_outlet(feature_view_asset(view))

    def emit_events(self, context: Context, extras: Iterable[tuple[FeatureView, dict[str, Any]]]) -> None:
        """Emit an event of each view's asset.

        :param extras: each view with the extra of its event.
        """
        for view, extra in extras:
            self.put_event(context, feature_view_asset(view), extra)


def origin_of(context: Context) -> dict[str, str | int]:
    """Return the task's ids and try number for the run history."""
    task = context.get("ti")
    names = ("dag_id", "run_id", "task_id", "map_index", "try_number")
    return {} if task is None else {name: getattr(task, name) for name in names}


def _checked(references: Any) -> FeatureViewList:
    """Validate the views without importing any.

    :raises FeatureViewError: with the cure.
    """
    if isinstance(references, str) or not isinstance(references, Sequence):
        raise FeatureViewError(f"feature_views={references!r} is not a list of feature views -> give a list")
    views = FeatureViewList(references)
    if not views:
        raise FeatureViewError("feature_views=[] names no view -> name at least one")
    for view in views:
        check_reference(view)
    names = views.serialize()
    if repeated := {name for name in names if names.count(name) > 1}:
        raise FeatureViewError(f"feature view {min(repeated)!r} is given twice -> name each view once")
    known = [view for view in views if isinstance(view, FeatureView)]
    if len(projects := sorted({view.project for view in known})) > 1:
        raise FeatureViewError(
            f"feature views of projects {projects[0]!r} and {projects[1]!r} cannot switch in one step "
            "-> make a task for each project"
        )
    for view in known:
        if view.layout == "feast":
            raise FeatureViewError(
                f"feature view {view.name!r}: layout 'feast' has one generation, written in place "
                "-> give the view another layout"
            )
    return views
