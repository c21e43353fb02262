"""Tasks that build a generation in parts do what one run does, in any order, twice, at once, or too late."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from online_features import (
    BuildInProgressError,
    BuildPart,
    BuildPlan,
    ChecksFailedError,
    FeatureView,
    GenerationError,
    LeaseLostError,
    OfflineStore,
    OnlineDataError,
    OnlineFeaturesError,
    OnlineStore,
    OptionError,
    PartsMissingError,
    PublishError,
    SourceError,
    finish_build,
    materialize,
    materialize_part,
    plan_build,
    publish,
)
from online_features.checks import rows
from online_features.layouts import keyspace
from online_features.materialization._claim import Claim
from online_features.materialization.reporting.progress import Progress
from online_features.offline.division.part import HashClass, KeyRange, PartitionGroup, part_from_dict, part_to_dict
from online_features.online.generations.leases import Lease
from online_features.resp.replies import text

from tests.conftest import at
from tests.support.divided import compared, counts_of
from tests.support.online import generation_online, rows_online
from tests.support.servers.databases import Database
from tests.support.transforms import doubles

BATCH_ROWS = 20  # so that each part has several batches
DAG = {"dag_id": "trips", "run_id": "first", "task_id": "plan", "map_index": -1, "try_number": 1}

Small = Callable[..., FeatureView]


@pytest.fixture(params=["msgpack", "hash", "json"])
def in_layout(request: pytest.FixtureRequest, pairs: FeatureView) -> FeatureView:
    return replace(pairs, layout=request.param)


def copy_all(plan: BuildPlan, offline: OfflineStore, online: OnlineStore) -> None:
    for part in plan.parts:
        materialize_part(part, offline, online, batch_rows=BATCH_ROWS)


def test_parts_do_what_one_run_does(
    offline: OfflineStore, online: OnlineStore, in_layout: FeatureView, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ours = [{"id": "pushed", "of": 1}, {"id": "k5", "of": 1}]
    online.push(in_layout, [{**entity, "ts": datetime.now(UTC), "x": 1, "price": 2, "gone": False} for entity in ours])
    one = materialize(in_layout, offline, online, full=True)
    expected = generation_online(online, in_layout, ["x", "price"])
    statistics = online.statistics(in_layout)

    plan = plan_build(in_layout, offline, online, parts=3, origin=DAG)
    handed_on = json.loads(json.dumps([part.to_dict() for part in reversed(plan.parts)]))
    parts = [BuildPart.from_dict(in_layout, given) for given in handed_on]
    copied = [materialize_part(part, offline, online, batch_rows=BATCH_ROWS) for part in parts]
    assert [result.number for result in copied] == [2, 1, 0]
    assert generation_online(online, in_layout, ["x", "price"]) == expected  # of the published one
    result = finish_build(plan, offline, online, origin=DAG)
    together = {name: sum(getattr(part, name) for part in copied) for name in counts_of(one)}
    assert together == counts_of(one)
    assert result.rows_written == one.rows_written  # the catch-up has found nothing to write
    assert result.rows_read == result.outcomes
    assert result.is_published
    assert generation_online(online, in_layout, ["x", "price"]) == expected
    measured = online.statistics(in_layout)
    assert measured is not None
    assert (measured.rows, measured.sampled) == (statistics.rows, statistics.sampled)  # type: ignore[union-attr]
    assert {name: vars(feature) for name, feature in measured.features.items()} == compared(statistics)
    built = online.generations(in_layout)
    assert built.builder is None
    assert (built.generations[-1].parts, built.generations[-1].state) == (3, "published")
    assert built.generations[-1].bytes == pytest.approx(built.generations[-2].bytes, rel=0.1)
    run, *_ = online.runs(in_layout)
    assert (run["run_id"], run["outcome"], run["parts"], run["rows_read"]) == (
        plan.run_id, "success", 3, result.rows_read
    )  # fmt: skip
    assert run["slowest_part"] in {0, 1, 2}
    kept = {text(name) for name in online._client.hkeys(keyspace.parts_key(in_layout, plan.generation))}  # type: ignore[union-attr]
    assert {name.partition(":")[0] for name in kept} == {"plan", "progress", "report"}
    said = caplog.text.replace("\n", " ")
    assert "3 of 3 parts are written" in said
    assert "part 0 is the slowest, with 0 rows" in said
    # An increment goes on from there.
    assert materialize(in_layout, offline, online).start is not None


def test_a_part_that_is_copied_again_does_no_harm(
    database: Database, offline: OfflineStore, online: OnlineStore, small: Small
) -> None:  # fmt: skip
    view = small()
    plan = plan_build(view, offline, online, parts=4)
    with ThreadPoolExecutor() as threads:
        twice = [part for part in plan.parts for _ in range(2)]
        copied = list(threads.map(lambda part: materialize_part(part, offline, online, batch_rows=5), twice))
    assert [result.rows_written for result in copied] == [25] * 8
    assert finish_build(plan, offline, online).rows_written == 100
    again = finish_build(plan, offline, online)
    assert (again.rows_written, again.is_published, again.generation) == (100, True, plan.generation)
    database("UPDATE rows SET x = -x")
    after = materialize_part(plan.parts[1], offline, online)
    assert (after.rows_read, after.skipped) == (0, f"generation {plan.generation} is complete already, and published")
    assert rows_online(online, view, ["x"])["30"]["x"] == "30"
    assert [run["outcome"] for run in online.runs(view)] == ["success"]
    # Of a build that was replaced, and removed.
    for _ in range(2):
        materialize(view, offline, online, full=True, keep_generations=0)
    assert materialize_part(plan.parts[1], offline, online).skipped.endswith("unpublished")
    online.drop(view)
    with pytest.raises(GenerationError, match="is no longer there -> plan again"):
        materialize_part(plan.parts[1], offline, online)


def test_a_build_that_lacks_parts_is_not_published(
    offline: OfflineStore, online: OnlineStore, small: Small
) -> None:  # fmt: skip
    view = small()
    plan = plan_build(view, offline, online, parts=3)
    materialize_part(plan.parts[1], offline, online)
    with pytest.raises(
        PartsMissingError, match=r"of the 3 parts of generation \w+, these are not written: 0, 2 -> run"
    ):
        finish_build(plan, offline, online)
    assert not online.runs(view)
    copy_all(plan, offline, online)
    assert finish_build(plan, offline, online, publish=False).is_published is False
    assert not rows_online(online, view, ["x"])
    publish([view], offline, online)
    assert len(rows_online(online, view, ["x"])) == 100


def test_pushes_erasures_and_increments_go_on(
    database: Database, offline: OfflineStore, online: OnlineStore, small: Small
) -> None:  # fmt: skip
    view = small()
    materialize(view, offline, online)
    online.push(view, [{"id": 200, "ts": datetime.now(UTC), "x": 1}])
    plan = plan_build(view, offline, online, parts=3)
    materialize_part(plan.parts[0], offline, online)
    online.push(view, [{"id": n, "ts": datetime.now(UTC), "x": 7} for n in (1, 99, 201)])
    online.delete(view, [{"id": 2}, {"id": 98}])
    database("INSERT INTO rows VALUES (3, now(), -3), (97, now(), -97), (300, now(), 300)")
    materialize(view, offline, online)
    for part in plan.parts[1:]:
        materialize_part(part, offline, online)
    database("INSERT INTO rows VALUES (4, now(), -4)")  # of a part that was read, and no increment comes after it
    finish_build(plan, offline, online)
    found = {name: row["x"] for name, row in rows_online(online, view, ["x"]).items()}
    expected = {str(n): str(n) for n in range(1, 101)}
    expected |= {"1": "7", "99": "7", "201": "7", "200": "1", "3": "-3", "97": "-97", "4": "-4", "300": "300"}
    assert found == {name: x for name, x in expected.items() if name not in ("2", "98")}


def test_what_gives_way_to_another_build(offline: OfflineStore, online: OnlineStore, small: Small) -> None:
    view = small()
    first = plan_build(view, offline, online, parts=2, origin=DAG)
    materialize_part(first.parts[0], offline, online)
    for origin in (None, {**DAG, "dag_id": "other"}):
        with pytest.raises(BuildInProgressError, match="building a generation in parts -> run again when it has ended"):
            plan_build(view, offline, online, parts=2, origin=origin)
        with pytest.raises(BuildInProgressError, match="at work, or with its DAG's next run"):
            materialize(view, offline, online, full=True, origin=origin)
    with pytest.raises(BuildInProgressError):
        online.drop(view)
    second = plan_build(view, offline, online, parts=2, origin={**DAG, "run_id": "second"})
    for late in (
        lambda: materialize_part(first.parts[1], offline, online),
        lambda: finish_build(first, offline, online),
    ):
        with pytest.raises(GenerationError, match=f"was given up: run {second.run_id} has begun to build instead"):
            late()
    materialize(view, offline, online, full=True, origin={**DAG, "run_id": "third"})
    with pytest.raises(GenerationError, match="was given up|is no longer there"):
        materialize_part(second.parts[1], offline, online)
    assert online.generations(view).generations[-1].state == "published"
    # Without a DAG, only another build in parts takes over.
    third = plan_build(view, offline, online, parts=2)
    with pytest.raises(BuildInProgressError, match="at work, or when plan_build begins anew"):
        materialize(view, offline, online, full=True)
    fourth = plan_build(view, offline, online, parts=2)
    with pytest.raises(GenerationError):
        materialize_part(third.parts[0], offline, online)
    copy_all(fourth, offline, online)
    assert finish_build(fourth, offline, online).is_published


def test_a_part_at_work_on_a_build_that_is_given_up_is_refused(
    offline: OfflineStore, online: OnlineStore, small: Small
) -> None:
    view = small()
    given_up = plan_build(view, offline, online, parts=2)
    plans: list[BuildPlan] = []

    def plan_again(progress: Progress) -> None:
        if not plans:
            plans.append(plan_build(view, offline, online, parts=2))

    with pytest.raises(GenerationError, match=r"was given up.* -> plan again|is no longer there -> plan again"):
        materialize_part(given_up.parts[0], offline, online, on_progress=plan_again)
    copy_all(plans[0], offline, online)
    assert finish_build(plans[0], offline, online).is_published


def test_a_part_that_is_at_work_while_another_build_takes_over_ends(
    offline: OfflineStore, online: OnlineStore, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    view = small()
    monkeypatch.setattr("online_features.online.generations.leases.RENEW_SECONDS", 0.001)
    plan, others = plan_build(view, offline, online, parts=1), list[BuildPlan]()
    lost, renew = Event(), Lease.renew

    def renewed(lease: Lease) -> None:
        renew(lease)
        if lease._is_lost:
            lost.set()

    def take_over(_: Any) -> None:
        if not others:
            others.append(plan_build(view, offline, online, parts=1))
            assert lost.wait(30)

    monkeypatch.setattr(Lease, "renew", renewed)
    with pytest.raises(LeaseLostError, match="lost the lease under which it was building"):
        materialize_part(plan.parts[0], offline, online, batch_rows=1, on_progress=take_over)
    copy_all(others[0], offline, online)
    assert finish_build(others[0], offline, online).rows_written == 100


def test_checks_are_of_the_whole(
    database: Database, offline: OfflineStore, online: OnlineStore, small: Small
) -> None:  # fmt: skip
    view = small(checks=[rows(at_least=100)])
    plan = plan_build(view, offline, online, parts=4)
    copy_all(plan, offline, online)
    assert finish_build(plan, offline, online).is_published
    database("DELETE FROM rows WHERE id = 50")
    plan = plan_build(view, offline, online, parts=4)
    copy_all(plan, offline, online)
    with pytest.raises(ChecksFailedError, match="99"):
        finish_build(plan, offline, online)
    seen = online.generations(view)
    assert ([known.state for known in seen.generations][-2:], seen.builder) == (["published", "refused"], None)
    assert online.runs(view)[0]["outcome"] == "ChecksFailedError"
    assert len(rows_online(online, view, ["x"])) == 100
    assert materialize_part(plan.parts[0], offline, online).skipped.endswith("refused")
    for options in ({}, {"publish": False}):
        with pytest.raises(PublishError, match=r"has failed checks \(.*at_least.*\), so it is not published"):
            finish_build(plan, offline, online, **options)
    assert len(online.runs(view)) == 2
    assert finish_build(plan, offline, online, ignore_checks=True).is_published
    assert len(rows_online(online, view, ["x"])) == 99


def test_a_source_that_is_replaced_between_parts_is_not_published(
    database: Database, offline: OfflineStore, online: OnlineStore, small: Small
) -> None:  # fmt: skip
    view = small()
    plan = plan_build(view, offline, online, parts=2)
    materialize_part(plan.parts[0], offline, online)
    database("TRUNCATE rows")
    database("INSERT INTO rows SELECT n, now() - interval '2 days', -n FROM generate_series(1, 100) AS n")
    materialize_part(plan.parts[1], offline, online)
    with pytest.raises(PublishError, match="cannot catch up, because .* -> build again"):
        finish_build(plan, offline, online)
    assert online.generations(view).get(plan.generation).state == "failed"  # type: ignore[union-attr]
    with pytest.raises(PublishError):
        online.publish([view])
    assert not rows_online(online, view, ["x"])


def test_rows_that_come_between_parts_are_not_missed(
    database: Database, offline: OfflineStore, online: OnlineStore, small: Small
) -> None:
    view = small(source={"created_timestamp_column": "created"})
    database("ALTER TABLE rows ADD created timestamptz DEFAULT now()")
    plan = plan_build(view, offline, online, parts=2)
    materialize_part(plan.parts[0], offline, online)
    database("INSERT INTO rows VALUES (1, now(), -1), (0, now() - interval '2 days', -2)")
    materialize_part(plan.parts[1], offline, online)
    finish_build(plan, offline, online)
    found = rows_online(online, view, ["x"])
    assert (found["1"]["x"], found["0"]["x"]) == ("-1", "-2")


def test_a_measurement_that_is_lost_is_not_left_out(offline: OfflineStore, online: OnlineStore, small: Small) -> None:
    view = small()
    plan = plan_build(view, offline, online, parts=2)
    copy_all(plan, offline, online)
    online._client.hdel(keyspace.parts_key(view, plan.generation), "statistics:1")
    with pytest.raises(OnlineDataError, match="copy its part again"):
        finish_build(plan, offline, online)
    materialize_part(plan.parts[1], offline, online)
    assert finish_build(plan, offline, online).is_published


def test_a_definition_that_changes_between_parts_is_refused(
    database: Database, offline: OfflineStore, online: OnlineStore, small: Small
) -> None:  # fmt: skip
    plan = plan_build(small(), offline, online, parts=2)
    changed = replace(plan, view=small(features=["y"], transform=doubles))
    for late in (
        lambda: materialize_part(changed.parts[0], offline, online),
        lambda: finish_build(changed, offline, online),
    ):
        with pytest.raises(GenerationError, match="planned for another definition of the view"):
            late()
    copy_all(plan, offline, online)
    assert finish_build(plan, offline, online).is_published


def test_ranges_of_texts_are_refused_in_another_order(
    offline: OfflineStore, online: OnlineStore, pairs: FeatureView
) -> None:  # fmt: skip
    plan = plan_build(pairs, offline, online, parts=2)
    key = keyspace.parts_key(pairs, plan.generation)
    kept = json.loads(online._client.hget(key, "plan"))  # type: ignore[arg-type]
    assert kept["collation"][0] == 'pg_catalog."default"'
    online._client.hset(key, "plan", json.dumps({**kept, "collation": [kept["collation"][0], "2.28"]}))
    with pytest.raises(SourceError, match=r"order of collation pg_catalog.\"default\" 2.28, but this server .* has"):
        materialize_part(plan.parts[0], offline, online)
    online._client.hset(key, "plan", json.dumps(kept))
    copy_all(plan, offline, online)
    assert finish_build(plan, offline, online).is_published


@pytest.mark.parametrize("damage", ["", "[]", '{"parts": 1}', "{}"])
def test_a_damaged_plan_is_named(
    offline: OfflineStore, online: OnlineStore, small: Small, damage: str
) -> None:  # fmt: skip
    view = small()
    plan = plan_build(view, offline, online, parts=2)
    key = keyspace.parts_key(view, plan.generation)
    online._client.hset(key, "plan", damage)
    with pytest.raises(OnlineFeaturesError, match=key.replace("{", r"\{")):
        materialize_part(plan.parts[0], offline, online)
    online._client.delete(key)
    with pytest.raises(GenerationError, match="has lost its plan in Redis"):
        materialize_part(plan.parts[0], offline, online)
    plan_build(view, offline, online, parts=2)


def test_redis_that_has_lost_a_build_is_noticed(
    offline: OfflineStore, online: OnlineStore, small: Small
) -> None:  # fmt: skip
    view = small()
    plan = plan_build(view, offline, online, parts=2)
    copy_all(plan, offline, online)
    online._client.delete(keyspace.run_key(view, plan.run_id))  # as a flush does, but for the rest
    with pytest.raises(GenerationError, match=r"may lack rows: Redis .* lost data since the plan -> plan again"):
        finish_build(plan, offline, online)
    for key in set(online._client.scan_iter(f"*{view.project}*")):
        online._client.delete(key)
    for late in (lambda: materialize_part(plan.parts[0], offline, online), lambda: finish_build(plan, offline, online)):
        with pytest.raises(GenerationError, match="is no longer there"):
            late()


def test_a_held_view_is_built_and_not_published(
    offline: OfflineStore, online: OnlineStore, small: Small
) -> None:  # fmt: skip
    view = small()
    for _ in range(2):
        materialize(view, offline, online, full=True)
    plan = plan_build(view, offline, online, parts=2)
    online.rollback([view])
    copy_all(plan, offline, online)
    result = finish_build(plan, offline, online)
    assert (result.is_published, online.generations(view).builder) == (False, None)
    assert online.generations(view).get(plan.generation).state == "ready"  # type: ignore[union-attr]


def test_what_is_pruned_is_what_one_run_prunes(
    offline: OfflineStore, online: OnlineStore, small: Small
) -> None:  # fmt: skip
    view = small()
    materialize(view, offline, online)
    online.push(view, [{"id": 200, "ts": datetime.now(UTC) - timedelta(hours=1), "x": 1}])
    plan = plan_build(view, offline, online, parts=2, prune=True)
    copy_all(plan, offline, online)
    assert finish_build(plan, offline, online).entities_pruned == 1
    assert "200" not in rows_online(online, view, ["x"])


@pytest.mark.parametrize("source", [
    {"table": "parts"}, {"query": "SELECT * FROM rows", "table": None}, {"table": "nothing"},
], ids=["partitions", "hashes", "empty"])  # fmt: skip
def test_tables_of_all_shapes(
    database: Database, offline: OfflineStore, online: OnlineStore, small: Small, source: dict[str, Any]
) -> None:  # fmt: skip
    view = small(source=source)
    database("CREATE TABLE parts (id int, ts timestamptz, x int) PARTITION BY HASH (id)")
    for number in range(8):
        database(f"CREATE TABLE part{number} PARTITION OF parts FOR VALUES WITH (MODULUS 8, REMAINDER {number})")
    database("INSERT INTO parts SELECT * FROM rows")
    database("CREATE TABLE nothing (LIKE rows)")
    plan = plan_build(view, offline, online, parts=3)
    copy_all(plan, offline, online)
    written = 0 if source["table"] == "nothing" else 100
    assert finish_build(plan, offline, online).rows_written == written
    assert len(rows_online(online, view, ["x"])) == written


KILLED = """
import os, signal
from online_features import BuildPart, FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize_part
view = FeatureView(name="view", project={project!r}, entities=["id"], features=["x"], layout={layout!r},
                   source=PostgresSource(table="rows", timestamp_field="ts"))
