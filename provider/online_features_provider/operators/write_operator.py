"""What an operator that writes a feature view tells the rest of Airflow: asset events and lineage."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow.sdk import BaseHook
from online_features.errors import FeatureViewError
from online_features.feature_view import FeatureView

from online_features_provider.assets.feature_view_asset import feature_view_asset
from online_features_provider.operators.feature_view_operator import FeatureViewOperator

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Asset, Context
    from online_features.online.store import OnlineStore

    from online_features_provider.assets.lineage import Lineage

Emission = Literal["changed", "always", "never"]

# Counters of what readers can see.
CHANGES = ("rows_written", "rows_deleted", "entities_pruned")


class AnnouncingOperator(FeatureViewOperator):
    """Base of operators that write a feature view.

    :param emit: when a task that succeeds emits an event of the view's asset: ``"changed"`` where rows were written
        or removed, ``"always"``, or ``"never"``. What is computed from the features is the same after a run that found
        nothing new, so by default those who are scheduled on the view are spared it.
    """

    def __init__(self, *, emit: Emission = "changed", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if emit not in get_args(Emission):
            raise FeatureViewError(f"emit={emit!r} is unknown -> choose one of {', '.join(get_args(Emission))}")
        self.emit = emit
        self._lineage: Lineage | None = None
        # Of a template, or of a view that only workers can import, it is known when the task runs.
        with suppress(FeatureViewError):
            self._declare(feature_view_asset(self.feature_view))

    def _declare(self, asset: Asset) -> None:
        """Make the view's asset an outlet, beside the user's own."""
        if self.emit != "never" and all(getattr(outlet, "uri", None) != asset.uri for outlet in self.outlets):
            self.add_outlets([asset])

    def begin_lineage(
        self,
        view: FeatureView,
        *,
        reads: str | None = None,
        appends: str | None = None,
        writes: tuple[str, OnlineStore] | None = None,
    ) -> None:
        """Note which tables and which Redis are meant, before anything can fail.

        :param reads: connection of the offline store that rows are read from.
        :param appends: connection of the offline store that rows are appended to.
        :param writes: connection of the online store, and the store.
        """
        # Imported here: parsing a DAG file needs none of it.
        from online_features_provider.assets.dataset_locations import online_place, source_place
        from online_features_provider.assets.lineage import Lineage

        source = source_place(BaseHook.get_connection(reads), view) if reads else None
        appended = source_place(BaseHook.get_connection(appends), view) if appends else None
        self._lineage = Lineage(
            view=view,
            source=source,
            appended=appended,
            online=online_place(BaseHook.get_connection(writes[0]), view) if writes else None,
            store=writes[1] if writes else None,
        )
        if source is not None:
            self.add_inlets([source.asset])

    def announce(self, context: Context, view: FeatureView, result: dict[str, Any]) -> None:
        """Emit the asset event that is due, or none.

        :param result: of the run or push, which becomes the event's extra.
        """
        asset = feature_view_asset(view)
        if self._lineage is not None:
            self._lineage.result = result
        if self.emit == "changed" and not any(result.get(counter) for counter in CHANGES):
            # Airflow emits an event for each outlet that a task has when it ends.
            self.outlets = [outlet for outlet in self.outlets if getattr(outlet, "uri", None) != asset.uri]
            self.log.info("No asset event of feature view %r: no row online has changed", view.name)
        elif self.emit != "never" and (events := context.get("outlet_events")) is not None:
            self._declare(asset)
            source = self._lineage.source if self._lineage is not None else None
            events[asset].extra = {**result, "source": source.asset.uri if source is not None else None}

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:  # noqa: ARG002
        """What OpenLineage is told of a task that has ended; of one that failed, only what it meant to do."""
        if self._lineage is None:
            return None
        # Imported here: only where OpenLineage asks is it installed.
        from online_features_provider.assets.openlineage import facets

        return facets(self._lineage)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """The same: see :meth:`get_openlineage_facets_on_complete`."""
        return self.get_openlineage_facets_on_complete(task_instance)
