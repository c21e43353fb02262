"""The bases of operators that write a feature view: errors, lineage and asset events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseHook
from online_features.errors import FeatureViewError

from online_features_provider.assets.feature_view import feature_view_asset
from online_features_provider.operators._emitting_operator import EmittingOperator
from online_features_provider.operators._feature_view_operator import FeatureViewOperator
from online_features_provider.operators.links import links
from online_features_provider.operators.task_failure import KillableOperator, readable_errors
from online_features_provider.view_reference import check_reference, feature_view_of

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import BaseOperatorLink, Context
    from airflow.sdk.definitions.mappedoperator import OperatorPartial
    from online_features.feature_view import FeatureView
    from online_features.online.store import OnlineStore

    from online_features_provider.assets.lineage import Lineage

CHANGES = ("rows_written", "rows_deleted", "entities_pruned")  # counters of changes that readers can see


class WriteOperator(KillableOperator, FeatureViewOperator):
    """Base of operators that write a feature view.

    :param postgres_conn_id: Airflow connection of the offline store.
    """

    template_fields: Sequence[str] = (*FeatureViewOperator.template_fields, "postgres_conn_id")
    operator_extra_links: Collection[BaseOperatorLink] = links()

    mapped_name: ClassVar[str] = "{{ task.feature_view }}"
    """The name of each mapped task in the UI, unless ``map_index_template=`` is given."""

    def __init__(self, *, postgres_conn_id: str = "offline_store", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.postgres_conn_id = postgres_conn_id
        self._lineage: Lineage | None = None

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Set the arguments that all mapped tasks share."""
        if "feature_view" in kwargs:
            check_reference(kwargs["feature_view"])
        return super().partial(**{"map_index_template": cls.mapped_name, **kwargs})

    @contextmanager
    def working(self) -> Iterator[FeatureView]:
        """Yield the feature view to work on; a terminal error fails the task without retries, and a kill ends it.

        :raises AirflowFailException: in place of a terminal error, with its cure in the message.
        """
        conn_ids = {"postgres_conn_id": self.postgres_conn_id, "redis_conn_id": self.redis_conn_id}
        with self.doing(f"wrote feature view {str(self.feature_view)!r}"), readable_errors(self.log, **conn_ids):
            yield self._view()

    def _view(self) -> FeatureView:
        try:
            return feature_view_of(self.feature_view)
        except FeatureViewError:
            self.operator_extra_links = ()  # a link needs a view
            raise

    def begin_lineage(
        self,
        view: FeatureView,
        *,
        reads: str | None = None,
        appends: str | None = None,
        writes: tuple[str, OnlineStore] | None = None,
    ) -> None:
        """Record the datasets of the task, before anything can fail.

        :param reads: connection of the offline store that rows are read from.
        :param appends: connection of the offline store that rows are appended to.
        :param writes: connection of the online store, and the store.
        """
        # Imported here: parsing a DAG file needs none of it.
        from online_features_provider.assets.dataset_locations import online_location, source_location
        from online_features_provider.assets.lineage import Lineage

        source = source_location(BaseHook.get_connection(reads), view) if reads else None
        appended = source_location(BaseHook.get_connection(appends), view) if appends else None
        self._lineage = Lineage(
            view=view,
            source=source,
            appended=appended,
            online=online_location(BaseHook.get_connection(writes[0]), view) if writes else None,
            store=writes[1] if writes else None,
        )
        if source is not None:
            self.add_inlets([source.asset])

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:  # noqa: ARG002
        """Return the lineage of a finished task for OpenLineage; of a failed one, without counts and columns."""
        if self._lineage is None:
            return None
        # Imported here: OpenLineage is installed only where it is used.
        from online_features_provider.assets.openlineage import facets

        return facets(self._lineage)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the lineage of a failed task; see :meth:`get_openlineage_facets_on_complete`."""
        return self.get_openlineage_facets_on_complete(task_instance)


class EmittingWriteOperator(EmittingOperator, WriteOperator):
    """Base of those that emit an event of the view's asset."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A template, or a view that only workers can import, is known when the task runs.
        with suppress(FeatureViewError):
            self.add_outlet(feature_view_asset(self.feature_view))

    def emit_event(
        self, context: Context, view: FeatureView, result: dict[str, Any], *, is_switched: bool = False
    ) -> None:
        """Emit the asset event of the task, if one is due.

        :param result: of the run or push; the event's extra.
        :param is_switched: whether readers have come to see other rows, although none may have been written.
        """
        asset = feature_view_asset(view)
        if self._lineage is not None:
            self._lineage.result = result
        if not result.get("is_published", True):
            self.withhold_event(asset)
            self.log.info("No asset event of feature view %r: its new generation is not published", view.name)
        elif self.emit == "changed" and not is_switched and not any(result.get(counter) for counter in CHANGES):
            self.withhold_event(asset)
            self.log.info("No asset event of feature view %r: no row online has changed", view.name)
        else:
            source = self._lineage.source if self._lineage is not None else None
            self.put_event(context, asset, {**result, "source": source.asset.uri if source is not None else None})
