"""Push as a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow.providers.common.compat.sdk import AirflowFailException, determine_kwargs
from airflow.sdk import BaseOperator

from online_features.errors import FeatureViewError, TerminalError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from online_features.feature_view import FeatureView
    from online_features.online.store import PushableRows

PushMode = Literal["online", "offline", "online_and_offline"]


class PushOperator(BaseOperator):
    """Writes rows online without waiting for a materialization, under the same guard; or appends them offline, too.

    Retries are safe: no row ever replaces a newer one. What no retry can mend fails at once, with the cure in the
    message.

    :param feature_view: whose rows they are.
    :param rows: what :meth:`~online_features.OnlineStore.push` takes, for example the output of an upstream task
        (templated); or a callable that returns it, called with those of the context's keyword arguments that it names.
    :param mode: ``"online"``; ``"offline"`` appends the rows to the view's table, from where the next materialization
        takes them online; ``"online_and_offline"`` appends them, and then writes them online (templated).
    :param redis_conn_id: Airflow connection of the online store (templated).
    :param postgres_conn_id: Airflow connection of the offline store (templated).
    :returns: the counters as a dictionary; the rows themselves never become an XCom.
    """

    template_fields: Sequence[str] = ("rows", "mode", "redis_conn_id", "postgres_conn_id")
    ui_color = "#fef3e2"

    def __init__(
        self,
        *,
        feature_view: FeatureView,
        rows: PushableRows | Callable[..., PushableRows],
        mode: PushMode | str = "online",
        redis_conn_id: str = "online_store",
        postgres_conn_id: str = "offline_store",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_view = feature_view
        # Airflow would take a callable in a templated field for one of its own.
        self.rows = None if callable(rows) else rows
        self.make_rows = rows if callable(rows) else None
        self.mode = mode
        self.redis_conn_id = redis_conn_id
        self.postgres_conn_id = postgres_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Push the rows; the counters are the task's XCom."""
        if self.make_rows is not None:
            return self.push(self.make_rows(**determine_kwargs(self.make_rows, (), context)))
        return self.push(self.rows)

    def push(self, rows: PushableRows) -> dict[str, Any]:
        """Push rows as the operator's mode says."""
        try:
            result = self._pushed(rows)
        except TerminalError as error:
            raise AirflowFailException(str(error)) from error
        counts = ", ".join(f"{value} {name.removeprefix('rows_')}" for name, value in result.items() if "rows" in name)
        self.log.info("Pushed rows of feature view %r: %s", self.feature_view.name, counts)
        return result

    def _pushed(self, rows: PushableRows) -> dict[str, Any]:
        # Imported here: parsing a DAG file loads no driver.
        from online_features.hooks.offline import OfflineStoreHook
        from online_features.hooks.online import OnlineStoreHook

        if self.mode not in get_args(PushMode):
            raise FeatureViewError(f"mode={self.mode!r} is unknown: choose one of {', '.join(get_args(PushMode))}")
        offline = None
        if self.mode != "online":
            offline = OfflineStoreHook(postgres_conn_id=self.postgres_conn_id).get_store()
        if offline is not None and self.mode == "offline":
            return offline.append(self.feature_view, rows).to_dict()
        online = OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store()
        return online.push(self.feature_view, rows, offline=offline).to_dict()
