"""The operator that pushes rows of a feature view."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow.providers.common.compat.sdk import determine_kwargs
from online_features.common.log_lines import say
from online_features.errors import FeatureViewError

from online_features_provider.metrics import emit_result
from online_features_provider.operators._write_operator import EmittingWriteOperator
from online_features_provider.operators.rendered_fields import is_template

if TYPE_CHECKING:
    from airflow.sdk import Context
    from online_features.feature_view import FeatureView
    from online_features.online.write.push import PushResult
    from online_features.producers.appending import AppendResult
    from online_features.producers.given_rows import PushableRows

PushMode = Literal["online", "offline", "online_and_offline"]


class PushOperator(EmittingWriteOperator):
    """Write rows of a feature view online, append them offline, or both.

    Retries are safe: a row never replaces a newer one. An error that no retry can cure fails the task at once, with the
    cure in its message.

    :param feature_view: the view, or its import path, such as ``"features.views.plane_trips"``, which is imported when
        the task runs (templated).
    :param rows: rows as for :meth:`~online_features.OnlineStore.push`, for example the output of an upstream task
        (templated); or a callable that returns them. It may name keys of Airflow's context as its parameters.
    :param mode: ``"online"``, the default; ``"offline"`` appends the rows to the view's table, and the next
        materialization writes them online; ``"online_and_offline"`` appends them, then writes them online (templated).
    :param redis_conn_id: Airflow connection of the online store (templated).
    :param postgres_conn_id: Airflow connection of the offline store (templated).
    :param emit: when a successful task emits an event of the view's asset: ``"changed"``, the default, if rows were
        written online; ``"always"``; or ``"never"``.
    :returns: the counters as a dictionary; the rows never become an XCom.
    """

    template_fields: Sequence[str] = (*EmittingWriteOperator.template_fields, "rows", "mode")
    ui_color = "#fef3e2"

    def __init__(
        self,
        *,
        rows: PushableRows | Callable[..., PushableRows],
        mode: PushMode | str = "online",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Airflow serializes templated fields with the DAG. It would call a callable, and the repr of other objects
        # differs between processes, which would make a new DAG version each time.
        is_templated = is_template(rows) or isinstance(rows, (str, list, tuple, dict))
        self.rows = rows if is_templated else None
        self.make_rows = None if is_templated else rows if callable(rows) else lambda: rows
        self.mode = mode
        if not is_template(mode):
            self._check_mode()

    def execute(self, context: Context) -> dict[str, Any]:
        """Push the rows; return the counters."""
        if self.make_rows is not None:
            return self.push(self.make_rows(**determine_kwargs(self.make_rows, (), context)), context)
        return self.push(_joined(self.rows), context)

    def push(self, rows: PushableRows, context: Context) -> dict[str, Any]:
        """Push rows in the operator's mode; return the counters."""
        with self.working() as view:
            result = self._pushed(view, rows)
        emit_result("push", view, result)
        returned = result.to_dict()
        counts = ", ".join(
            f"{value} {name.removeprefix('rows_')}" for name, value in returned.items() if "rows" in name
        )
        say(self.log.info, f"Pushed rows of feature view {view.name!r}: {counts}")
        self.emit_event(context, view, returned)
        return returned

    def _check_mode(self) -> None:
        if self.mode not in get_args(PushMode):
            raise FeatureViewError(f"mode={self.mode!r} is unknown -> choose one of {', '.join(get_args(PushMode))}")

    def _pushed(self, view: FeatureView, rows: PushableRows) -> AppendResult | PushResult:
        # Imported here: parsing a DAG file loads no driver.
        from online_features_provider.hooks.offline import OfflineStoreHook
        from online_features_provider.hooks.online import OnlineStoreHook

        self._check_mode()
        offline = None
        if self.mode != "online":
            offline = OfflineStoreHook(postgres_conn_id=self.postgres_conn_id).get_store()
        if offline is not None and self.mode == "offline":
            self.begin_lineage(view, appends=self.postgres_conn_id)
            return offline.append(view, rows)
        online = OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store()
        appends = self.postgres_conn_id if offline is not None else None
        self.begin_lineage(view, appends=appends, writes=(self.redis_conn_id, online))
        return online.push(view, rows, offline=offline)


def _joined(rows: Any) -> Any:
    """Join the results of mapped tasks, each a row or a list of rows; return other rows unchanged."""
    if not isinstance(rows, Sequence) or isinstance(rows, str) or (rows and isinstance(rows[0], Mapping)):
        return rows
    return (row for result in rows for row in (result if isinstance(result, list) else [result]))
