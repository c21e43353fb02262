"""Builds of several views are published together, after each has caught up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from online_features import (
    FeatureView,
    GenerationState,
    OfflineStore,
    OnlineStore,
    OptionError,
    PublicationOutcome,
    PublishError,
    materialize,
    publish,
)
from online_features.online.generations.leases import closing_run

from tests.support.servers.databases import Database

pytestmark = pytest.mark.layouts("hash", "json", "msgpack")

Views = tuple[FeatureView, FeatureView]
NOW = datetime.now(UTC)


def at(minutes: int) -> datetime:
    return NOW - timedelta(days=1) + timedelta(minutes=minutes)


@pytest.fixture
def views(database: Database, make_view: Callable[..., FeatureView], layout: str) -> Views:
    """Two views of one table, each with one row in its first generation."""
    database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz DEFAULT clock_timestamp(), x int)")
    database("INSERT INTO rows VALUES ('a', %s, now(), 1)", at(0))
    view = make_view(features=["x"], layout=layout, source={"created_timestamp_column": "created"})
    return replace(view, name="one"), replace(view, name="two")


def built(views: Views, offline: OfflineStore, online: OnlineStore) -> dict[str, str]:
    """Build a generation of each view over a first one, and return them."""
    for view in views:
        materialize(view, offline, online)
    return {view.name: materialize(view, offline, online, full=True, publish=False).generation for view in views}


def x_of(online: OnlineStore, view: FeatureView, name: str) -> Any:
    (row,) = online.get_online_features(view, [{"id": name}])
    return row.values["x"]


def test_builds_that_are_behind_catch_up_and_are_published_in_one_step(
    database: Database, offline: OfflineStore, online: OnlineStore, views: Views
) -> None:
    one, two = views
    generations = built(views, offline, online)
    database("INSERT INTO rows VALUES ('b', %s, clock_timestamp(), 2)", at(1))
    increment = materialize(one, offline, online)
    with pytest.raises(PublishError, match="feature views 'one': runs have committed online since"):
        online.publish(views)
    publication = publish(views, offline, online, generations=generations)
    assert (publication.outcome, publication.generations) == (PublicationOutcome.PUBLISHED, generations)
    assert [x_of(online, view, "b") for view in views] == [2, None]
    watermark = online.state(one).watermark
    assert watermark is not None
    assert increment.watermark is not None
    assert watermark >= increment.watermark
    assert [online.generations(view).builder for view in views] == [None, None]
    catch_up = online.runs(one)[0]
    assert (catch_up["kind"], catch_up["rows_written"], catch_up["generation"]) == (
        "incremental", 1, generations["one"]
    )  # fmt: skip
    known = online.generations(one).get(generations["one"])
    assert known is not None
    assert (known.rows, bool(known.bytes)) == (1, True)
    assert publish(views, offline, online, generations=generations).outcome == PublicationOutcome.UNCHANGED
    assert materialize(two, offline, online).rows_written == 1


def test_a_build_catches_up_with_windows_wherever_they_are(
    database: Database, offline: OfflineStore, online: OnlineStore, views: Views
) -> None:
    one, _ = views
    generations = built(views, offline, online)
    # An increment does not see what was created before its cursor.
    database("INSERT INTO rows VALUES ('old', %s, %s, 3)", at(-60), at(-60))
    materialize(one, offline, online, start=at(-90), end=at(-30))
    publish(views, offline, online)
    assert (online.generations(one).published, x_of(online, one, "old")) == (generations["one"], 3)


def test_increments_wait_when_they_are_faster(
    database: Database, offline: OfflineStore, online: OnlineStore, views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = views
    generations = built(views, offline, online)
    materialize(one, offline, online)
    publish_once, waited = online._publish, []

    def publish_after_an_increment(*arguments: Any, **options: Any) -> Any:
        if closing_run(online._deployment, one) is None:
            materialize(one, offline, online)
        else:
            waited.append(True)
        return publish_once(*arguments, **options)

    monkeypatch.setattr(online, "_publish", publish_after_an_increment)
    assert publish(views, offline, online).generations == generations
    assert waited == [True]


def test_nothing_is_published_unless_all_is(
    database: Database, offline: OfflineStore, online: OnlineStore, views: Views
) -> None:
    one, two = views
    before = [materialize(view, offline, online).generation for view in views]
    materialize(one, offline, online, full=True, publish=False)
    two_built = materialize(two, offline, online, full=True, publish=False)
    materialize(two, offline, online)
    changed = replace(two, features=["x", "created"], source=replace(two.source, created_timestamp_column=None))
    with pytest.raises(PublishError, match="feature view 'two': generation .* cannot catch up, because the view has"):
        publish([one, changed], offline, online)
    assert [online.generations(view).published for view in views] == before
    known = online.generations(two).get(two_built.generation)
    assert known is not None
    assert known.state == GenerationState.READY


def test_a_view_that_is_held_is_published_only_by_who_ends_the_hold(
    database: Database, offline: OfflineStore, online: OnlineStore, views: Views
) -> None:
    built(views, offline, online)
    first = materialize(views[0], offline, online, full=True, publish=False)
    publish(views, offline, online)
    before = online.rollback(views[:1])
    again = materialize(views[0], offline, online, full=True, publish=False)
    publication = publish(views, offline, online, ends_hold=False)
    assert (publication.outcome, publication.views) == (PublicationOutcome.HELD, ("one",))
    assert online.generations(views[0]).published == before["one"]
    with pytest.raises(PublishError, match="was published and is rolled back since"):
        publish(views[:1], offline, online, generations={"one": first.generation}, ends_hold=False)
    assert publish(views, offline, online).generations["one"] == again.generation
    assert online.generations(views[0]).hold is None


def test_a_task_that_is_tried_again_does_not_go_back_twice(
    database: Database, offline: OfflineStore, online: OnlineStore, views: Views
) -> None:
    one, _ = views
    built(views, offline, online)
    online.publish(views)
    materialize(one, offline, online, full=True)
    first, second, _ = (known for known in online.generations(one).generations if known.id != "0")
    task = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}
    for try_number in (1, 2):
        assert online.rollback([one], origin={**task, "try_number": try_number}) == {
            "one": second.id
        }  # not a second time
    assert online.rollback([one], origin={**task, "run_id": "another"}) == {"one": first.id}


@pytest.mark.layouts("hash", "feast")
def test_a_layout_refuses_what_it_cannot_do(offline: OfflineStore, online: OnlineStore, views: Views) -> None:
    one, _ = views
    if one.layout == "feast":
        with pytest.raises(OptionError, match="layout 'feast' has one generation, .* -> leave publish=False out"):
            materialize(one, offline, online, full=True, publish=False)
        for _ in range(2):
            result = materialize(one, offline, online, full=True, overwrite=True, retry_for=timedelta(0))
            assert result.is_published
    else:
        with pytest.raises(OptionError, match="overwrite=True is for layout 'feast' -> leave it out"):
            materialize(one, offline, online, full=True, overwrite=True)
