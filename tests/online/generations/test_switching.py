"""What readers see is switched: published, rolled back, held and released, of several views in one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import redis
from online_features import FeatureView
from online_features.errors import GenerationError, OptionError, PublishError, RollbackError
from online_features.layouts import keyspace
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.online.generations.building import mark_failed, mark_ready, register_build
from online_features.online.generations.generation_list import GenerationState, read_generations
from online_features.online.generations.leases import release_lease
from online_features.online.generations.removal import retire
from online_features.online.generations.switching import Publication, PublicationOutcome, publish, release, rollback
from online_features.online.redis.deployment import Deployment

from tests.support.generations import build, build_and_publish, make_older

pytestmark = pytest.mark.servers

MakeView = Callable[..., FeatureView]
State = GenerationState
PUBLISHED, UNCHANGED = PublicationOutcome.PUBLISHED, PublicationOutcome.UNCHANGED
HELD, BEHIND = PublicationOutcome.HELD, PublicationOutcome.BEHIND


def states(deployment: Deployment, view: FeatureView) -> dict[str, State]:
    return {
        known.id: known.state
        for known in read_generations(deployment, view).generations
        if known.id != FIRST_GENERATION
    }


def published(deployment: Deployment, view: FeatureView) -> str:
    return read_generations(deployment, view).published


def hash_of(client: redis.Redis, view: FeatureView, generation: str, **fields: object) -> None:
    client.hset(keyspace.generation_key(view, generation), mapping=fields)


def test_nothing_is_published_at_first(deployment: Deployment, trips: FeatureView) -> None:
    seen = read_generations(deployment, trips)
    assert (seen.published, seen.switch, seen.generations, seen.written) == (
        FIRST_GENERATION,
        0,
        (),
        (FIRST_GENERATION,),
    )


def test_the_newest_ready_build_is_published(deployment: Deployment, trips: FeatureView) -> None:
    build(deployment, trips)
    newest = build(deployment, trips)
    assert publish(deployment, [trips]) == Publication(outcome=PUBLISHED, generations={"trips": newest})
    seen = read_generations(deployment, trips)
    assert seen.pointer == (newest, 1)
    assert seen.written[-1] == newest


def test_publishing_what_is_published_changes_nothing(deployment: Deployment, trips: FeatureView) -> None:
    generation = build_and_publish(deployment, trips)
    before = read_generations(deployment, trips)
    for named in ({}, {"trips": generation}):
        assert publish(deployment, [trips], generations=named).outcome == UNCHANGED
    assert read_generations(deployment, trips).version == before.version


def test_several_views_switch_together(deployment: Deployment, trips: FeatureView, weather: FeatureView) -> None:
    first = build(deployment, trips)
    with pytest.raises(PublishError, match="'weather': no build is ready"):
        publish(deployment, [trips, weather])
    assert published(deployment, trips) == FIRST_GENERATION
    second = build(deployment, weather)
    assert publish(deployment, [trips, weather]).generations == {"trips": first, "weather": second}
    assert (published(deployment, trips), published(deployment, weather)) == (first, second)


def test_a_named_generation_is_refused_in_the_states_that_cannot_be_published(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    old = build_and_publish(deployment, trips)
    build_and_publish(deployment, trips)
    last = build_and_publish(deployment, trips)
    make_older(client, trips, timedelta(minutes=11))
    assert old in retire(deployment, trips)
    failed = register_build(deployment, trips, run_id="b", fingerprint="f")
    mark_failed(deployment, trips, failed, run_id="b", reason="no rows")
    building = register_build(deployment, trips, run_id="b", fingerprint="f")
    for named, why in (
        (old, "is retired"), (failed, "failed: no rows"), (building, "is being built by run b"),
        ("nonsense", "not among its generations"), (FIRST_GENERATION, "not among its generations"),
    ):  # fmt: skip
        with pytest.raises(PublishError, match=f"'trips': .*{why}.* -> "):
            publish(deployment, [trips], generations={"trips": named})
    assert published(deployment, trips) == last


def test_a_build_that_failed_checks_is_published_only_if_they_are_ignored(
    deployment: Deployment, trips: FeatureView
) -> None:
    first = build_and_publish(deployment, trips)
    refused = build(deployment, trips, refusal="rows(at_least=2)")
    for named in ({}, {"trips": refused}):
        with pytest.raises(PublishError, match=rf"'trips': generation {refused} has failed rows\(at_least=2\) -> "):
            publish(deployment, [trips], generations=named)
    assert published(deployment, trips) == first
    assert publish(deployment, [trips], generations={"trips": first}).outcome == "unchanged"
    assert publish(deployment, [trips], ignore_checks=True).generations == {"trips": refused}
    (known,) = (each for each in read_generations(deployment, trips).generations if each.id == refused)
    assert (known.state, known.failure, known.ignored) == ("published", None, "rows(at_least=2)")
    rollback(deployment, [trips])
    publish(deployment, [trips], generations={"trips": refused})  # somebody has accepted it before


def test_a_superseded_build_is_refused_naming_by_what(deployment: Deployment, trips: FeatureView) -> None:
    old = build(deployment, trips)
    new = build_and_publish(deployment, trips)
    with pytest.raises(PublishError, match=f"{old} was superseded by {new}"):
        publish(deployment, [trips], generations={"trips": old})


def test_a_rollback_goes_to_what_was_published_before(
    deployment: Deployment, trips: FeatureView, weather: FeatureView
) -> None:
    old = {view.name: build_and_publish(deployment, view) for view in (trips, weather)}
    new = {view.name: build(deployment, view) for view in (trips, weather)}
    publish(deployment, [trips, weather])
    assert rollback(deployment, [trips, weather], by="me") == old
    for view in (trips, weather):
        seen = read_generations(deployment, view)
        assert seen.pointer == (old[view.name], 3)
        assert seen.hold is not None
        assert seen.hold.by == "me"
        assert states(deployment, view)[new[view.name]] == State.ROLLED_BACK


def test_no_view_is_rolled_back_if_one_cannot_be(
    deployment: Deployment, trips: FeatureView, weather: FeatureView
) -> None:
    build_and_publish(deployment, trips)
    new = build_and_publish(deployment, trips)
    with pytest.raises(RollbackError, match="'weather': no generation is published"):
        rollback(deployment, [trips, weather])
    first = build_and_publish(deployment, weather)
    with pytest.raises(RollbackError, match=f"'weather': nothing was published before generation {first}"):
        rollback(deployment, [trips, weather])
    assert published(deployment, trips) == new


def test_there_is_no_way_back_to_what_was_removed(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    old = build_and_publish(deployment, trips)
    build_and_publish(deployment, trips)
    make_older(client, trips, timedelta(minutes=11))
    retire(deployment, trips, keep_generations=0)
    with pytest.raises(RollbackError, match=f"{old}, which was published before .* has been removed"):
        rollback(deployment, [trips])


def test_a_task_that_rolls_back_again_does_not_go_further_back(deployment: Deployment, trips: FeatureView) -> None:
    first, second, _ = (build_and_publish(deployment, trips) for _ in range(3))
    assert rollback(deployment, [trips], by="task") == {"trips": second}
    assert rollback(deployment, [trips], by="task") == {"trips": second}
    assert rollback(deployment, [trips], by="another") == {"trips": first}


def test_a_hold_keeps_runs_from_publishing(deployment: Deployment, trips: FeatureView, weather: FeatureView) -> None:
    build_and_publish(deployment, trips)
    build_and_publish(deployment, trips)
    rollback(deployment, [trips])
    before = read_generations(deployment, trips).pointer
    new, other = build(deployment, trips), build(deployment, weather)
    held = publish(deployment, [trips, weather], by_run=True)
    assert (held.outcome, held.views) == (HELD, ("trips",))
    assert read_generations(deployment, trips).pointer == before
    assert published(deployment, weather) == FIRST_GENERATION
    assert publish(deployment, [trips, weather]).generations == {"trips": new, "weather": other}
    assert read_generations(deployment, trips).hold is None


def test_a_held_view_without_a_later_build_is_not_published(deployment: Deployment, trips: FeatureView) -> None:
    old = build_and_publish(deployment, trips)
    new = build_and_publish(deployment, trips)
    rollback(deployment, [trips])
    with pytest.raises(PublishError, match=f"held at generation {old}, and no later build is ready"):
        publish(deployment, [trips])
    publish(deployment, [trips], generations={"trips": new})
    seen = read_generations(deployment, trips)
    assert (seen.published, seen.hold) == (new, None)
    assert rollback(deployment, [trips]) == {"trips": old}


def test_releasing_asks_for_a_full_build_until_one_is_published(deployment: Deployment, trips: FeatureView) -> None:
    build_and_publish(deployment, trips)
    release(deployment, [trips])
    assert not read_generations(deployment, trips).needs_full
    build_and_publish(deployment, trips)
    rollback(deployment, [trips])
    for _ in range(2):
        release(deployment, [trips])
        seen = read_generations(deployment, trips)
        assert (seen.hold, seen.needs_full) == (None, True)
    build_and_publish(deployment, trips)
    assert not read_generations(deployment, trips).needs_full


def test_a_run_that_publishes_late_does_not_undo_a_rollback(deployment: Deployment, trips: FeatureView) -> None:
    build_and_publish(deployment, trips)
    expected = {"trips": read_generations(deployment, trips).pointer}
    new = build(deployment, trips)
    by_run = {"generations": {"trips": new}, "expected": expected, "by_run": True}
    assert publish(deployment, [trips], **by_run).outcome == PUBLISHED
    assert publish(deployment, [trips], **by_run).outcome == UNCHANGED
    rollback(deployment, [trips])
    with pytest.raises(PublishError, match=f"{new} was published and is rolled back since"):
        publish(deployment, [trips], **by_run)
    release(deployment, [trips])
    with pytest.raises(PublishError, match=f"{new} was published and is rolled back since"):
        publish(deployment, [trips], **by_run)


def test_a_switch_in_between_is_noticed(deployment: Deployment, trips: FeatureView) -> None:
    build_and_publish(deployment, trips)
    expected = {"trips": read_generations(deployment, trips).pointer}
    build_and_publish(deployment, trips)
    new = build(deployment, trips)
    with pytest.raises(PublishError, match="switch 2, after switch 1"):
        publish(deployment, [trips], generations={"trips": new}, expected=expected)


def test_a_build_is_behind_when_a_run_has_committed_since(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    old = build_and_publish(deployment, trips)
    new = build(deployment, trips)
    hash_of(client, trips, old, commits=1)
    behind = publish(deployment, [trips])
    assert (behind.outcome, behind.views) == (BEHIND, ("trips",))
    with pytest.raises(PublishError, match="'trips': runs have committed"):
        behind.require()
    hash_of(client, trips, new, synced=f"{old} 1")
    assert publish(deployment, [trips]).outcome == PUBLISHED


def test_a_build_that_is_behind_may_have_an_earlier_watermark(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    """A catch-up brings both."""
    early, late = "2026-01-01T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"
    old = build_and_publish(deployment, trips, watermark=early)
    build(deployment, trips, watermark=early)
    hash_of(client, trips, old, commits=1, watermark=late)
    assert publish(deployment, [trips]).outcome == BEHIND


@pytest.mark.parametrize("act", ["publish", "rollback"])
def test_what_has_lost_its_schema_is_not_published(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, act: str
) -> None:
    target = build_and_publish(deployment, trips)
    if act == "publish":
        target = build(deployment, trips)
    else:
        build_and_publish(deployment, trips)
    client.delete(keyspace.generation_key(trips, target))
    switch = publish if act == "publish" else rollback
    with pytest.raises(GenerationError, match=f"lost the schema of generation {target}"):
        switch(deployment, [trips])


def test_a_build_is_behind_windows_of_before_the_first_full_run(
    deployment: Deployment, client: redis.Redis, trips: FeatureView
) -> None:
    new = build(deployment, trips)
    hash_of(client, trips, FIRST_GENERATION, commits=1)
    assert publish(deployment, [trips]).outcome == BEHIND
    hash_of(client, trips, new, synced=f"{FIRST_GENERATION} 1")
    assert publish(deployment, [trips]).outcome == PUBLISHED


def test_a_watermark_does_not_go_back_except_by_a_rollback(deployment: Deployment, trips: FeatureView) -> None:
    early, late = "2026-01-01T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"
    old = build_and_publish(deployment, trips, watermark=early)
    build_and_publish(deployment, trips, watermark=late)
    for fields in ({"watermark": early}, {}):
        new = build(deployment, trips, **fields)
        assert publish(deployment, [trips], generations={"trips": new}).outcome == BEHIND
    with pytest.raises(PublishError, match="watermark would go back"):
        publish(deployment, [trips], generations={"trips": old})
    assert rollback(deployment, [trips]) == {"trips": old}


@pytest.mark.parametrize("act", ["publish", "rollback"])
def test_what_lacks_pushes_is_published_only_if_that_is_accepted(
    deployment: Deployment, client: redis.Redis, trips: FeatureView, act: str
) -> None:
    target = build_and_publish(deployment, trips)
    if act == "publish":
        target = build(deployment, trips)
    else:
        build_and_publish(deployment, trips)
    switch = publish if act == "publish" else rollback
    hash_of(client, trips, target, missed=3)
    with pytest.raises(GenerationError, match=f"{target} lacks 3 pushed rows"):
        switch(deployment, [trips])
    switch(deployment, [trips], ignore_missed=True)
    assert published(deployment, trips) == target


@pytest.mark.parametrize("act", ["publish", "rollback"])
def test_what_other_servers_held_is_not_published(deployment: Deployment, trips: FeatureView, act: str) -> None:
    target = build_and_publish(deployment, trips, servers="s1")
    if act == "publish":
        target = build(deployment, trips, servers="s1")
    else:
        build_and_publish(deployment, trips, servers="s2")
    switch = publish if act == "publish" else rollback
    with pytest.raises(GenerationError, match="written to other servers"):
        switch(deployment, [trips], servers="s2")
    switch(deployment, [trips], servers="s1")
    assert published(deployment, trips) == target


def test_views_that_cannot_switch_together_are_refused(
    deployment: Deployment, trips: FeatureView, weather: FeatureView
) -> None:
    elsewhere = replace(weather, project=f"{weather.project}.other")
    for switch in (publish, rollback, release):
        for other in (elsewhere, replace(trips, project=elsewhere.project)):
            with pytest.raises(GenerationError, match="cannot switch in one step"):
                switch(deployment, [trips, other])
        with pytest.raises(GenerationError, match="layout 'feast' has one generation"):
            switch(deployment, [replace(trips, layout="feast")])
        for views in ([], [trips, trips]):
            with pytest.raises(OptionError, match="at least one, and each of them once"):
                switch(deployment, views)
    with pytest.raises(OptionError, match="'weather'"):
        publish(deployment, [trips], generations={"weather": "x"})


def test_only_a_run_with_the_lease_makes_a_build_ready(deployment: Deployment, trips: FeatureView) -> None:
    generation = register_build(deployment, trips, run_id="a", fingerprint="f")
    release_lease(deployment, trips, "b")  # another's
    mark_ready(deployment, trips, generation, run_id="a", synced="0 0", rows=1, size=1)
    assert states(deployment, trips) == {generation: State.READY}
