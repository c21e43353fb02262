"""The operators that take a published generation back, and that end the hold which follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from online_features.common.log_lines import say

from online_features_provider.operators._feature_view_operator import FeatureViewsOperator, SwitchOperator, origin_of
from online_features_provider.operators.rendered_fields import parse_bool
from online_features_provider.operators.task_failure import readable_errors

if TYPE_CHECKING:
    from airflow.sdk import Context


class RollbackOperator(SwitchOperator):
    """Let readers see what was published before in each view, all in one step, and hold the views.

    While a view is held, full runs build but do not publish, and increments are skipped. Pushes and erasures go on. If
    one of the views has nothing to go back to, none goes back. A retry goes back no further.

    All parameters but ``emit`` are templated.

    :param feature_views: the views, or their import paths; all of one project.
    :param redis_conn_id: Airflow connection of the online store.
    :param ignore_missed: go back also to a generation that lacks pushed rows, which its definition did not allow.
    :param emit: when a successful task emits an event of each view's asset: ``"changed"``, the default, and
        ``"always"`` are the same here; or ``"never"``. The extra has ``feature_view``, ``generation`` and
        ``is_rolled_back``.
    :returns: the name of each view with its published generation.
    """

    template_fields: Sequence[str] = (*SwitchOperator.template_fields, "ignore_missed")
    ui_color = "#fce8e6"

    def __init__(self, *, ignore_missed: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_missed = ignore_missed

    def execute(self, context: Context) -> dict[str, str]:
        """Roll the views back; return their generations."""
        from online_features_provider.hooks.online import OnlineStoreHook

        with readable_errors(self.log, redis_conn_id=self.redis_conn_id):
            views = self.views()
            online = OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store()
            ignore_missed = parse_bool("ignore_missed", self.ignore_missed)
            published = online.rollback(views, ignore_missed=ignore_missed, origin=origin_of(context))
        for view in views:
            say(
                self.log.warning,
                f"Feature view {view.name!r} is rolled back to generation {published[view.name]} and held "
                "-> correct the source, then release the view",
            )
        self.emit_events(context, [
            (view, {"feature_view": str(view), "generation": published[view.name], "is_rolled_back": True})
            for view in views
        ])  # fmt: skip
        return published


class ReleaseOperator(FeatureViewsOperator):
    """End what holds the views after a rollback, all in one step; the next run of each is a full one.

    All parameters are templated. Views that are not held stay as they are.

    :param feature_views: the views, or their import paths; all of one project.
    :param redis_conn_id: Airflow connection of the online store.
    """

    ui_color = "#fce8e6"

    def execute(self, context: Context) -> None:  # noqa: ARG002
        """Release the views."""
        from online_features_provider.hooks.online import OnlineStoreHook

        with readable_errors(self.log, redis_conn_id=self.redis_conn_id):
            OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store().release(self.views())
