"""Materialization as a task."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import BaseOperator

from online_features.errors import TerminalError, WindowError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from online_features.feature_view import FeatureView

WindowMode = Literal["incremental", "data_interval", "full"]


class MaterializeOperator(BaseOperator):
    """Copies the newest row of each entity from Postgres to Redis.

    Retries, backfills and overlapping runs are safe: no row ever replaces a newer one. What no retry can mend fails
    at once, with the cure in the message.

    :param feature_view: what to materialize.
    :param postgres_conn_id: Airflow connection of the offline store (templated).
    :param redis_conn_id: Airflow connection of the online store (templated).
    :param window: ``"incremental"`` reads what came since the last run; ``"data_interval"`` the rows whose event
        timestamp is in the DAG run's data interval; ``"full"`` all of history (templated). Windows make a watermark
        only if the first of them begins with the source's history, or after a run of another mode.
    :param start: instead of ``window``, read rows with an event timestamp from here on: an aware datetime or its
        ISO-8601 text (templated).
    :param end: likewise, before this (templated).
    :param prune: with ``window="full"``, also remove online entities that the source no longer has.
    :param lookback: how far an incremental run reads back over the last one.
    :returns: the :class:`~online_features.MaterializationResult` as a dictionary.
    """

    template_fields: Sequence[str] = ("postgres_conn_id", "redis_conn_id", "window", "start", "end")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        feature_view: FeatureView,
        postgres_conn_id: str = "offline_store",
        redis_conn_id: str = "online_store",
        window: WindowMode | str | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        prune: bool = False,
        lookback: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_view = feature_view
        self.postgres_conn_id = postgres_conn_id
        self.redis_conn_id = redis_conn_id
        self.window = window
        self.start = start
        self.end = end
        self.prune = prune
        self.lookback = lookback

    def execute(self, context: Context) -> dict[str, Any]:
        """Materialize the window; the result is the task's XCom."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.hooks.offline import OfflineStoreHook
        from online_features.hooks.online import OnlineStoreHook
        from online_features.materialization import materialize

        try:
            return materialize(
                self.feature_view,
                OfflineStoreHook(postgres_conn_id=self.postgres_conn_id).get_store(),
                OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store(),
                prune=self.prune,
                lookback=self.lookback,
                **window_arguments(context, window=self.window, start=self.start, end=self.end),
            ).to_dict()
        except TerminalError as error:
            raise AirflowFailException(str(error)) from error


def window_arguments(
    context: Context, *, window: str | None, start: datetime | str | None, end: datetime | str | None
) -> dict[str, Any]:
    """What :func:`~online_features.materialize` takes, from an operator's rendered fields.

    :raises WindowError: naming the field and the cure.
    """
    if start is not None or end is not None:
        if window is not None:
            raise WindowError(f"window={window!r} and start=/end= exclude each other: give one of them")
        return {"start": _instant("start", start), "end": _instant("end", end)}
    match window:
        case None | "incremental":
            return {}
        case "full":
            return {"full": True}
        case "data_interval":
            return _data_interval(context)
    raise WindowError(f"window={window!r} is unknown: choose one of {', '.join(get_args(WindowMode))}")


def _data_interval(context: Context) -> dict[str, Any]:
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None or end is None:
        raise WindowError("this DAG run has no data interval: use window='incremental', or start= and end=")
    if start == end:
        raise WindowError(
            f"this DAG run's data interval is empty ({start.isoformat()}), as a cron schedule makes it by default: "
            "schedule the DAG with CronDataIntervalTimetable, or use window='incremental'"
        )
    return {"start": start, "end": end}


def _instant(name: str, value: datetime | str | None) -> datetime | None:
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise WindowError(f"{name}={value!r} is no ISO-8601 date and time") from error
