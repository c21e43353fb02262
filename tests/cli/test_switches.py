"""What changes what readers see: publish, rollback, release, drop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from online_features import ChecksFailedError, FeatureView, OfflineStore, OnlineStore, checks, materialize
from online_features.cli import confirmation

from tests.cli.conftest import Run
from tests.support.servers.databases import Database


@pytest.fixture
def two(trips: FeatureView, offline: OfflineStore, online: OnlineStore) -> tuple[str, str]:
    """The generations that are published, and ready to be."""
    first = materialize(trips, offline, online).generation
    second = materialize(trips, offline, online, full=True, publish=False).generation
    return first, second


@pytest.mark.parametrize("command", ["publish", "rollback", "release", "drop"])
def test_nothing_changes_where_nobody_can_be_asked(
    command: str, trips: FeatureView, two: tuple[str, str], online: OnlineStore, run: Run
) -> None:
    if command != "publish":
        online.publish([trips])
    before = online.generations(trips)
    outcome = run(command, "trips")
    assert outcome.code == 2
    assert outcome.out == ""
    assert "nothing is changed: there is no terminal to ask at -> give --yes" in outcome.err
    after = online.generations(trips)
    assert (after.generations, after.pointer, after.hold) == (before.generations, before.pointer, before.hold)


def test_publish_and_rollback_and_release(
    trips: FeatureView, two: tuple[str, str], offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    first, second = two
    published = run("publish", "trips", "--yes")
    assert published.code == 0
    assert f"shop:trips: generation {first} → {second} (ready, 20 rows)" in published.err
    assert published.out == f"shop:trips: readers see generation {second} (before: {first})\n"
    assert "readers see generation" in run("publish", "trips", "--yes").err

    back = run("rollback", "trips", "--yes", "--json")
    assert back.json == {"switched": [{"view": "shop:trips", "from": second, "to": first}]}
    assert "The views will be held" in back.err
    assert online.generations(trips).hold
    (left,) = [each for each in online.generations(trips).generations if each.id == second]
    assert left.origin
    assert left.origin["command"] == "online-features rollback"
    assert left.origin["user"]

    assert run("release", "trips", "--yes").out == "Released: shop:trips\n"
    assert not online.generations(trips).hold
    assert "no view was held" in run("release", "trips", "--yes").out
    again = run("rollback", "trips", "--yes")
    assert again.code == 2
    assert f"nothing was published before generation {first}" in again.err


def test_a_named_generation_is_published(
    trips: FeatureView, two: tuple[str, str], offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    materialize(trips, offline, online, full=True)
    assert run("publish", "trips", "--generation", f"trips={two[0]}", "--yes").code == 2, "its watermark is older"
    unknown = run("publish", "trips", "--generation", "trips=00000000", "--yes")
    assert "'00000000' is not among its generations" in unknown.err
    assert "write VIEW=ID, with one of shop:trips" in run("publish", "trips", "--generation", "other=1", "--yes").err


def test_a_refused_build_is_published_when_asked_for(
    make_view: Callable[..., FeatureView], rows: Database, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    """Also the first one of a view, before which nothing of it was published."""
    with pytest.raises(ChecksFailedError):
        materialize(make_view(checks=[checks.rows(at_least=1000)], layout="msgpack"), offline, online, full=True)
    refused = run("publish", "view", "--yes")
    assert refused.code == 2
    assert "accept this by --ignore-checks" in refused.err
    assert run("publish", "view", "--ignore-checks", "--yes").code == 0
    assert run("get", "view", "id=1", "--json").json["status"] == "present"


def test_views_of_two_projects_cannot_switch_together(
    trips: FeatureView, two: tuple[str, str], make_view: Callable[..., FeatureView], offline: OfflineStore,
    online: OnlineStore, run: Run,
) -> None:  # fmt: skip
    materialize(make_view(name="other", project="lab"), offline, online)
    outcome = run("publish", "trips", "other", "--yes")
    assert outcome.code == 2
    assert "cannot switch in one step" in outcome.err


def test_several_views_switch_together(
    trips: FeatureView, two: tuple[str, str], make_view: Callable[..., FeatureView], offline: OfflineStore,
    online: OnlineStore, run: Run,
) -> None:  # fmt: skip
    other = make_view(name="other", project="shop")
    materialize(other, offline, online)
    build = materialize(other, offline, online, full=True, publish=False).generation
    switched = run("publish", "trips", "shop:other", "--yes", "--json").json["switched"]
    assert [each["view"] for each in switched] == ["shop:trips", "shop:other"]
    assert online.generations(other).published == build


def test_drop_removes_a_view(trips: FeatureView, two: tuple[str, str], online: OnlineStore, run: Run) -> None:
    dropped = run("drop", "trips", "--yes")
    assert dropped.code == 0
    assert "which cannot be undone" in dropped.err
    assert "40 rows and tombstones removed" in dropped.out
    gone = run("drop", "trips", "--yes")
    assert gone.code == 2
    assert "no feature view" in gone.err or "unknown" in gone.err


def test_a_person_who_says_no_changes_nothing(
    trips: FeatureView, two: tuple[str, str], online: OnlineStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmation, "_can_ask", lambda: True)
    declined = run("publish", "trips", stdin="n\n")
    assert declined.code == 1
    assert online.generations(trips).published == two[0]
    assert run("publish", "trips", stdin="y\n").code == 0
    assert online.generations(trips).published == two[1]
