"""A build in parts in DAGs: planned, copied and finished by tasks, which may come again, twice at once, or too late."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, Stats
from airflow.sdk import DAG
from online_features import FeatureView, OnlineStore, checks
from online_features.errors import BuildInProgressError, NotReplicatedError, OptionError, PartsMissingError, WindowError
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.parts import FinishBuildOperator, MaterializePartOperator, PlanBuildOperator
from online_features_provider.operators.publish import PublishOperator
from online_features_provider.operators.rollback import RollbackOperator

from tests.support.dag_run import Run
from tests.support.online import rows_online
from tests.support.servers.databases import Database
from tests.support.views import VIEW

ROWS = 100

Parts = list[dict[str, Any]]


@pytest.fixture
def view(database: Database, make_view: Callable[..., FeatureView], connections: None) -> FeatureView:
    database(
        f"CREATE TABLE rows AS SELECT n AS id, now() - interval '1 day' AS ts, n AS x FROM generate_series(1, {ROWS}) n"
    )
    return make_view(features=["x"])


def planned(run: Run, view: FeatureView, **options: Any) -> Parts:
    """Return the parts, as an XCom hands them on."""
    plan = run.execute(PlanBuildOperator(task_id="plan", feature_view=view, **{"parts": 4, **options}))
    return json.loads(json.dumps(plan))  # type: ignore[no-any-return]


def copied(run: Run, view: FeatureView, parts: Parts, **options: Any) -> list[dict[str, Any]]:
    """Run the mapped tasks of the parts, and return what they return."""
    tasks = [MaterializePartOperator(task_id="part", feature_view=view, part=part, **options) for part in parts]
    return [run.execute(task) for task in tasks]


def finished(run: Run, view: FeatureView, parts: Parts, **options: Any) -> dict[str, Any]:
    finish = FinishBuildOperator(task_id="publish", feature_view=view, parts=parts, **options)
    return run.execute(finish)  # type: ignore[no-any-return]


def built(run: Run, view: FeatureView, **options: Any) -> tuple[Parts, dict[str, Any]]:
    """Build the view in parts; return them, and what the last task returns."""
    parts = planned(run, view)
    copied(run, view, parts)
    return parts, finished(run, view, parts, **options)


def test_tasks_do_together_what_one_task_does(view: FeatureView, online: OnlineStore) -> None:
    run = Run()
    one = run.execute(MaterializeOperator(task_id="one", feature_view=view, window="full"))
    before = rows_online(online, view, ["x"])
    parts = planned(run, view)
    assert run.events == {}
    results = copied(run, view, parts[::-1])
    assert run.events == {}
    assert [result["number"] for result in results] == [3, 2, 1, 0]
    assert {(result["feature_view"], result["skipped"]) for result in results} == {(str(view), "")}
    assert sum(result["rows_written"] for result in results) == ROWS
    assert online.generations(view).published == one["generation"]

    returned = finished(run, view, parts)
    assert set(returned) == set(one)
    assert (returned["feature_view"], returned["rows_written"], returned["is_published"]) == (str(view), ROWS, True)
    assert online.generations(view).published == returned["generation"] == parts[0]["generation"]
    assert rows_online(online, view, ["x"]) == before
    extra = run.events["view"].extra
    assert {name: extra[name] for name in returned} == returned
    assert extra["source"].endswith("/public/rows")
    last, *_ = online.runs(view)
    assert (last["origin"]["task_id"], last["origin"]["redis_conn_id"], last["parts"]) == ("publish", "online_store", 4)


def test_a_part_that_comes_again_or_twice_at_once_does_no_harm(view: FeatureView, online: OnlineStore) -> None:
    run = Run()
    parts = planned(run, view)
    with ThreadPoolExecutor() as threads:
        twice = list(threads.map(lambda part: copied(run, view, [part])[0], [part for part in parts for _ in range(2)]))
    assert sum(result["rows_written"] for result in twice) == 2 * ROWS
    assert finished(run, view, parts)["rows_written"] == ROWS
    assert len(rows_online(online, view, ["x"])) == ROWS


def test_tasks_that_are_cleared_when_all_is_published_change_nothing(
    view: FeatureView, online: OnlineStore, database: Database
) -> None:
    run, next_run = Run(), Run(run_id="next")
    parts, first = built(run, view)
    database("UPDATE rows SET x = -x")
    (again,) = copied(run, view, parts[2:3])
    assert (again["rows_read"], again["skipped"]) == (
        0, f"generation {first['generation']} is complete already, and published"
    )  # fmt: skip
    cleared = finished(run, view, parts)
    assert (cleared["generation"], cleared["is_published"]) == (first["generation"], True)
    assert list(run.events) == ["view"]  # readers see what the event says
    assert rows_online(online, view, ["x"])["3"]["x"] == "3"

    _, second = built(next_run, view)
    assert copied(run, view, parts[2:3])[0]["skipped"].endswith("and unpublished")
    replaced = finished(run, view, parts)
    assert (replaced["is_published"], run.events) == (False, {})
    assert online.generations(view).published == second["generation"]
    assert rows_online(online, view, ["x"])["3"]["x"] == "-3"


def test_a_plan_that_is_made_again_takes_over_and_late_parts_of_the_other_fail_at_once(
    view: FeatureView, online: OnlineStore
) -> None:
    run = Run()
    late = planned(run, view)
    copied(run, view, late[:2])
    parts = planned(run, view)
    for attempt in (lambda: copied(run, view, late[2:]), lambda: finished(run, view, late)):
        with pytest.raises(AirflowFailException, match="was given up.*\n.*plan again, and run all parts"):
            attempt()
    copied(run, view, parts)
    assert finished(run, view, parts)["generation"] == parts[0]["generation"] == online.generations(view).published
    planned(run, view)
    with pytest.raises(BuildInProgressError):  # which a retry may find ended
        planned(Run(dag_id="another"), view)


def test_a_build_that_lacks_parts_is_not_published_and_may_be_retried(view: FeatureView, online: OnlineStore) -> None:
    run = Run()
    parts = planned(run, view)
    copied(run, view, parts[1:3])
    with pytest.raises(PartsMissingError, match="these are not written: 0, 3"):
        finished(run, view, parts)
    assert online.generations(view).published == "0"
    copied(run, view, [parts[0], parts[3]])
    assert finished(run, view, parts)["is_published"]


def test_builds_in_parts_are_published_together_with_others(
    view: FeatureView, make_view: Callable[..., FeatureView], online: OnlineStore
) -> None:
    other = replace(view, name="other")
    with DAG("d", schedule=None):
        plan = PlanBuildOperator(task_id="plan", feature_view=view, parts=4)
        part = MaterializePartOperator.partial(task_id="part", feature_view=view).expand(part=plan.output)
        finish = FinishBuildOperator(task_id="finish", feature_view=view, parts=plan.output, publish=False)
        one = MaterializeOperator(task_id="one", feature_view=other, window="full", publish=False)
        publish = PublishOperator(task_id="publish", feature_views=[view, other])
        part >> finish
        [finish, one] >> publish
    run = Run()
    parts = run.execute(plan)
    copied(run, view, parts)
    finish.parts = parts
    assert (run.execute(finish)["is_published"], run.events, finish.outlets) == (False, {}, [])
    run.execute(one)
    published = run.execute(publish)
    assert published == {"view": parts[0]["generation"], "other": online.generations(other).published}
    assert run.events["view"].extra["rows_written"] == ROWS
    assert run.execute(finish)["is_published"]  # cleared: it says what has become of it
    assert run.execute(publish) == published


def test_checks_are_of_the_whole_and_may_be_ignored(
    view: FeatureView, online: OnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Any] = []
    monkeypatch.setattr(Stats, "incr", lambda name, *_, tags: counted.append((name, tags.get("outcome"))))
    checked, run = replace(view, checks=[checks.rows(at_least=ROWS + 1)]), Run()
    parts = planned(run, checked)
    copied(run, checked, parts)
    assert not counted  # the last task counts the rows of all
    with pytest.raises(AirflowFailException, match=f"at least {ROWS + 1}  {ROWS}"):
        finished(run, checked, parts)
    assert [result["outcome"] for result in run.pushed["checks"]][-1] == "failed"
    assert set(counted) >= {("online_features.checks", "failed")}
    assert online.generations(checked).published == "0"
    returned = finished(run, checked, parts, ignore_checks="true")
    assert (returned["generation"], returned["is_published"]) == (parts[0]["generation"], True)
    assert ("online_features.materialize.rows_written", None) in counted


def test_a_held_view_is_built_and_not_published(view: FeatureView, online: OnlineStore) -> None:
    run = Run()
    first, _ = built(run, view), built(run, view)
    run.execute(RollbackOperator(task_id="roll_back", feature_views=[view]))
    _, returned = built(run, view)
    assert (returned["is_published"], run.events) == (False, {})
    assert online.generations(view).published == first[1]["generation"]


def test_each_option_is_that_of_the_task_that_needs_it(view: FeatureView, online: OnlineStore) -> None:
    run = Run()
    built(run, view)
    online.push(view, [{"id": 1_000, "ts": datetime.now(UTC), "x": 7}])
    parts = planned(run, view, prune="true", ignore_memory=True, retry_for="PT1S", statement_timeout="PT1M")
    with pytest.raises(AirflowFailException, match="wait_for_replicas= must be .* not -1"):
        copied(run, view, parts, wait_for_replicas="-1")
    copied(run, view, parts)
    with pytest.raises(NotReplicatedError):
        finished(run, view, parts, wait_for_replicas="1", replica_timeout=0.1, retry_for=0)
    with pytest.raises(AirflowFailException, match="keep_generations= must be .* not -1"):
        finished(run, view, parts, keep_generations="-1")
    finished(run, view, parts)
    assert len(rows_online(online, view, ["x"])) == ROWS  # what was pushed is left out


def test_a_source_without_rows_is_one_part_and_replaces_rows_only_if_that_is_allowed(
    view: FeatureView, online: OnlineStore, database: Database
) -> None:
    run = Run()
    built(run, view)
    database("DELETE FROM rows")
    with pytest.raises(AirflowFailException, match="allow_empty"):
        built(run, view)
    parts, returned = built(run, view, allow_empty=True, emit="never")
    assert len(parts) == 1  # so that there is a task to map
    assert (returned["is_published"], run.events, len(rows_online(online, view, ["x"]))) == (True, {}, 0)


@pytest.mark.parametrize("parts", [0, -1, 1_025, "0"])
def test_a_number_of_parts_that_airflow_cannot_map_is_refused(
    view: FeatureView, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = f"parts={parts} is out of its range\\s-> give 1 to 1,024, the most tasks that Airflow maps"
    with pytest.raises(OptionError, match=message):
        PlanBuildOperator(task_id="plan", feature_view=view, parts=parts)
    operator = PlanBuildOperator(task_id="plan", feature_view=view, parts="{{ params.parts }}")
    operator.render_template_fields({"params": {"parts": parts}})  # type: ignore[typeddict-item]
    with pytest.raises(AirflowFailException, match=message):
        operator.execute({})
    with pytest.raises(WindowError, match="parts='many' must be a whole number"):
        PlanBuildOperator(task_id="plan", feature_view=view, parts="many")
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "8")
    with pytest.raises(OptionError, match="give 1 to 8"):
        PlanBuildOperator(task_id="plan", feature_view=view, parts=9)


@pytest.mark.parametrize("given", [None, [], "[{}]", [{"number": 1}], 16])
def test_what_no_plan_has_returned_is_refused(view: FeatureView, given: Any) -> None:
    with pytest.raises(AirflowFailException, match="a PlanBuildOperator|part.to_dict"):
        finished(Run(), view, given)
    with pytest.raises(AirflowFailException, match="is not a part of a build\n-> hand on what part.to_dict"):
        copied(Run(), view, [given])


def test_only_the_task_that_publishes_has_the_asset_as_its_outlet_and_mapped_tasks_are_named_by_their_part() -> None:
    plan = PlanBuildOperator(task_id="plan", feature_view=VIEW)
    part = MaterializePartOperator(task_id="part", feature_view="features.views:trips", part={"number": 3})
    finish = FinishBuildOperator(task_id="publish", feature_view=VIEW, parts=[])
    assert (plan.outlets, part.outlets, [asset.name for asset in finish.outlets]) == (
        [], [], ["online-features://default/view"]
    )  # fmt: skip
    for view, name in (("features.views:trips", "trips part 3"), (replace(VIEW, name="trips.v2"), "trips.v2 part 3")):
        part.feature_view = view
        template = part.get_template_env().from_string(MaterializePartOperator.mapped_name)
        assert template.render(task=part) == name
