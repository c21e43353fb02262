"""What happens beside a build: nothing that was written, pushed, deleted or erased is lost by it or by a switch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from online_features import (
    FeatureView,
    InvalidRowsError,
    OnlineStore,
    PublishError,
    RollbackError,
    materialize,
)
from online_features.layouts import keyspace
from online_features.online.write import _carried_pushes, online_run
from online_features.online.write.generation_writer import GenerationWriter
from online_features.online.write.online_run import OnlineRun
from online_features.resp.replies import text

from tests.support.generations import make_older
from tests.support.moments import just_before
from tests.support.online import key_of
from tests.support.reading import RETRIES, Trips, reading_store
from tests.support.servers.databases import Database
from tests.support.stores import COLUMNS, Stores, at

pytestmark = pytest.mark.layouts("msgpack", "hash", "json")


@pytest.fixture
def view(database: Database, make_view: Callable[..., FeatureView], layout: str) -> FeatureView:
    database(f"CREATE TABLE rows ({COLUMNS})")
    return make_view(
        features=["x"], layout=layout, source={"created_timestamp_column": "created", "deleted_field": "gone"}
    )


@pytest.fixture
def stores(database: Database, online: OnlineStore, view: FeatureView) -> Stores:
    return Stores(database, online, view)


def test_a_deletion_that_was_pushed_outlives_a_build(stores: Stores) -> None:
    stores.insert("a", 0, 1)
    stores.insert("b", 0, 1)
    stores.run()
    stores.push("a", 5, None, gone=True)
    stores.push("b", 5, None, gone=True)
    assert stores.x("a", "b") == [None, None]
    stores.insert("b", 9, 2)
    stores.run(full=True)
    assert stores.x("a", "b") == [None, 2]
    stores.run(full=True)  # once more from a generation to which it was carried over
    assert stores.x("a", "b") == [None, 2]
    stores.push("a", 4, 3)
    assert stores.x("a") == [None]
    stores.run(full=True, prune=True)  # what was pushed long ago is in the source by now, or is not to be
    assert stores.x("a") == [1]


def test_a_correction_in_the_source_replaces_what_was_pushed_with_the_same_timestamps(stores: Stores) -> None:
    stores.push("a", 0, 1, created=at(0))
    stores.database("INSERT INTO rows VALUES ('a', %s, %s, false, 2)", at(0), at(0))
    stores.run(full=True)
    assert stores.x("a") == [2]
    stores.database("DELETE FROM rows")
    stores.run(full=True, allow_empty=True)  # the run's write has cleared the mark
    assert stores.x("a") == [None]


def test_a_pushed_row_that_a_run_replaces_while_it_is_carried_over_is_not_mixed_with_the_other(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.insert("a", 0, 1)
    stores.run()
    stores.push("a", 5, 2, created=at(50))
    stores.database("INSERT INTO rows VALUES ('a', %s, %s, false, 3)", at(7), at(1))
    just_before(monkeypatch, _carried_pushes, "_read", lambda: stores.run(start=at(-60), end=at(60)))
    stores.run(full=True)
    assert stores.x("a") == [3]
    stores.database("DELETE FROM rows")
    stores.run(full=True, allow_empty=True)  # nothing of it was pushed
    assert stores.x("a") == [None]


@pytest.mark.parametrize("options", [{}, {"start": at(-60), "end": at(60)}], ids=["increment", "window"])
def test_a_run_under_way_when_a_build_is_published_is_repeated(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    stores.insert("a", 0, 1)
    first = stores.run()
    built = stores.run(full=True, publish=False)
    stores.insert("b", 1, 2)
    just_before(monkeypatch, GenerationWriter, "commit", lambda: stores.online.publish([stores.view]))
    result = stores.run(**options)
    assert result.generation == built.generation != first.generation
    assert stores.x("a", "b") == [1, 2]
    assert stores.online.freshness(stores.view).watermark == result.watermark


def test_a_run_under_way_when_its_view_is_rolled_back_is_skipped(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.insert("a", 0, 1)
    stores.run(full=True)
    stores.run(full=True)
    stores.insert("b", 1, 2)
    just_before(monkeypatch, GenerationWriter, "commit", lambda: stores.online.rollback([stores.view]))
    assert stores.run().skipped
    assert stores.x("a", "b") == [1, None]


def test_a_run_that_waits_for_a_build_sees_a_rollback_meanwhile(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.insert("a", 0, 1)
    stores.run(full=True)
    stores.run(full=True)
    waiting = OnlineRun.wait_for_closing

    def wait(self: OnlineRun) -> None:
        waiting(self)
        stores.online.rollback([stores.view])

    monkeypatch.setattr(OnlineRun, "wait_for_closing", wait)
    stores.insert("b", 1, 2)
    assert stores.run().skipped
    assert stores.x("b") == [None]


def test_increments_wait_until_a_build_that_is_closing_is_published(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.insert("a", 0, 1)
    stores.run()
    seen: list[bool] = []
    original = OnlineRun.publish

    def publish(self: OnlineRun, *args: Any, **options: Any) -> Any:
        closing = stores.online._client.exists(keyspace.closing_key(stores.view)) == 1
        if not closing:
            stores.run()  # an increment, which leaves the build behind
        seen.append(closing)
        return original(self, *args, **options)

    monkeypatch.setattr(OnlineRun, "publish", publish)
    assert stores.run(full=True).is_published
    assert seen == [False, False, False, True]
    assert not stores.online._client.exists(keyspace.closing_key(stores.view))


def test_an_increment_between_the_plan_of_a_build_and_its_snapshot_does_not_keep_it_from_being_published(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.insert("a", 0, 1)
    stores.run()
    increments: list[Any] = []
    just_before(monkeypatch, online_run, "register_build", lambda: increments.append(stores.run()))
    built = stores.run(full=True)
    assert built.is_published
    assert built.watermark >= increments[0].watermark


def test_a_build_that_has_waited_for_another_one_is_published_after_it(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.insert("a", 0, 1)
    stores.run()
    others: list[Any] = []
    just_before(monkeypatch, online_run, "register_build", lambda: others.append(stores.run(full=True)))
    built = stores.run(full=True)
    assert built.is_published
    assert built.generation > others[0].generation


def test_a_window_beside_a_build_is_caught_up_with_whatever_the_clock_of_its_machine(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, make_view: Callable[..., FeatureView], layout: str
) -> None:
    stores.view = make_view(features=["x"], layout=layout)  # without a created timestamp, increments do not see b
    stores.insert("a", 60, 1)
    stores.run()

    def late() -> None:
        stores.insert("b", -600, 2)
        with monkeypatch.context() as patched:
            patched.setattr("online_features.materialization.reporting.run_record.datetime", Slow)
            stores.run(start=at(-660), end=at(0))

    just_before(monkeypatch, GenerationWriter, "commit", late)
    assert stores.run(full=True).is_published
    assert stores.x("a", "b") == [1, 2]


class Slow(datetime):
    """A clock that is five minutes slow."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) - timedelta(minutes=5)


