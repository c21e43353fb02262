"""The operator that materializes a feature view."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from online_features_provider.operators._copy_operator import RunEndingOperator
from online_features_provider.operators.rendered_fields import count, duration, given, given_options, parse_bool
from online_features_provider.operators.run_window import (
    DEFAULT_WINDOW,
    FULL_OPTIONS,
    WindowMode,
    check_full_options,
    check_window,
    window_arguments,
)

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.mappedoperator import OperatorPartial


class MaterializeOperator(RunEndingOperator):
    """Copy the newest row of each entity from Postgres to Redis.

    Retries, backfills and overlapping runs are safe: a row never replaces a newer one. A full run builds a new
    generation of rows, and readers see all of it or nothing. While the view is held after a rollback, an increment or a
    window is a skipped task. An error that no retry can cure
    fails the task at once, with the cure in its message. A task that is killed or timed out cancels its query.

    All parameters but ``emit`` are templated. A parameter whose template renders to nothing counts as not given.

    :param feature_view: the view, or its import path, such as ``"features.views.plane_trips"``, which is imported when
        the task runs.
    :param postgres_conn_id: Airflow connection of the offline store.
    :param redis_conn_id: Airflow connection of the online store.
    :param window: ``"incremental"``, the default, reads rows that came since the last run; ``"data_interval"`` reads
        rows whose event timestamp is in the DAG run's data interval; ``"partition"`` in the day or hour that the DAG
        run's partition key names (Airflow 3.2); ``"full"`` reads all rows. Data intervals and partitions move the
        watermark only if the first begins before the source's oldest row, or after a run of another mode.
    :param start: instead of ``window``: read rows with an event timestamp at or after this aware datetime, or its
        ISO-8601 text.
    :param end: instead of ``window``: read rows with an event timestamp before this aware datetime, or its ISO-8601
        text.
    :param prune: with ``window="full"``, leave out pushed rows with an event timestamp before the beginning of the run;
        with ``in_place``, remove online entities that the source no longer has, too.
    :param publish: with ``window="full"``, let readers see the new generation; otherwise it is left to a
        :class:`.PublishOperator` downstream.
    :param in_place: with ``window="full"``, write to the published generation, row by row, and replace no newer row.
    :param overwrite: with ``window="full"``, for layout ``feast``, which has no generations: remove all rows first.
    :param allow_empty: with ``window="full"``, let a generation without rows replace one with rows.
    :param ignore_checks: publish a build, and move the watermark, although rows have failed checks of the view. The
        run history records which, and the task.
    :param ignore_memory: with ``window="full"``, build although Redis may have too little memory.
    :param keep_generations: how many generations to keep to roll back to; default one.
    :param parallel: how many processes copy the rows of a full run, each a part of the source, as of one snapshot;
        default one. Increments and windows are read by one process.
    :param lookback: how far an incremental run reads back before the end of the last one: a timedelta or its ISO-8601
        text.
    :param retry_for: how long to retry within one attempt of the task when a store cannot be reached; default one
        minute.
    :param wait_for_replicas: how many replicas of Redis must have the rows before the watermark moves; default none.
    :param replica_timeout: how long to wait for them; default ten seconds.
    :param statement_timeout: how long each statement may take in Postgres, including the one that reads all rows;
        default: the setting of connection, role or server.
    :param emit: when a successful task emits an event of the view's asset: ``"changed"``, the default, if rows were
        written or removed; ``"always"``; or ``"never"``. A full run that is not published emits none.
    :returns: the :class:`~online_features.MaterializationResult` as a dictionary. A task whose rows fail checks of the
        view fails at once; their results are its XCom with key ``checks``.
    """

    template_fields: Sequence[str] = (
        *RunEndingOperator.template_fields, "window", "start", "end", "prune", "in_place", "overwrite", "ignore_memory",
        "parallel", "lookback",
    )  # fmt: skip
    mapped_name: ClassVar[str] = (
        "{{ task.feature_view }}{% if task.start or task.end %} from {{ task.start }} to {{ task.end }}{% endif %}"
    )

    def __init__(
        self,
        *,
        window: WindowMode | str | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        prune: bool | str = False,
        in_place: bool | str = False,
        overwrite: bool | str = False,
        ignore_memory: bool | str = False,
        parallel: int | str | None = None,
        lookback: timedelta | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_window(window)
        if start is None and end is None:
            check_full_options(
                DEFAULT_WINDOW if window is None else window,
                publish=self.publish, in_place=in_place, overwrite=overwrite, allow_empty=self.allow_empty,
                ignore_memory=ignore_memory,
            )  # fmt: skip
        self.window = window
        self.start = start
        self.end = end
        self.prune = prune
        self.in_place = in_place
        self.overwrite = overwrite
        self.ignore_memory = ignore_memory
        self.parallel = parallel
        self.lookback = lookback

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Set the arguments that all mapped tasks share."""
        check_window(kwargs.get("window"))
        if kwargs.get("window") is not None:
            check_full_options(kwargs["window"], **{name: kwargs[name] for name in FULL_OPTIONS if name in kwargs})
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

        with self.working() as view:
            offline, online = self.stores(view)
            window = window_arguments(context, window=self.window, start=self.start, end=self.end)
            in_place = parse_bool("in_place", self.in_place)
            with self.reporting_checks(context, view):
                result = materialize(
                    view,
                    offline,
                    online,
                    prune=parse_bool("prune", self.prune),
                    in_place=in_place,
                    overwrite=parse_bool("overwrite", self.overwrite),
                    ignore_memory=parse_bool("ignore_memory", self.ignore_memory),
                    origin=self.origin(context),
                    **self.options(),
                    **window,
                )
        return self.report(context, view, result, is_switched="full" in window and not in_place)

    def options(self) -> dict[str, Any]:
        """Return the options that were given, as arguments of :func:`~online_features.materialize`."""
        return super().options() | given_options(
            parallel=count("parallel", self.parallel), lookback=duration("lookback", self.lookback)
        )
