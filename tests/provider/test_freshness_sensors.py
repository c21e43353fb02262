"""Sensors and check operators: what they are told, how they fail, and how they wait."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException, TaskDeferred
from online_features import FeatureView, OnlineStore
from online_features.errors import OptionError, WindowError
from online_features_provider.operators.check import EntityFreshnessCheckOperator, FeatureViewFreshnessCheckOperator
from online_features_provider.sensors.freshness import EntityFreshnessSensor, FeatureViewFreshnessSensor
from online_features_provider.triggers import check_json

MakeView = Callable[..., FeatureView]

HOUR = timedelta(hours=1)
# Nobody materializes here, so freshness is that of pushes.
PUSHED: dict[str, Any] = {"task_id": "t", "measure": "event_timestamp"}


@pytest.fixture(autouse=True)
def connection(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", redis_url)


@pytest.fixture
def view(make_view: MakeView, online: OnlineStore) -> FeatureView:
    view = make_view()
    now = datetime.now(UTC)
    online.push(view, [{"id": "new", "ts": now, "x": 1}, {"id": "old", "ts": now - 2 * HOUR, "x": 1}])
    return view


def said(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> str:
    return caplog.text + capsys.readouterr().out


@pytest.mark.parametrize("max_staleness", [HOUR, 3600, "PT1H", "01:00:00"])
def test_bounds_may_be_text(view: FeatureView, max_staleness: Any) -> None:
    sensor = FeatureViewFreshnessSensor(feature_view=view, max_staleness=max_staleness, **PUSHED)
    measured = sensor.execute({})
    assert 0 <= measured["event_lag_seconds"] < 60
    json.dumps(measured)


def test_templates_are_rendered(view: FeatureView) -> None:
    sensor = FeatureViewFreshnessSensor(
        feature_view="{{ view }}", max_staleness="{{ params.bound }}", at_least="{{ data_interval_end }}",
        redis_conn_id="{{ 'online_' ~ 'store' }}", **PUSHED
    )  # fmt: skip
    now = datetime.now(UTC)
    for end, is_fresh in ((now - HOUR, True), (now + HOUR, False)):
        rendered = FeatureViewFreshnessSensor(
            feature_view=view, max_staleness=sensor.max_staleness, at_least=sensor.at_least,
            redis_conn_id=sensor.redis_conn_id, **PUSHED
        )  # fmt: skip
        rendered.render_template_fields({"params": {"bound": "PT1H"}, "data_interval_end": end})
        assert bool(rendered.poke({})) is is_fresh
    sensor.render_template_fields({"view": "views.of.mine", "params": {"bound": "PT1H"}, "data_interval_end": now})
    with pytest.raises(AirflowFailException, match="feature_view='views.of.mine' cannot be imported"):
        sensor.poke({})


def test_entities_and_shares_are_rendered(view: FeatureView) -> None:
    sensor = EntityFreshnessSensor(
        task_id="t", feature_view=view, entities=[{"id": "{{ name }}"}, {"id": "old"}], sample="{{ 5 }}",
        share="{{ 0.5 }}", max_staleness=HOUR,
    )  # fmt: skip
    sensor.render_template_fields({"name": "new"})
    assert sensor.execute({})["entities_fresh"] == 1


@pytest.mark.parametrize("fields, message", [
    ({"max_staleness": "soon"}, "max_staleness='soon' must be a timedelta, a number of seconds, or text as 'PT1H'"),
    ({"at_least": "None"}, "needs max_staleness=, at_least= or both"),
    ({"max_staleness": " "}, "needs max_staleness=, at_least= or both"),
    ({"at_least": "2026-01-01T00:00:00"}, "must be an instant with its time zone"),
    ({"max_staleness": 1, "measure": "created"}, "measure='created' is unknown"),
    ({"max_staleness": -1}, "not negative"),
])  # fmt: skip
def test_fields_that_make_no_question_fail_at_once(view: FeatureView, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        FeatureViewFreshnessSensor(feature_view=view, **{**PUSHED, **fields}).execute({})


def test_a_question_without_a_bound_is_refused_when_the_dag_is_parsed(view: FeatureView) -> None:
    with pytest.raises(WindowError, match="needs max_staleness="):
        FeatureViewFreshnessSensor(task_id="t", feature_view=view)


@pytest.mark.parametrize("deferrable", [False, True])
def test_an_unknown_view_fails_at_once_unless_it_is_to_come(make_view: MakeView, deferrable: bool) -> None:
    fields: dict[str, Any] = {"feature_view": make_view(), "max_staleness": HOUR, "deferrable": deferrable}
    with pytest.raises(AirflowFailException, match="materialize the view"):
        FeatureViewFreshnessSensor(task_id="t", **fields).execute({})
    with pytest.raises(AirflowSkipException):
        FeatureViewFreshnessSensor(task_id="t", soft_fail=True, **fields).execute({})
    with pytest.raises(TaskDeferred if deferrable else AirflowSensorTimeout):
        FeatureViewFreshnessSensor(task_id="t", fail_fast=False, timeout=0, poke_interval=0, **fields).execute({})


def test_a_time_out_names_the_stalest(view: FeatureView) -> None:
    sensor = EntityFreshnessSensor(
        task_id="t", feature_view=view, entities=[{"id": "old"}, {"id": "gone"}], max_staleness=HOUR, timeout=0.1,
        poke_interval=0.1,
    )  # fmt: skip
    with pytest.raises(AirflowSensorTimeout, match="1 stale: {'id': 'old'} .2:00:0. old.; 1 missing: {'id': 'gone'}"):
        sensor.execute({})


def test_waiting_is_not_talkative(
    view: FeatureView, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    sensor = FeatureViewFreshnessSensor(feature_view=view, max_staleness=0, **PUSHED)
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            sensor.poke({})
    assert said(caplog, capsys).count("required: a lag of at most 0:00:00") == 1


def test_a_fresh_view_needs_no_triggerer(view: FeatureView) -> None:
    sensor = FeatureViewFreshnessSensor(feature_view=view, max_staleness=HOUR, deferrable=True, **PUSHED)
    assert sensor.execute({})["event_lag_seconds"] < 60


def test_a_stale_one_is_handed_over_as_small_json(view: FeatureView) -> None:
    sensor = FeatureViewFreshnessSensor(
        feature_view=view, max_staleness=timedelta(0), deferrable=True, timeout=600, poke_interval=7, **PUSHED
    )
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({})
    path, arguments = deferred.value.trigger.serialize()
    assert path == "online_features_provider.triggers.freshness.FreshnessTrigger"
    assert len(json.dumps(arguments)) < 600
    assert arguments["poke_interval"] == arguments["longest_interval"] == 7
    left = datetime.fromisoformat(arguments["deadline"]) - datetime.now(UTC)
    assert timedelta(seconds=590) < left <= timedelta(seconds=600) < deferred.value.timeout


def test_back_off_is_bounded(view: FeatureView) -> None:
    fields: dict[str, Any] = {"feature_view": view, "max_staleness": 0, "deferrable": True, "exponential_backoff": True}
    for max_wait, longest in ((None, 3600), (timedelta(minutes=5), 300)):
        with pytest.raises(TaskDeferred) as deferred:
            FeatureViewFreshnessSensor(max_wait=max_wait, **fields, **PUSHED).execute({})
        assert deferred.value.trigger.serialize()[1]["longest_interval"] == longest


@pytest.mark.parametrize("entities", [
    [{"id": "x" * 100} for _ in range(1000)], [{"id": date(2026, 1, 1)}]
])  # fmt: skip
def test_what_is_no_small_json_is_waited_for_by_the_worker(view: FeatureView, entities: Any) -> None:
    began = time.monotonic()
    sensor = EntityFreshnessSensor(
        task_id="t", feature_view=view, entities=entities, sample=1, deferrable=True, timeout=0.1, poke_interval=0.1
    )
    with pytest.raises((AirflowSensorTimeout, AirflowFailException)):
        sensor.execute({})
    assert time.monotonic() - began < 10


def test_the_event_ends_the_task(view: FeatureView) -> None:
    sensor = FeatureViewFreshnessSensor(feature_view=view, max_staleness=1, timeout=60, **PUSHED)
    fresh = {"outcome": "fresh", "message": "so fresh", "measured": {"lag_seconds": 1.5}}
    assert sensor.execute_complete({}, fresh) == {"lag_seconds": 1.5}
    with pytest.raises(AirflowFailException, match="no such view"):
        sensor.execute_complete({}, {"outcome": "failed", "message": "no such view", "measured": {}})
    with pytest.raises(AirflowSensorTimeout, match="timed out after 60 seconds; still stale"):
        sensor.execute_complete({}, {"outcome": "timeout", "message": "still stale", "measured": {}})


def test_a_check_fails_where_a_sensor_waits(view: FeatureView, make_view: MakeView) -> None:
    check = FeatureViewFreshnessCheckOperator(feature_view=view, max_staleness=HOUR, **PUSHED)
    assert check.execute({})["event_lag_seconds"] < 60
    check = FeatureViewFreshnessCheckOperator(feature_view=view, max_staleness=0, **PUSHED)
    with pytest.raises(AirflowFailException, match="required: a lag of at most 0:00:00"):
        check.execute({})
    entities = EntityFreshnessCheckOperator(task_id="t", feature_view=view, sample=10, max_staleness=HOUR)
    with pytest.raises(AirflowFailException, match="1 of 2 entities .* 1 stale: {'id': 'old'}"):
        entities.execute({})
    with pytest.raises(AirflowFailException, match="materialize the view"):
        FeatureViewFreshnessCheckOperator(feature_view=make_view(name="other"), max_staleness=0, **PUSHED).execute({})


def test_a_check_that_warns_succeeds_with_a_warning_in_its_log(
    view: FeatureView, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"feature_view": view, "on_stale": "warn", **PUSHED}
    assert FeatureViewFreshnessCheckOperator(max_staleness=0, **options).execute({})["event_lag_seconds"] < 60
    assert re.search(r"\[warning *\] required: a lag of at most 0:00:00", capsys.readouterr().out)
    FeatureViewFreshnessCheckOperator(max_staleness=HOUR, **options).execute({})
    assert re.search(r"\[info *\] feature view ", capsys.readouterr().out)
    with pytest.raises(OptionError, match="on_stale='skip' is unknown -> choose one of fail, warn"):
        EntityFreshnessCheckOperator(task_id="t", feature_view=view, sample=1, on_stale="skip")  # type: ignore[arg-type]


def test_a_sensor_is_mapped_over_views(view: FeatureView, make_view: MakeView) -> None:
    with DAG("mapped", default_args={"redis_conn_id": "elsewhere", "max_staleness": HOUR}) as dag:
        FeatureViewFreshnessSensor.partial(task_id="fresh", max_staleness=60).expand(feature_view=[view, make_view()])
        single = FeatureViewFreshnessSensor(task_id="single", feature_view=view)
    assert dag.get_task("fresh").is_mapped
    assert (single.redis_conn_id, single.max_staleness) == ("elsewhere", HOUR)


def test_a_check_survives_its_way_to_the_triggerer(make_view: MakeView) -> None:
    from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
    from online_features.online.read.view_freshness_check import ViewFreshnessCheck

    view = make_view(entities=["a", "b"], layout="json", ttl=HOUR)
    for check in (
        ViewFreshnessCheck(view=view, max_staleness=timedelta.max, at_least=datetime.now(UTC)),
        EntityFreshnessCheck(view=view, entities=[{"a": 1, "b": "x"}], share=0.5, sample=7),
    ):
        dumped = check_json.dump(check)
        loaded = check_json.load(json.loads(json.dumps(dumped)))
        assert type(loaded) is type(check)
        assert check_json.dump(loaded) == dumped
        assert (loaded.max_staleness, loaded.view.ttl, loaded.view.name) == (check.max_staleness, HOUR, view.name)
