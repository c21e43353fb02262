"""The base of operators that emit events of feature views' assets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow.sdk import BaseOperator
from online_features.errors import FeatureViewError

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

Emission = Literal["changed", "always", "never"]


class EmittingOperator(BaseOperator):
    """Base of operators that emit asset events.

    :param emit: when a successful task emits an event of a view's asset: ``"changed"`` if rows online have changed,
        ``"always"``, or ``"never"``. By default, a run that finds nothing new starts no DAG that is scheduled on the
        view.
    """

    def __init__(self, *, emit: Emission = "changed", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if emit not in get_args(Emission):
            raise FeatureViewError(f"emit={emit!r} is unknown -> choose one of {', '.join(get_args(Emission))}")
        self.emit = emit

    def add_outlet(self, asset: Asset) -> None:
        """Add a view's asset to the user's outlets."""
        if self.emit != "never" and all(getattr(outlet, "uri", None) != asset.uri for outlet in self.outlets):
            self.add_outlets([asset])

    def put_event(self, context: Context, asset: Asset, extra: dict[str, Any]) -> None:
        """Emit an event of a view's asset when the task has succeeded, unless it emits none.

        :param extra: of the event.
        """
        if self.emit != "never" and (events := context.get("outlet_events")) is not None:
            self.add_outlet(asset)
            events[asset].extra = extra

    def withhold_event(self, asset: Asset) -> None:
        """Emit no event of a view's asset: Airflow emits one for each outlet that the task has when it ends."""
        self.outlets = [outlet for outlet in self.outlets if getattr(outlet, "uri", None) != asset.uri]
