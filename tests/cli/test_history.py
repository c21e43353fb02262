"""What happened to a view: runs, generations, stats."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import redis
from online_features import ChecksFailedError, FeatureView, OfflineStore, OnlineStore, checks, materialize
from online_features.layouts import keyspace

from tests.cli.conftest import Run
from tests.support.servers.databases import Database


def test_runs_tell_whether_the_last_one_wrote_as_much_as_usual(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, rows: Database
) -> None:
    for _ in range(4):
        materialize(trips, offline, online, full=True, origin={"dag_id": "nightly", "task_id": "load"})
    rows("DELETE FROM rows WHERE id > 15")
    materialize(trips, offline, online, full=True)
    outcome = run("runs", "trips")
    assert outcome.code == 0
    assert "The last full run wrote 15 rows; the 4 before it wrote 20 in the median, 20 to 20." in outcome.out
    assert "nightly.load" in outcome.out
    told = run("runs", "trips", "--json").json
    assert told["usual"] == {"full": {"last": 15, "runs": 4, "median": 20, "least": 20, "most": 20}}
    assert [each["rows_written"] for each in told["runs"]] == [15, 20, 20, 20, 20]
    assert len(run("runs", "trips", "--limit", "2", "--json").json["runs"]) == 2
    assert run("runs", "trips", "--limit", "0").code == 2


def test_a_failed_run_is_told_in_full_in_a_pipe(
    make_view: Callable[..., FeatureView], rows: Database, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    materialize(make_view(), offline, online)
    with pytest.raises(ChecksFailedError) as failed:
        materialize(make_view(checks=[checks.rows(at_least=1000)]), offline, online, full=True)
    assert " ".join(str(failed.value).split()) in run("runs", "view").out
    listed = run("generations", "view")
    assert "refused" in listed.out
    assert "rows" in listed.out


def test_a_build_whose_run_is_gone_is_told_from_one_that_goes_on(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, client: redis.Redis
) -> None:
    generation = materialize(trips, offline, online, full=True, publish=False).generation
    listed = json.loads(client.hget(keyspace.generations_key(trips), generation))
    client.hset(keyspace.generations_key(trips), generation, json.dumps({**listed, "state": "building"}))
    told = "its run is gone; the next full run replaces it"
    assert told in run("generations", "trips").out
    client.set(keyspace.lease_key(trips), listed["run_id"], ex=30)
    assert told not in run("generations", "trips").out
    client.delete(keyspace.lease_key(trips))
    materialize(trips, offline, online, full=True)
    assert online.generations(trips).get(generation) is None
    assert told not in run("generations", "trips").out


def test_generations_are_listed_and_the_hold_is_told(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    first = materialize(trips, offline, online).generation
    second = materialize(trips, offline, online, full=True).generation
    online.rollback([trips])
    outcome = run("generations", "trips")
    assert outcome.code == 0
    assert outcome.out.index(second) < outcome.out.index(first), "the newest first"
    assert "End that: online-features release shop:trips" in outcome.out
    told = run("generations", "trips", "--json").json
    assert told["published"] == first
    assert told["held_since"]
    assert {each["id"]: each["state"] for each in told["generations"]}[second] == "rolled back"


def test_statistics(trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run) -> None:
    materialize(trips, offline, online)
    outcome = run("stats", "trips")
    assert "shop:trips: 20 rows" in outcome.out
    assert "0.0%" in outcome.out
    told = run("stats", "trips", "--json").json
    assert told["rows"] == 20
    assert told["features"]["score"]["maximum"] == 5.0
    assert sum(told["features"]["score"]["histogram"]["counts"]) == 20
    other = run("stats", "trips", "--generation", "00000000")
    assert other.code == 2
    assert "nothing was measured of generation 00000000 -> only full runs measure" in other.err