materialize_part(BuildPart.from_dict(view, {part!r}), OfflineStore({uri!r}), OnlineStore.from_url({url!r}),
                 batch_rows=5, on_progress=lambda _: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.faults
def test_a_part_whose_process_is_killed_is_copied_again(
    database: Database, offline: OfflineStore, online: OnlineStore, redis_url: str, small: Small
) -> None:  # fmt: skip
    view = small()
    plan = plan_build(view, offline, online, parts=2)
    script = KILLED.format(
        project=view.project, layout=view.layout, part=plan.parts[1].to_dict(), uri=database.uri, url=redis_url
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with pytest.raises(PartsMissingError, match="not written: 0, 1"):
        finish_build(plan, offline, online)
    copy_all(plan, offline, online)
    assert finish_build(plan, offline, online).rows_written == 100
    assert len(rows_online(online, view, ["x"])) == 100


def test_a_view_of_layout_feast_is_refused(
    offline: OfflineStore, online: OnlineStore, small: Small
) -> None:  # fmt: skip
    with pytest.raises(OptionError, match="layout 'feast' has one generation, written in place"):
        plan_build(small(layout="feast"), offline, online)


@pytest.mark.parametrize("given", [{}, None, {"run_id": "a", "generation": "b", "parts": 2, "number": 2}])
def test_what_is_no_part_is_refused(make_view: Callable[..., FeatureView], given: Any) -> None:
    with pytest.raises(OptionError, match="is not a part of a build -> hand on what part.to_dict"):
        BuildPart.from_dict(make_view(), given)


@pytest.mark.parametrize("part", [
    KeyRange(column="a b", lower="1", upper=None), HashClass(number=1, of=3), PartitionGroup(tables=("a.b", "c.d")),
])  # fmt: skip
def test_parts_are_read_as_they_were_kept(part: Any) -> None:
    assert part_from_dict(json.loads(json.dumps(part_to_dict(part)))) == part


def test_the_claim_of_all_parts_is_the_earliest() -> None:
    early, late = (Claim(until=at(hour), cursor=at(hour), note=None) for hour in (1, 2))
    blind = Claim(until=at(3), cursor=None, note=None)
    behind = replace(late, until=at(0))
    assert Claim.earliest([late, early, late]) == early
    assert Claim.earliest([late, blind]) == replace(blind, until=at(2))
    assert Claim.earliest([early, behind]) == replace(early, until=at(0))
    assert Claim.from_dict(json.loads(json.dumps(early.to_dict()))) == early
