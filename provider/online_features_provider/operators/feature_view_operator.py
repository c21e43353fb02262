"""What operators that write a feature view have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from online_features.errors import FeatureViewError

from online_features_provider.operators.links import links
from online_features_provider.operators.task_failure import ending_in_words
from online_features_provider.view_reference import check_reference, feature_view_of

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink
    from airflow.sdk.definitions.mappedoperator import OperatorPartial
    from online_features.feature_view import FeatureView


class Killed(SystemExit):
    """Airflow has killed the task; where it has retries left, one follows."""


class FeatureViewOperator(BaseOperator):
    """Writes one feature view.

    :param feature_view: the view, or where to import it from, such as ``"features.views.plane_trips"`` (templated).
    :param postgres_conn_id: Airflow connection of the offline store (templated).
    :param redis_conn_id: Airflow connection of the online store (templated).
    """

    template_fields: Sequence[str] = ("feature_view", "postgres_conn_id", "redis_conn_id")
    operator_extra_links: Collection[BaseOperatorLink] = links()

    mapped_name: ClassVar[str] = "{{ task.feature_view }}"
    """What the UI calls each of the tasks that ``expand`` makes; ``map_index_template=`` says otherwise."""

    _is_working = False

    def __init__(
        self,
        *,
        feature_view: FeatureView | str,
        postgres_conn_id: str = "offline_store",
        redis_conn_id: str = "online_store",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_reference(feature_view)
        self.feature_view = feature_view
        self.postgres_conn_id = postgres_conn_id
        self.redis_conn_id = redis_conn_id

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Arguments that all tasks of an ``expand`` share."""
        if "feature_view" in kwargs:
            check_reference(kwargs["feature_view"])
        return super().partial(**{"map_index_template": cls.mapped_name, **kwargs})

    @contextmanager
    def working(self) -> Iterator[FeatureView]:
        """Yield the feature view to work on; what no retry can mend fails the task at once, and a kill ends it.

        :raises AirflowFailException: in place of a terminal error, with its cure in the message.
        """
        self._is_working = True
        try:
            conn_ids = {"postgres_conn_id": self.postgres_conn_id, "redis_conn_id": self.redis_conn_id}
            with ending_in_words(self.log, **conn_ids):
                yield self._view()
        finally:
            self._is_working = False

    def _view(self) -> FeatureView:
        try:
            return feature_view_of(self.feature_view)
        except FeatureViewError:
            self.operator_extra_links = ()  # there is nothing that they could lead to
            raise

    def on_kill(self) -> None:
        """End the work by an exception.

        Airflow calls this from a signal's handler, in the thread that works; and after a time-out, when the work has
        been ended by an exception of Airflow's own.

        :raises Killed: while there is work.
        """
        if self._is_working:
            self._is_working = False  # a second signal must not interrupt what the first one has begun to end
            raise Killed(f"the task was killed while it wrote feature view {str(self.feature_view)!r}")
