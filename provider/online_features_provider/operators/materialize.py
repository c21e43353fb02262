"""The operator that materializes a feature view."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from online_features.errors import WindowError

from online_features_provider.metrics import emit_result
from online_features_provider.operators._rendered_fields import count, duration, given, instant, is_template, parse_bool
from online_features_provider.operators._write_operator import WriteOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.mappedoperator import OperatorPartial

WindowMode = Literal["incremental", "data_interval", "full"]
DEFAULT_WINDOW: WindowMode = "incremental"


class MaterializeOperator(WriteOperator):
    """Copy the newest row of each entity from Postgres to Redis.

    Retries, backfills and overlapping runs are safe: a row never replaces a newer one. An error that no retry can cure
    fails the task at once, with the cure in its message. A task that is killed or timed out cancels its query.

    All parameters but ``emit`` are templated. A parameter whose template renders to nothing counts as not given.

    :param feature_view: the view, or its import path, such as ``"features.views.plane_trips"``, which is imported when
        the task runs.
    :param postgres_conn_id: Airflow connection of the offline store.
    :param redis_conn_id: Airflow connection of the online store.
    :param window: ``"incremental"``, the default, reads rows that came since the last run; ``"data_interval"`` reads
        rows whose event timestamp is in the DAG run's data interval; ``"full"`` reads all rows. Data intervals move the
        watermark only if the first begins before the source's oldest row, or after a run of another mode.
    :param start: instead of ``window``: read rows with an event timestamp at or after this aware datetime, or its
        ISO-8601 text.
    :param end: instead of ``window``: read rows with an event timestamp before this aware datetime, or its ISO-8601
        text.
    :param prune: with ``window="full"``, also remove online entities that the source no longer has.
    :param lookback: how far an incremental run reads back before the end of the last one: a timedelta or its ISO-8601
        text.
    :param retry_for: how long to retry within one attempt of the task when a store cannot be reached; default one
        minute.
    :param wait_for_replicas: how many replicas of Redis must have the rows before the watermark moves; default none.
    :param replica_timeout: how long to wait for them; default ten seconds.
    :param statement_timeout: how long each statement may take in Postgres, including the one that reads all rows;
        default: the setting of connection, role or server.
    :param emit: when a successful task emits an event of the view's asset: ``"changed"``, the default, if rows were
        written or removed; ``"always"``; or ``"never"``.
    :returns: the :class:`~online_features.MaterializationResult` as a dictionary.
    """

    template_fields: Sequence[str] = (
        *WriteOperator.template_fields, "window", "start", "end", "prune", "lookback",
        "retry_for", "wait_for_replicas", "replica_timeout", "statement_timeout",
    )  # fmt: skip
    mapped_name: ClassVar[str] = (
        "{{ task.feature_view }}{% if task.start or task.end %} from {{ task.start }} to {{ task.end }}{% endif %}"
    )
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        window: WindowMode | str | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        prune: bool | str = False,
        lookback: timedelta | str | None = None,
        retry_for: timedelta | str | None = None,
        wait_for_replicas: int | str | None = None,
        replica_timeout: timedelta | str | None = None,
        statement_timeout: timedelta | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_window(window)
        self.window = window
        self.start = start
        self.end = end
        self.prune = prune
        self.lookback = lookback
        self.retry_for = retry_for
        self.wait_for_replicas = wait_for_replicas
        self.replica_timeout = replica_timeout
        self.statement_timeout = statement_timeout

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Set the arguments that all mapped tasks share."""
        check_window(kwargs.get("window"))
        return super().partial(**kwargs)

    def _do_render_template_fields(self, *arguments: Any, **named_arguments: Any) -> None:
        """Render the fields, and set the default window, so that the UI shows what the task does."""
        super()._do_render_template_fields(*arguments, **named_arguments)
        if given(self.window) is None and given(self.start) is None and given(self.end) is None:
            self.window = DEFAULT_WINDOW

    def execute(self, context: Context) -> dict[str, Any]:
        """Materialize the window; return the result."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.materialization.materialize import materialize

        from online_features_provider.hooks.offline import OfflineStoreHook
        from online_features_provider.hooks.online import OnlineStoreHook

        with self.working() as view:
            hook = OfflineStoreHook(postgres_conn_id=self.postgres_conn_id)
            offline = hook.get_store(statement_timeout=duration("statement_timeout", self.statement_timeout))
            online = OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store()
            self.begin_lineage(view, reads=self.postgres_conn_id, writes=(self.redis_conn_id, online))
            result = materialize(
                view,
                offline,
                online,
                prune=parse_bool("prune", self.prune),
                origin=origin_of(context),
                lookback=duration("lookback", self.lookback),
                **{name: option for name, option in self._options().items() if option is not None},
                **window_arguments(context, window=self.window, start=self.start, end=self.end),
            )
        emit_result("materialize", view, result)
        returned = {"feature_view": str(view), **result.to_dict()}
        self.emit_event(context, view, returned)
        return returned

    def _options(self) -> dict[str, Any]:
        """Return options of :func:`~online_features.materialize`, ``None`` if not given."""
        return {
            "retry_for": duration("retry_for", self.retry_for),
            "wait_for_replicas": count("wait_for_replicas", self.wait_for_replicas),
            "replica_timeout": duration("replica_timeout", self.replica_timeout),
        }


def origin_of(context: Context) -> dict[str, str | int]:
    """Return the task's ids and try number for the run history."""
    task = context.get("ti")
    names = ("dag_id", "run_id", "task_id", "map_index", "try_number")
    return {} if task is None else {name: getattr(task, name) for name in names}


def window_arguments(
    context: Context, *, window: str | None, start: datetime | str | None, end: datetime | str | None
) -> dict[str, Any]:
    """Return the window as arguments of :func:`~online_features.materialize`.

    :raises WindowError: naming the field and the cure.
    """
    if given(start) is not None or given(end) is not None:
        if given(window) is not None:
            raise WindowError(f"window={window!r} and start=/end= exclude each other -> give one of them")
        return {"start": instant("start", start), "end": instant("end", end)}
    match given(window):
        case None | "incremental":
            return {}
        case "full":
            return {"full": True}
        case "data_interval":
            return _data_interval(context)
    raise _unknown(window)


def check_window(window: WindowMode | str | None) -> None:
    """Validate the mode unless it is a template.

    :raises WindowError: naming the known modes.
    """
    if not is_template(window) and given(window) not in (None, *get_args(WindowMode)):
        raise _unknown(window)


def _unknown(window: object) -> WindowError:
    return WindowError(f"window={window!r} is unknown -> choose one of {', '.join(get_args(WindowMode))}")


def _data_interval(context: Context) -> dict[str, Any]:
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None or end is None:
        raise WindowError("this DAG run has no data interval -> use window='incremental', or start= and end=")
    if start == end and "DataInterval" in type(getattr(context.get("dag"), "timetable", None)).__name__:
        raise WindowError(
            f"this DAG run's data interval is empty ({start.isoformat()}), as Airflow makes it for a run by hand where "
            "the clocks skip the scheduled hour -> give start= and end=, or schedule the DAG by UTC or at another hour"
        )
    if start == end:
        raise WindowError(
            f"this DAG run's data interval is empty ({start.isoformat()}), as a cron schedule makes it by default "
            "-> schedule the DAG with CronDataIntervalTimetable, or use window='incremental'"
        )
    return {"start": start, "end": end}
