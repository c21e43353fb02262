"""The window of a run: what a task's parameters and the DAG run say to read."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Literal, get_args
from zoneinfo import ZoneInfo

import airflow.sdk
from online_features.common.log_lines import say
from online_features.errors import WindowError

from online_features_provider.operators.rendered_fields import given, instant, is_template

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

WindowMode = Literal["incremental", "data_interval", "partition", "full"]
DEFAULT_WINDOW: WindowMode = "incremental"

# Options of full runs, with their defaults.
FULL_OPTIONS = {
    "publish": True, "in_place": False, "overwrite": False, "allow_empty": False, "ignore_memory": False
}  # fmt: skip

HAS_PARTITIONS = "CronPartitionTimetable" in airflow.sdk.__all__  # since Airflow 3.2

# Formats of partition keys, which are those of Airflow's StartOfDayMapper and StartOfHourMapper.
PARTITION_LENGTHS = {"%Y-%m-%d": timedelta(days=1), "%Y-%m-%dT%H": timedelta(hours=1)}


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
        case "partition":
            return _partition(context)
    raise _unknown(window)


def check_window(window: WindowMode | str | None) -> None:
    """Validate the mode unless it is a template.

    :raises WindowError: naming the known modes.
    """
    if is_template(window):
        return
    if given(window) not in (None, *get_args(WindowMode)):
        raise _unknown(window)
    if window == "partition":
        _check_airflow()


def check_full_options(window: WindowMode | str, **options: bool | str) -> None:
    """Validate options of full runs, unless they or the mode are templates.

    :raises WindowError: naming an option that contradicts the mode, or another option.
    """
    changed = {name: value for name, value in options.items() if value is not FULL_OPTIONS[name]}
    for name, value in changed.items():
        if not is_template(window) and window != "full" and not is_template(value) and given(value) is not None:
            raise WindowError(f"{name}={value!r} is of full runs -> give window='full' with it")
    if changed.get("publish") is False and changed.get("in_place") is True:
        raise WindowError("in_place=True writes to what is published -> leave publish=False out")


def _unknown(window: object) -> WindowError:
    return WindowError(f"window={window!r} is unknown -> choose one of {', '.join(get_args(WindowMode))}")


def _data_interval(context: Context) -> dict[str, Any]:
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None or end is None:
        raise WindowError("this DAG run has no data interval -> use window='incremental', or start= and end=")
    if start == end and "DataInterval" in type(_timetable(context)).__name__:
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


def _partition(context: Context) -> dict[str, Any]:
    """Return the day or hour that the DAG run's partition key names."""
    _check_airflow()
    key = getattr(context.get("dag_run"), "partition_key", None)
    if not key:
        raise WindowError(
            "window='partition' needs a DAG run with a partition key -> schedule the DAG with CronPartitionTimetable "
            "or PartitionedAssetTimetable, or give the run a partition key when you start it"
        )
    zone = _key_zone(context)
    start, end = _read_key(key, zone or UTC)
    date = context.get("partition_date")
    if zone is None and date is not None and date != start:
        raise WindowError(
            f"partition {key!r} begins at {date.isoformat()} for Airflow, but at {start.isoformat()} in UTC, in which "
            "window='partition' reads keys that come with assets -> map keys by StartOfDayMapper or StartOfHourMapper "
            "in UTC, or give start= and end="
        )
    if zone is not None and date is not None and not start <= date < end:
        raise WindowError(
            f"partition {key!r} is that of {date.isoformat()} for Airflow, which is not from {start.isoformat()} to "
            f"{end.isoformat()} -> give the timetable key_format='%Y-%m-%d' or '%Y-%m-%dT%H'"
        )
    if end > datetime.now(UTC):
        say(
            log.warning,
            f"Partition {key!r} ends only at {end.isoformat()}, and the run reads what is there now -> run it again "
            "then, or give CronPartitionTimetable run_offset=-1, so that each run reads the partition before it",
        )
    return {"start": start, "end": end}


def _check_airflow() -> None:
    if not HAS_PARTITIONS:
        raise WindowError(
            "window='partition' needs Airflow 3.2 or newer -> upgrade Airflow, or use window='data_interval'"
        )


def _key_zone(context: Context) -> tzinfo | None:
    """Return the time zone of the timetable that makes the keys, or ``None`` if it is not a cron's.

    :raises WindowError: with Airflow 3.2, whose keys are in UTC, for a timetable of another time zone.
    """
    timetable = _timetable(context)
    # Of the classes in airflow.sdk; those in airflow.timetables have it as a private attribute.
    zone = getattr(timetable, "timezone", None) or getattr(timetable, "_timezone", None)
    if isinstance(zone, str):
        zone = ZoneInfo(zone)
    if zone is not None and "partition_date" not in context and str(zone) != "UTC":
        raise WindowError(
            f"the timetable is in {zone}, and Airflow 3.2 writes partition keys in UTC, so they name other days "
            "-> give the timetable timezone='UTC', or upgrade to Airflow 3.3"
        )
    return zone


def _read_key(key: str, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the day or hour ``[start, end)`` that the key names, by the clocks of a time zone, in UTC."""
    for form, length in PARTITION_LENGTHS.items():
        try:
            begin = datetime.strptime(key, form)
            bounds = (begin.replace(tzinfo=zone), (begin + length).replace(tzinfo=zone))
            start, end = (bound.astimezone(UTC) for bound in bounds)
        except (ValueError, OverflowError):
            continue
        if begin.strftime(form) == key:  # "2026-1-31" can be parsed, too
            return start, end
    raise WindowError(
        f"partition key {key!r} is neither a day (2026-01-31) nor an hour (2026-01-31T05) -> give the timetable "
        "key_format='%Y-%m-%d' or '%Y-%m-%dT%H', map keys by StartOfDayMapper or StartOfHourMapper, or give start= and "
        "end="
    )


def _timetable(context: Context) -> object:
    return getattr(context.get("dag"), "timetable", None)
