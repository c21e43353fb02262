"""Generations in DAGs: built, published together, rolled back and released by tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, Stats
from airflow.sdk import DAG, Asset, TaskGroup
from airflow.sdk.bases.operator import BaseOperator
from online_features import FeatureView, OnlineStore, checks
from online_features.errors import FeatureViewError, WindowError
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.publish import PublishOperator
from online_features_provider.operators.rollback import ReleaseOperator, RollbackOperator

from tests.support.dag_run import Run
from tests.support.servers.databases import Database
from tests.support.views import VIEW

Views = tuple[FeatureView, FeatureView]

OTHER = replace(VIEW, name="other")


@dataclass
class Tasks:
    """The tasks of a DAG that publishes two views together."""

    builds: list[MaterializeOperator]
    publish: PublishOperator
    rollback: RollbackOperator
    release: ReleaseOperator

    @classmethod
    def of(cls, views: Views, **options: Any) -> Tasks:
        """Make the tasks; the first is in a group, and something is between the builds and the publication."""
        build = {"window": "full", "publish": False, **options}
        with DAG("d", schedule=None):
            with TaskGroup("group"):
                first = MaterializeOperator(task_id="build", feature_view=views[0], **build)
            second = MaterializeOperator(task_id="second", feature_view=views[1], **build)
            publish = PublishOperator(task_id="publish", feature_views=views)
            [first, second] >> BaseOperator(task_id="between") >> publish
            return cls(
                [first, second], publish, RollbackOperator(task_id="rollback", feature_views=views),
                ReleaseOperator(task_id="release", feature_views=views),
            )  # fmt: skip

    def run(self) -> Run:
        """Run the builds and the publication."""
        run = Run()
        for task in (*self.builds, self.publish):
            run.execute(task)
        return run


@pytest.fixture
def views(database: Database, make_view: Callable[..., FeatureView], connections: None) -> Views:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, clock_timestamp() AS created, 1 AS x")
    view = make_view(features=["x"], source={"created_timestamp_column": "created"})
    return replace(view, name="one"), replace(view, name="two")


def published(online: OnlineStore, views: Views) -> dict[str, str]:
    return {view.name: online.generations(view).published for view in views}


def test_builds_are_published_together_and_events_come_from_publishing(views: Views, online: OnlineStore) -> None:
    tasks, run = Tasks.of(views), Run()
    for task in tasks.builds:
        assert run.execute(task)["is_published"] is False
        assert (run.events, task.outlets) == ({}, [])
    assert published(online, views) == {"one": "0", "two": "0"}
    generations = {
        view.name: run.results[task.task_id][0]["generation"] for view, task in zip(views, tasks.builds, strict=True)
    }
    assert run.execute(tasks.publish) == generations == published(online, views)
    for view in views:
        extra = run.events[view.name].extra
        assert (extra["generation"], extra["rows_written"]) == (generations[view.name], 1)
        assert (extra["feature_view"], extra["is_published"]) == (str(view), True)
        assert extra["source"].endswith("/public/rows")
    assert run.execute(tasks.publish) == generations  # a retry
    assert len(run.events) == 2


def test_no_other_build_than_those_upstream_is_published(views: Views, online: OnlineStore) -> None:
    tasks, run = Tasks.of(views), Run()
    for task in tasks.builds:
        run.execute(task)
    Run().execute(Tasks.of(views).builds[0])  # of another run; the newest build that is ready is kept
    with pytest.raises(AirflowFailException, match="feature view 'one': generation .* is not among its generations"):
        run.execute(tasks.publish)
    assert published(online, views) == {"one": "0", "two": "0"}


def test_a_build_of_a_retry_or_of_a_mapped_task_is_found(views: Views, online: OnlineStore) -> None:
    with DAG("d", schedule=None):
        builds = MaterializeOperator.partial(task_id="build", window="full", publish=False).expand(
            feature_view=list(views)
        )
        publish = PublishOperator(task_id="publish", feature_views=views)
        builds >> publish
    run = Run()
    for task in [task for _ in range(2) for task in Tasks.of(views).builds]:
        task.task_id = "build"
        run.execute(task)
    newest = {result["feature_view"].partition(":")[2]: result["generation"] for result in run.results["build"]}
    assert run.execute(publish) == newest


def test_what_was_not_built_upstream_is_not_published(views: Views, online: OnlineStore) -> None:
    tasks, run = Tasks.of(views), Run()
    run.execute(tasks.builds[0])
    run.states["second"] = "failed"
    with pytest.raises(AirflowFailException, match="feature view 'two': no upstream task of this DAG run has built"):
        run.execute(tasks.publish)
    run.states["second"] = "skipped"
    with pytest.raises(AirflowSkipException, match="feature view 'two' was not built, since second was skipped"):
        run.execute(tasks.publish)
    run.execute(MaterializeOperator(task_id="second", feature_view=views[1]))
    with pytest.raises(AirflowFailException, match="'two': its upstream task has written to what is published"):
        run.execute(tasks.publish)
    assert published(online, views)["one"] == "0"


def test_a_rollback_holds_the_views_until_they_are_released(views: Views, online: OnlineStore) -> None:
    tasks = Tasks.of(views)
    first, second = (tasks.run().results["publish"][0] for _ in range(2))
    run = Run()
    for _ in range(2):  # the second time, it is a retry
        assert run.execute(tasks.rollback) == first == published(online, views)
        extra = run.events["one"].extra
        assert extra == {"feature_view": str(views[0]), "generation": first["one"], "is_rolled_back": True}

    increment = MaterializeOperator(task_id="increment", feature_view=views[0], emit="always")
    with pytest.raises(AirflowSkipException, match="feature view 'one': it was rolled back at .* and is held"):
        run.execute(increment)
    assert run.events == {}
    full = MaterializeOperator(task_id="full", feature_view=views[0], window="full", emit="always")
    assert run.execute(full)["is_published"] is False
    assert (run.events, full.outlets) == ({}, [])
    nightly = Run()
    for build in tasks.builds:
        nightly.execute(build)
    with pytest.raises(AirflowSkipException, match="feature views 'one', 'two' were rolled back and are held"):
        nightly.execute(tasks.publish)
    assert published(online, views) == first

    run.execute(tasks.release)
    assert nightly.execute(tasks.publish) == published(online, views)
    assert published(online, views)["one"] > second["one"]


def test_what_was_rolled_back_from_is_not_published_again(views: Views, online: OnlineStore) -> None:
    tasks = Tasks.of(views)
    tasks.run()
    run = tasks.run()
    run.execute(tasks.rollback)
    before = published(online, views)
    with pytest.raises(AirflowFailException, match="was published and is rolled back since"):
        run.execute(tasks.publish)
    assert published(online, views) == before


def test_a_full_run_that_publishes_emits_an_event_with_its_generation(views: Views, database: Database) -> None:
    run, full = Run(), {"feature_view": views[0], "window": "full"}
    built = run.execute(MaterializeOperator(task_id="full", **full, parallel="2"))
    assert run.events["one"].extra["generation"] == built["generation"]
    database("DELETE FROM rows")
    emptied = run.execute(MaterializeOperator(task_id="empty", **full, allow_empty="true"))
    assert (emptied["rows_written"], len(run.events)) == (0, 1)
    in_place = run.execute(MaterializeOperator(task_id="in_place", **full, in_place=True, publish=""))
    assert (in_place["generation"], len(run.events)) == (emptied["generation"], 0)


@pytest.mark.parametrize("operator", [PublishOperator, RollbackOperator, ReleaseOperator])
@pytest.mark.parametrize("feature_views, message", [
    (VIEW, "is not a list of feature views"),
    ("features.views.trips", "is not a list of feature views"),
    ([], "names no view"),
    (["plane trips"], "is not an import path"),
    ([VIEW, VIEW], "is given twice"),
    ([VIEW, replace(OTHER, project="another")], "of projects 'another' and 'default' cannot switch in one step"),
    ([replace(VIEW, layout="feast")], "layout 'feast' has one generation"),
])  # fmt: skip
def test_views_that_cannot_switch_in_one_step_are_refused(operator: Any, feature_views: Any, message: str) -> None:
    with pytest.raises(FeatureViewError, match=message):
        operator(task_id="t", feature_views=feature_views)


def test_views_may_be_templates(views: Views) -> None:
    operator = ReleaseOperator(task_id="t", feature_views=["tests.support.views.{{ params.view }}", OTHER])
    operator.render_template_fields({"params": {"view": "VIEW"}})  # type: ignore[typeddict-item]
    assert operator.views() == [VIEW, OTHER]
    assert PublishOperator(task_id="t", feature_views=[VIEW, OTHER]).outlets == [
        Asset(f"online-features://default/{view.name}") for view in (VIEW, OTHER)
    ]
    assert RollbackOperator(task_id="t", feature_views="{{ params.views }}").outlets == []


@pytest.mark.parametrize("fields, message", [
    ({"publish": False}, "publish=False is of full runs -> give window='full'"),
    ({"in_place": True, "window": "data_interval"}, "in_place=True is of full runs"),
    ({"window": "full", "in_place": True, "publish": False}, "in_place=True writes to what is published"),
])  # fmt: skip
def test_options_that_contradict_the_window_are_refused_when_the_dag_is_parsed(fields: Any, message: str) -> None:
    with pytest.raises(WindowError, match=message):
        MaterializeOperator(task_id="t", feature_view=VIEW, **fields)
    if "window" in fields:
        with pytest.raises(WindowError, match=message):
            MaterializeOperator.partial(task_id="t", **fields)
    MaterializeOperator(task_id="t", feature_view=VIEW, window="{{ params.window }}", publish=False)
    MaterializeOperator(task_id="t", feature_view=VIEW, in_place="{{ params.in_place }}")


def test_failed_checks_fail_the_task_at_once_with_a_table(
    views: Views, online: OnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[str, str]] = []
    monkeypatch.setattr(
        Stats, "incr", lambda _, *__, tags: counted.append((tags.get("check", ""), tags.get("outcome", "")))
    )
    checked = (replace(views[0], checks=[checks.rows(at_least=2)]), views[1])
    tasks, run = Tasks.of(checked), Run()
    with pytest.raises(AirflowFailException) as caught:
        run.execute(tasks.builds[0])
    assert "rows(at_least=2)  at least 2  1" in str(caught.value)
    assert [(result["check"], result["outcome"]) for result in run.pushed["checks"]][-1] == (
        "rows(at_least=2)", "failed",
    )  # fmt: skip
    assert ("rows(at_least 2)", "failed") in counted  # StatsD takes no "=" and no "," in a tag
    run.execute(tasks.builds[1])
    run.states[tasks.builds[0].task_id] = "failed"
    with pytest.raises(AirflowFailException, match="no upstream task of this DAG run has built a generation"):
        run.execute(tasks.publish)
    assert set(published(online, views).values()) == {"0"}
    again = Tasks.of(checked, ignore_checks=True)
    published_now = again.run().results["publish"][0]
    assert published(online, views) == published_now