def test_a_truncation_during_a_build_is_an_error_and_then_cured(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.insert("a", 0, 1)
    stores.run()

    def truncate() -> None:
        stores.run()
        stores.database("TRUNCATE rows")
        stores.insert("b", 1, 2)

    just_before(monkeypatch, GenerationWriter, "commit", truncate)
    # The first commit is that of the increment within truncate().
    with pytest.raises(PublishError, match="cannot catch up, because .* -> build again"):
        stores.run(full=True)
    assert stores.x("a", "b") == [1, None]
    assert stores.run(full=True).is_published
    assert stores.x("a", "b") == [None, 2]


def test_what_was_pushed_outlives_the_loss_of_the_pointer(stores: Stores, client: redis.Redis) -> None:
    stores.insert("a", 0, 1)
    stores.run()
    for _ in range(3):  # until nothing is left of what was before, to which producers would push, too
        make_older(client, stores.view, timedelta(minutes=11))
        stores.run()
    stores.push("b", 1, 2)
    client.delete(keyspace.published_key(stores.view.project))
    stores.push("c", 1, 3)
    result = stores.run()
    assert (result.is_published, stores.x("a", "b", "c")) == (True, [1, 2, 3])


def test_a_generation_whose_record_is_lost_is_not_gone_back_to(stores: Stores) -> None:
    stores.insert("a", 0, 1)
    first = stores.run()
    stores.run(full=True)
    stores.online._client.delete(keyspace.generation_key(stores.view, first.generation))
    with pytest.raises(RollbackError, match=f"has lost the schema of generation {first.generation}"):
        stores.online.rollback([stores.view])
    assert stores.x("a") == [1]


def test_an_erasure_of_a_row_from_the_future_holds_alike_in_all_generations(stores: Stores) -> None:
    stores.insert("a", 0, 1)
    stores.insert("b", 0, 1)
    stores.run()
    built = stores.run(full=True, publish=False)
    ahead = 2 * 24 * 60
    stores.database("INSERT INTO rows (id, ts, x) VALUES ('a', %s, 2)", at(ahead))
    stores.run()
    stores.online.delete(stores.view, [{"id": "a"}])
    stores.push("a", ahead - 1, 3)
    assert stores.x("a") == [None]
    assert stores.x("a", at_generation=built.generation) == [None]


def test_a_builder_that_was_too_slow_leaves_nothing_of_its_generation(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.insert("a", 0, 1)
    stores.push("b", 0, 1)
    published = stores.run().generation
    client, removed = stores.online._client, []

    def remove() -> None:
        key = max(client.scan_iter(keyspace.generation_key(stores.view, "*")))
        client.delete(key, keyspace.generations_key(stores.view))
        removed.append(key)

    just_before(monkeypatch, GenerationWriter, "commit", remove)
    with pytest.raises(Exception, match="run again"):
        stores.run(full=True)
    assert not client.exists(*removed)
    slow = text(removed[0]).rpartition(":")[2]
    assert client.pttl(keyspace.statistics_key(stores.view, slow)) > 0
    assert client.pttl(keyspace.statistics_key(stores.view, published)) == -1


def test_a_build_whose_connection_breaks_after_its_publication_is_not_begun_anew(
    stores: Stores, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.insert("a", 0, 1)
    publish, trips = OnlineRun.publish, Trips()

    def publish_and_break(self: OnlineRun, *args: Any, **options: Any) -> Any:
        publication = publish(self, *args, **options)
        trips.to_break = 1 + RETRIES
        return publication

    monkeypatch.setattr(OnlineRun, "publish", publish_and_break)
    with reading_store(redis_url, trips) as online:
        result = materialize(stores.view, stores.offline, online, full=True)
    assert trips.to_break == 0
    assert (result.rows_read, result.rows_written, result.is_published) == (1, 1, True)
    assert [run["kind"] for run in stores.online.runs(stores.view)] == ["full"]


def test_a_deletion_is_not_pushed_as_a_row_where_it_cannot_be_held(
    stores: Stores, make_view: Callable[..., FeatureView], layout: str
) -> None:
    stores.insert("a", 0, 1)
    with_deletions = stores.view
    stores.view = make_view(features=["x"], layout=layout, source={"created_timestamp_column": "created"})
    stores.run()
    stores.view = with_deletions
    with pytest.raises(InvalidRowsError, match="column 'gone' is new, and what is online cannot hold deletions yet"):
        stores.push("a", 1, None, gone=True)
    assert stores.x("a") == [1]
    stores.run()
    stores.push("a", 1, None, gone=True)
    assert stores.x("a") == [None]


def test_rows_are_pushed_with_the_ttl_of_the_view_that_is_given(stores: Stores) -> None:
    view = stores.view
    for ttl in (None, timedelta(days=9), None):
        stores.view = replace(view, ttl=ttl)
        stores.push("a", 1, 3)
        assert (stores.online._client.pttl(key_of(stores.online, view, id="a")) > 0) == (ttl is not None)
