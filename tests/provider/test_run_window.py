"""What a run reads, by the parameters of its task and by what Airflow says of its DAG run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import airflow
import pendulum
import pytest
from airflow.sdk import DAG
from airflow.timetables.base import DataInterval, TimeRestriction, Timetable
from airflow.timetables.interval import CronDataIntervalTimetable, DeltaDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable, DeltaTriggerTimetable
from online_features.errors import WindowError
from online_features_provider.operators import run_window
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.run_window import HAS_PARTITIONS, window_arguments
from packaging.version import Version

from tests.conftest import at
from tests.support.views import VIEW

pytestmark = pytest.mark.oldest

DAY: Any = {"data_interval_start": at(0), "data_interval_end": at(0, day=2)}
ZERO_WIDTH: Any = {"data_interval_start": at(0), "data_interval_end": at(0)}


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, {}),
        ({"window": "incremental"}, {}),
        ({"window": "full"}, {"full": True}),
        ({"window": "data_interval"}, {"start": at(0), "end": at(0, day=2)}),
        ({"start": at(1), "end": "2026-01-01T02:00:00+00:00"}, {"start": at(1), "end": at(2)}),
        ({"start": "2026-01-01T01:00:00Z"}, {"start": at(1), "end": None}),
        ({"start": "2026-01-01T01:00:00Z", "end": "None", "window": ""}, {"start": at(1), "end": None}),
        ({"start": "", "end": "None"}, {}),
    ],
)
def test_window_fields_become_arguments(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert window_arguments(DAY, **{"window": None, "start": None, "end": None, **fields}) == expected


@pytest.mark.parametrize(
    "context, fields, message",
    [
        (ZERO_WIDTH, {"window": "data_interval"}, "CronDataIntervalTimetable"),
        ({}, {"window": "data_interval"}, "no data interval"),
        (
            DAY,
            {"window": "weekly"},
            "'weekly' is unknown -> choose one of incremental, data_interval, partition, full",
        ),
        (DAY, {"window": "full", "start": at(1)}, "exclude each other"),
        (DAY, {"start": "2026-01-01T00:00:00"}, "with its time zone"),
        (DAY, {"start": "1700000000"}, "with its time zone"),
        (DAY, {"start": "yesterday"}, "start='yesterday' must be an instant with its time zone"),
    ],
)
def test_fields_that_make_no_window_are_refused(context: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(WindowError, match=message):
        window_arguments(context, **{"window": None, "start": None, "end": None, **fields})


@pytest.mark.parametrize(
    "timetable, has_width",
    [
        (CronTriggerTimetable("@daily", timezone="UTC"), False),
        (DeltaTriggerTimetable(timedelta(days=1)), False),
        (CronDataIntervalTimetable("@daily", timezone="UTC"), True),
        (DeltaDataIntervalTimetable(timedelta(days=1)), True),
    ],
)
def test_scheduled_and_manual_runs_have_a_data_interval_where_their_timetable_gives_it_width(
    timetable: Timetable, has_width: bool
) -> None:
    begin = pendulum.instance(at(0))
    scheduled = timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(earliest=begin, latest=None, catchup=True)
    )
    assert scheduled is not None
    for interval in (scheduled.data_interval, timetable.infer_manual_data_interval(run_after=begin.add(days=1))):
        context: Any = {"data_interval_start": interval.start, "data_interval_end": interval.end}
        if has_width:
            window = window_arguments(context, window="data_interval", start=None, end=None)
            assert window == {"start": at(0), "end": at(0, day=2)}
        else:
            with pytest.raises(WindowError, match="schedule the DAG with CronDataIntervalTimetable"):
                window_arguments(context, window="data_interval", start=None, end=None)


CLOCKS_CHANGE = ("2026-03-29", "2026-10-25")  # in Paris


@pytest.mark.parametrize("day", CLOCKS_CHANGE)
@pytest.mark.parametrize(
    "timetable",
    [
        CronDataIntervalTimetable("@daily", timezone="Europe/Paris"),
        CronDataIntervalTimetable("30 2 * * *", timezone="Europe/Paris"),
        CronDataIntervalTimetable("*/30 * * * *", timezone="Europe/Paris"),
        DeltaDataIntervalTimetable(timedelta(days=1)),
    ],
    ids=["midnight", "the hour that is skipped and repeated", "half-hourly", "every 24 hours"],
)
def test_data_intervals_on_a_day_whose_clocks_change_leave_no_gap(timetable: Timetable, day: str) -> None:
    begin = pendulum.parse(day).subtract(days=2)
    assert isinstance(begin, pendulum.DateTime)
    windows, last = [], None
    while not windows or windows[-1]["end"] < begin.add(days=4):
        run = timetable.next_dagrun_info(
            last_automated_data_interval=last, restriction=TimeRestriction(earliest=begin, latest=None, catchup=True)
        )
        assert run is not None
        last = run.data_interval
        windows.append(_window(timetable, last))
    assert all(window["start"] < window["end"] for window in windows)
    assert [window["end"] for window in windows[:-1]] == [window["start"] for window in windows[1:]]


@pytest.mark.parametrize("day", CLOCKS_CHANGE)
@pytest.mark.parametrize("minutes", range(0, 24 * 60, 15))
def test_a_run_by_hand_on_a_day_whose_clocks_change_has_an_interval_or_is_told_why_not(day: str, minutes: int) -> None:
    timetable = CronDataIntervalTimetable("30 2 * * *", timezone="Europe/Paris")
    now = pendulum.parse(day)
    assert isinstance(now, pendulum.DateTime)
    interval = timetable.infer_manual_data_interval(run_after=now.add(minutes=minutes))
    if interval.start == interval.end:
        with pytest.raises(WindowError, match="the clocks skip the scheduled hour -> give start= and end="):
            _window(timetable, interval)
    else:
        window = _window(timetable, interval)
        assert window["start"] < window["end"]


def _window(timetable: Timetable, interval: DataInterval) -> dict[str, Any]:
    dag = DAG("d", schedule=timetable, start_date=at(0))  # type: ignore[arg-type]
    context: Any = {"data_interval_start": interval.start, "data_interval_end": interval.end, "dag": dag}
    return window_arguments(context, window="data_interval", start=None, end=None)


needs_partitions = pytest.mark.skipif(not HAS_PARTITIONS, reason="Airflow 3.1 has no partitions")
keeps_zones = pytest.mark.skipif(Version(airflow.__version__) < Version("3.3"), reason="Airflow 3.2 writes keys in UTC")


def partition(key: str | None, *, zone: str | None = "UTC", date: datetime | None = None) -> dict[str, Any]:
    """The window of a DAG run with this key."""
    context = run_of(key, zone) | {"partition_date": date}
    return window_arguments(context, window="partition", start=None, end=None)  # type: ignore[arg-type]


def run_of(key: str | None, zone: str | None) -> dict[str, Any]:
    """The context of a DAG run with this key, of a DAG whose timetable has this time zone."""
    timetable = SimpleNamespace() if zone is None else cron_partitions("0 0 * * *", timezone=zone)
    return {"dag": SimpleNamespace(timetable=timetable), "dag_run": SimpleNamespace(partition_key=key)}


def cron_partitions(*cron: Any, **options: Any) -> Any:
    from airflow.sdk import CronPartitionTimetable

    return CronPartitionTimetable(*cron, **options)


def test_partitions_are_of_airflow_3_2_and_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Version(airflow.__version__) >= Version("3.2")) == HAS_PARTITIONS
    monkeypatch.setattr(run_window, "HAS_PARTITIONS", False)
    cure = "needs Airflow 3.2 or newer -> upgrade Airflow, or use window='data_interval'"
    for make in (MaterializeOperator, MaterializeOperator.partial):
        with pytest.raises(WindowError, match=cure):
            make(task_id="t", feature_view=VIEW, window="partition")
    with pytest.raises(WindowError, match=cure):
        window_arguments({}, window="partition", start=None, end=None)


@needs_partitions
@pytest.mark.parametrize(
    "key, zone, start, end",
    [
        ("2026-01-31", "UTC", "2026-01-31T00:00Z", "2026-02-01T00:00Z"),
        ("2026-01-31T05", "UTC", "2026-01-31T05:00Z", "2026-01-31T06:00Z"),
        ("2026-01-31T23", "UTC", "2026-01-31T23:00Z", "2026-02-01T00:00Z"),
        ("2026-01-31", None, "2026-01-31T00:00Z", "2026-02-01T00:00Z"),
        ("2026-01-31", "Europe/Paris", "2026-01-30T23:00Z", "2026-01-31T23:00Z"),
        ("2026-01-31", "America/New_York", "2026-01-31T05:00Z", "2026-02-01T05:00Z"),
        ("2026-03-29", "Europe/Paris", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("2026-10-25", "Europe/Paris", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        # The hour that clocks repeat has one key, and the one that they skip has none.
        ("2026-10-25T02", "Europe/Paris", "2026-10-25T00:00Z", "2026-10-25T02:00Z"),
        ("2026-03-29T01", "Europe/Paris", "2026-03-29T00:00Z", "2026-03-29T01:00Z"),
        ("2026-03-29T03", "Europe/Paris", "2026-03-29T01:00Z", "2026-03-29T02:00Z"),
    ],
)
def test_a_partition_is_a_day_or_an_hour_by_the_clocks_of_the_timetable(
    key: str, zone: str | None, start: str, end: str
) -> None:
    expected = {"start": datetime.fromisoformat(start), "end": datetime.fromisoformat(end)}
    assert partition(key, zone=zone) == expected


@keeps_zones
@pytest.mark.parametrize("day", CLOCKS_CHANGE)
@pytest.mark.parametrize("form, cron", [("%Y-%m-%d", "0 0 * * *"), ("%Y-%m-%dT%H", "0 * * * *")])
def test_partitions_that_airflow_makes_where_clocks_change_leave_no_gap(day: str, form: str, cron: str) -> None:
    from airflow.timetables.trigger import CronPartitionTimetable

    timetable = CronPartitionTimetable(cron, timezone="Europe/Paris", key_format=form)
    noon = pendulum.parse(day).add(hours=12)  # type: ignore[union-attr]
    runs = timetable.iter_partition_dagrun_infos(earliest=noon.subtract(days=1), latest=noon.add(days=1))
    windows = []
    for run in runs:
        context: Any = run_of(run.partition_key, "Europe/Paris") | {"partition_date": run.partition_date}
        windows.append(window_arguments(context, window="partition", start=None, end=None))
    assert windows
    distinct = [window for before, window in zip([None, *windows], windows, strict=False) if window != before]
    assert [window["end"] for window in distinct[:-1]] == [window["start"] for window in distinct[1:]]


@needs_partitions
@pytest.mark.parametrize(
    "key", ["2026-01", "2026-01-31T00:00:00", "2026-1-31", "2026-W05", "EU", "2026-02-30", "9999-12-31"]
)
def test_a_key_that_is_neither_a_day_nor_an_hour_is_refused(key: str) -> None:
    with pytest.raises(WindowError, match=f"{key!r} is neither a day .2026-01-31. nor an hour .*-> give the timetable"):
        partition(key)


@needs_partitions
def test_a_key_that_names_another_day_than_airflow_means_is_refused() -> None:
    with pytest.raises(WindowError, match="is that of 2026-01-05.* -> give the timetable key_format='%Y-%m-%d'"):
        partition("2026-05-01", date=at(0, day=5))  # key_format="%Y-%d-%m"


@needs_partitions
def test_a_run_without_a_key_is_refused() -> None:
    message = "window='partition' needs a DAG run with a partition key -> schedule the DAG with CronPartitionTimetable"
    for key in (None, ""):
        with pytest.raises(WindowError, match=message):
            partition(key)


@needs_partitions
def test_a_key_of_another_time_zone_is_refused_where_it_cannot_be_read() -> None:
    with pytest.raises(WindowError, match="Airflow 3.2 writes partition keys in UTC, so they name other days"):
        window_arguments(run_of("2026-01-31", "Europe/Paris"), window="partition", start=None, end=None)  # type: ignore[arg-type]
    assert window_arguments(run_of("2026-01-31", "UTC"), window="partition", start=None, end=None)  # type: ignore[arg-type]
    assert partition("2026-01-31", zone=None, date=at(0, day=31))["start"] == at(0, day=31)
    with pytest.raises(WindowError, match=r"begins at 2026-01-30T23:00:00\+00:00.* -> map keys by StartOfDayMapper"):
        partition("2026-01-31", zone=None, date=at(23, day=30))


@needs_partitions
def test_a_partition_that_has_not_ended_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    partition("2026-01-31")
    assert not caplog.records
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    partition(f"{tomorrow:%Y-%m-%d}")
    assert "run_offset=-1" in caplog.text


@needs_partitions
def test_timetables_of_airflow_itself_have_their_zone_read_too() -> None:
    from airflow.timetables.trigger import CronPartitionTimetable

    context: Any = run_of("2026-01-31", None) | {"partition_date": None}
    context["dag"].timetable = CronPartitionTimetable("0 0 * * *", timezone="Europe/Paris")
    assert window_arguments(context, window="partition", start=None, end=None)["start"] == at(23, day=30)
