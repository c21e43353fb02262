"""The reader's contract, in every layout, without and with asyncio."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import (
    AmbiguousNameError,
    InvalidRowsError,
    OnlineAccessError,
    OptionError,
    StaleFeaturesError,
    WindowError,
)
from online_features.layouts.keyspace import published_key

from tests.conftest import at
from tests.support.layouts import LAYOUTS_OF_TEXTS
from tests.support.online import key_of, state_key
from tests.support.processes import HEAVY, modules_after
from tests.support.reading import Trips, awaited_store, reading_store
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.oldest, pytest.mark.layouts]

MakeView = Callable[..., FeatureView]


@pytest.fixture
def trips() -> Trips:
    return Trips()


@pytest.fixture(params=[reading_store, awaited_store])
def reader(request: pytest.FixtureRequest, redis_url: str, trips: Trips) -> Iterator[Any]:
    """A process that reads; what ``online`` writes is another's."""
    with request.param(redis_url, trips) as store:
        yield store


@pytest.fixture
def view(database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore) -> FeatureView:
    database("CREATE TABLE rows (id text, ts timestamptz, x int, y text)")
    database(
        "INSERT INTO rows SELECT 'e' || i, %s, i, NULLIF('y' || i, 'y2') FROM generate_series(1, 3000) AS i", at(1)
    )
    view = make_view()
    materialize(view, offline, online)
    return view


def entities(*names: str) -> list[dict[str, str]]:
    return [{"id": name} for name in names]


def values(reader: Any, view: FeatureView, name: str = "e1", **asked: Any) -> Any:
    (row,) = reader.get_online_features(view, entities(name), **asked)
    return row.values if row.status == "present" else row.status


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_a_view_that_is_known_takes_one_round_trip(reader: Any, trips: Trips, view: FeatureView, count: int) -> None:
    asked = entities(*(f"e{i}" for i in range(1, count + 1)))
    reader.freshness(view)  # connects
    assert trips.of(lambda: reader.get_online_features(view, asked)) == 3
    assert trips.of(lambda: reader.get_online_features(view, asked)) == 1
    rows = reader.get_online_features(view, asked)
    assert [row.values["x"] for row in rows] == list(range(1, count + 1))
    assert [row.entity for row in rows] == asked


def test_an_increment_costs_no_round_trip_and_a_switch_costs_two(
    reader: Any, trips: Trips, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    values(reader, view)
    materialize(view, offline, online)
    assert trips.of(lambda: values(reader, view)) == 1
    materialize(view, offline, online, full=True)
    assert trips.of(lambda: values(reader, view)) == (1 if view.layout == "feast" else 3)


def test_a_view_that_was_only_pushed_takes_one_round_trip_until_its_types_change(
    make_view: MakeView, reader: Any, trips: Trips, online: OnlineStore
) -> None:
    view = make_view()
    assert values(reader, view) == "not_found"
    for x in (None, 2):
        online.push(view, [{"id": "e1", "ts": at(1), "x": x}])
        assert values(reader, view) == {"x": x}
        assert trips.of(lambda: values(reader, view)) == 1


def test_a_view_that_is_not_online_is_not_found_in_three_round_trips(
    make_view: MakeView, reader: Any, trips: Trips
) -> None:
    reader.freshness(make_view())
    assert trips.of(lambda: values(reader, make_view())) == 3
    (row,) = reader.get_online_features(make_view(features=["x"]), entities("e1"))
    assert (row.status, row.event_timestamp, row.values) == ("not_found", None, {"x": None})


CHANGES = {
    "another type": "ALTER TABLE rows ALTER x TYPE text USING 'is ' || x",
    "a new feature": "ALTER TABLE rows ADD z boolean DEFAULT true",
    "a feature gone": "ALTER TABLE rows DROP y",
    "another type of join key": "ALTER TABLE rows ALTER id TYPE char(10)",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_view_changed_by_another_process_is_read_as_it_is_now(
    database: Database, reader: Any, view: FeatureView, offline: OfflineStore, online: OnlineStore, change: str
) -> None:
    assert values(reader, view) == {"x": 1, "y": "y1"}
    database(CHANGES[change])
    materialize(view, offline, online)
    expected = {
        "another type": {"x": "is 1", "y": "y1"},
        "a new feature": {"x": 1, "y": "y1", "z": True},
        "a feature gone": {"x": 1},
        "another type of join key": {"x": 1, "y": "y1"},
    }
    assert values(reader, view, "e1".ljust(10) if "join key" in change else "e1") == expected[change]


def test_a_feature_that_another_process_added_can_be_asked_for_by_name(
    database: Database, reader: Any, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    with pytest.raises(InvalidRowsError, match="feature 'z' is not online; its last run wrote 'x', 'y'"):
        values(reader, view, features=["z"])
    database("ALTER TABLE rows ADD z boolean DEFAULT true")
    materialize(view, offline, online)
    assert values(reader, view, features=["z"]) == {"z": True}


def test_a_join_key_that_did_not_fit_before_fits_when_another_process_has_changed_its_type(
    database: Database, reader: Any, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    with pytest.raises(InvalidRowsError, match="column 'id': 7 is not of type text"):
        values(reader, view, 7)  # type: ignore[arg-type]
    database("ALTER TABLE rows ALTER id TYPE int USING substr(id, 2)::int")
    materialize(view, offline, online)
    assert values(reader, view, 7) == {"x": 7, "y": "y7"}  # type: ignore[arg-type]


def test_uuids_are_found_in_any_spelling_as_soon_as_the_join_key_is_of_type_uuid(
    database: Database, make_view: MakeView, reader: Any, offline: OfflineStore, online: OnlineStore
) -> None:
    which = uuid.uuid4()
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    database("INSERT INTO rows VALUES (%s, %s, 1)", str(which), at(1))
    view = make_view()
    materialize(view, offline, online)
    assert values(reader, view, str(which).upper()) == "not_found"
    database("ALTER TABLE rows ALTER id TYPE uuid USING id::uuid")
    materialize(view, offline, online)
    assert values(reader, view, str(which).upper()) == {"x": 1}


def test_a_reader_of_one_layout_reads_what_was_written_in_another(
    make_view: MakeView, reader: Any, trips: Trips, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    assert values(reader, view) == {"x": 1, "y": "y1"}
    other = make_view(layout="json" if view.layout == "hash" else "hash")
    materialize(other, offline, online)
    for asked in (view, other):
        assert values(reader, asked) == {"x": 1, "y": "y1"}
        assert trips.of(lambda asked=asked: values(reader, asked)) == 1  # type: ignore[misc]


def test_another_join_key_is_not_found_until_a_run_has_written_it(
    database: Database, make_view: MakeView, reader: Any, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    assert values(reader, view) == {"x": 1, "y": "y1"}
    by_y = make_view(entities=["y"], features=["x"])
    assert reader.get_online_features(by_y, [{"y": "y1"}])[0].status == "not_found"
    materialize(by_y, offline, online)
    assert reader.get_online_features(by_y, [{"y": "y1"}])[0].values == {"x": 1}
    assert values(reader, view, features=["x"]) == "not_found"


def test_rows_that_are_lost_are_not_found_and_their_view_is_met_anew(
    reader: Any, view: FeatureView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    assert values(reader, view) == {"x": 1, "y": "y1"}
    client.delete(*client.scan_iter(f"*{view.project}*", count=10_000))
    assert values(reader, view) == "not_found"
    assert not reader.freshness(view).is_materialized
    materialize(view, offline, online)
    assert values(reader, view) == {"x": 1, "y": "y1"}


def test_entities_asked_for_twice_come_twice_and_share_nothing(reader: Any, view: FeatureView) -> None:
    first, missing, second = reader.get_online_features(view, entities("e1", "nobody", "e1"))
    assert first == second
    assert missing.status == "not_found"
    assert first.values is not second.values


def test_no_features_and_selected_ones(reader: Any, view: FeatureView) -> None:
    assert values(reader, view, features=[]) == {}
    assert values(reader, view, features=["y"]) == {"y": "y1"}
    assert values(reader, view, "e2", features=["y", "x"]) == {"y": None, "x": 2}
    assert list(reader.get_online_features(view, [], features=["x"])) == []
    assert values(reader, view, "nobody", features=[]) == "not_found"


def test_an_erased_entity_is_not_found_whatever_is_asked_for(
    reader: Any, view: FeatureView, online: OnlineStore
) -> None:
    online.delete(view, entities("e1"))
    assert values(reader, view) == values(reader, view, features=[]) == "not_found"
    assert [row.status for row in reader.get_online_features(view, entities("e1", "e2"))] == ["not_found", "present"]


def test_rows_are_expired_by_the_clock_of_the_reader(make_view: MakeView, reader: Any, online: OnlineStore) -> None:
    soon = datetime.now(UTC) - timedelta(hours=1)
    online.push(make_view(ttl=timedelta(hours=2)), [{"id": "e1", "ts": soon, "x": 1}])
    (row,) = reader.get_online_features(make_view(ttl=timedelta(minutes=30)), entities("e1"))
    assert (row.status, row.values, row.event_timestamp) == ("expired", {"x": None}, None)


def test_rows_bring_the_freshness_of_their_view(reader: Any, view: FeatureView, online: OnlineStore) -> None:
    rows = reader.get_online_features(view, entities("e1"))
    assert rows.freshness.watermark == online.freshness(view).watermark is not None
    assert rows.freshness.max_event_timestamp == at(1)
    assert rows.freshness.materialized_at == online.freshness(view).materialized_at
    assert rows.freshness.lag < timedelta(minutes=5)


def test_features_that_are_older_than_the_reader_can_bear_are_refused_in_one_round_trip(
    reader: Any, trips: Trips, view: FeatureView, online: OnlineStore
) -> None:
    watermark = online.freshness(view).watermark
    assert watermark is not None
    assert values(reader, view, min_watermark=watermark, max_staleness=timedelta(minutes=5)) == {"x": 1, "y": "y1"}
    later = watermark + timedelta(microseconds=1)
    for asked in ({"min_watermark": later}, {"max_staleness": timedelta(0)}):
        with pytest.raises(
            StaleFeaturesError, match=r"'view' has watermark 20.*Z online, but (min|max)_\w+=.* was required"
        ) as caught:
            values(reader, view, **asked)
        assert str(caught.value).count(" -> ") == 1

    def refused() -> None:
        with pytest.raises(StaleFeaturesError):
            values(reader, view, min_watermark=later)

    assert trips.of(refused) == 1


def test_a_view_without_a_watermark_satisfies_no_bound(make_view: MakeView, reader: Any, online: OnlineStore) -> None:
    view = make_view()
    for push in (False, True):
        if push:
            online.push(view, [{"id": "e1", "ts": at(1), "x": 1}])
        with pytest.raises(StaleFeaturesError, match="'view' has no watermark online, but min_watermark=2026"):
            values(reader, view, min_watermark=at(1))
        with pytest.raises(StaleFeaturesError, match="but max_staleness=.* was required"):
            values(reader, view, max_staleness=timedelta.max)


def test_bounds_that_say_nothing_are_refused(reader: Any, view: FeatureView) -> None:
    with pytest.raises(WindowError, match=r"min_watermark=2026-01-01T00:00:00 has no time zone"):
        values(reader, view, min_watermark=datetime(2026, 1, 1))
    with pytest.raises(WindowError, match=r"max_staleness=60 must be a timedelta"):
        values(reader, view, max_staleness=60)


def test_entities_without_their_join_key_are_refused(reader: Any, view: FeatureView) -> None:
    for _ in range(2):
        with pytest.raises(InvalidRowsError, match=r"entity \{'x': 1\} lacks join key 'id'"):
            reader.get_online_features(view, [{"id": "e1"}, {"x": 1}])


def test_a_row_of_another_kind_is_named(
    reader: Any, view: FeatureView, online: OnlineStore, client: redis.Redis
) -> None:
    client.lpush("list", "x")
    client.rename("list", key_of(online, view, id="e1"))
    foreign, other = reader.get_online_features(view, [{"id": "e1"}, {"id": "e2"}])
    assert (foreign.status, foreign.values) == ("unreadable", {"x": None, "y": None})
    assert re.search(r"'view': the row of \{'id': 'e1'\} .*WRONGTYPE.* -> delete", foreign.reason)
    assert (other.status, other.values, other.reason) == ("present", {"x": 2, "y": None}, "")


def test_a_user_who_may_not_read_is_told_so(view: FeatureView, redis_url: str, client: redis.Redis) -> None:
    name = f"user{uuid.uuid4().hex[:8]}"
    pointer, state = published_key(view.project), state_key(client, view)
    try:
        for keys, refused in (([pointer, state], "the row of .*"), ([pointer], "the state"), ([state], "the pointer")):
            client.acl_setuser(name, enabled=True, nopass=True, reset_keys=True, keys=keys, commands=["+@all"])
            with pytest.raises(OnlineAccessError, match=rf"\(reading {refused}\) -> grant the Redis user the command"):
                values(OnlineStore.from_url(redis_url.replace("://", f"://{name}:any@")), view)
    finally:
        client.acl_deluser(name)


@pytest.mark.layouts(*LAYOUTS_OF_TEXTS)
def test_a_client_that_decodes_replies_reads_alike(view: FeatureView, redis_url: str, trips: Trips) -> None:
    for kind in (reading_store, awaited_store):
        with kind(f"{redis_url}?decode_responses=True", trips) as reader:  # type: ignore[operator]
            assert values(reader, view) == values(reader, view) == {"x": 1, "y": "y1"}
            assert reader.freshness(view).watermark is not None


@pytest.mark.parametrize("call", ["{store}.{read}", "asyncio.run(Async{store}.{read})"])
def test_a_process_that_has_read_has_loaded_neither_airflow_nor_arrow(
    view: FeatureView, redis_url: str, call: str
) -> None:
    read = call.format(
        store=f"OnlineStore.from_url({redis_url!r})",
        read="get_feature_vectors([view], [{'id': 'e1'}], max_staleness=timedelta(hours=1))",
    )
    statement = (
        "import asyncio; from datetime import timedelta; "
        "from online_features import AsyncOnlineStore, FeastOptions, FeatureView, OnlineStore, PostgresSource; "
        f"view = {view!r}; assert {read}[0].is_complete"
    )
    assert not modules_after(statement).intersection({"airflow", *HEAVY})


def test_threads_share_a_store_while_the_view_changes(
    make_view: MakeView, view: FeatureView, offline: OfflineStore, online: OnlineStore, redis_url: str
) -> None:
    shared = OnlineStore.from_url(redis_url)
    views = [make_view(features=features) for features in (["x"], ["x", "y"], ["y", "x"])]

    def read(worker: int) -> set[Any]:
        names = [f"e{1 + (worker * 100 + i) % 3000}" for i in range(100)]
        found = [shared.get_online_features(view, entities(name), features=["x"])[0].values["x"] for name in names]
        assert found == [int(name[1:]) for name in names]
        return set(found)

    with ThreadPoolExecutor(6) as threads:
        pending = [threads.submit(read, worker) for worker in range(30)]
        for changed in views * 2:
            materialize(changed, offline, online, full=True)
        for worker in pending:
            assert len(worker.result()) == 100


def test_a_frame_has_no_place_for_a_feature_named_like_another_column(make_view: MakeView, online: OnlineStore) -> None:
    view = make_view()
    online.push(view, [{"id": "a", "ts": at(1), "status": "paid"}])
    with pytest.raises(AmbiguousNameError, match="feature 'status' has the name of another column"):
        online.get_online_features(view, [{"id": "a"}]).to_pandas()


def test_what_is_no_list_of_entities_or_names_is_refused_in_words(view: FeatureView, online: OnlineStore) -> None:
    wrong: Any = {"id": "e1"}
    with pytest.raises(InvalidRowsError, match="entity_rows= must be a list of mappings from join key to value"):
        online.get_online_features(view, wrong)
    with pytest.raises(InvalidRowsError, match="features= must be a list of names of features, not a str"):
        online.get_online_features(view, entities("e1"), "x")
    lone: Any = view
    with pytest.raises(InvalidRowsError, match="a list of feature views"):
        online.get_feature_vectors(lone, entities("e1"))
    url: Any = "redis://localhost"
    with pytest.raises(OnlineAccessError, match="OnlineStore.from_url"):
        OnlineStore(url)


def test_a_number_of_numpys_is_a_join_key(make_view: MakeView, online: OnlineStore) -> None:
    view = make_view()
    online.push(view, [{"id": 3, "ts": at(1), "x": 1}])
    assert online.get_online_features(view, [{"id": np.int64(3)}])[0].status == "present"


@pytest.mark.parametrize("store", [reading_store, awaited_store])
def test_a_store_may_remember_what_is_published(
    store: Any, redis_url: str, trips: Trips, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    with store(redis_url, trips, pointer_max_age=timedelta(minutes=5)) as reader:
        before = reader.get_online_features(view, entities("e1"))
        materialize(view, offline, online, full=True)
        assert trips.of(lambda: values(reader, view)) == 1
        found = reader.get_online_features(view, entities("e1"))
        is_remembered = view.layout != "feast"  # its one generation may change its types in place
        assert (found.freshness.watermark == before.freshness.watermark) == is_remembered
        assert found.generation == before.generation
        now = datetime.now(UTC)
        materialize(view, offline, online)
        assert values(reader, view, min_watermark=now) == {"x": 1, "y": "y1"}
        assert reader.get_online_features(view, entities("e1")).freshness.watermark >= now
    for wrong in (timedelta(minutes=6), -timedelta(seconds=1), 60):
        with pytest.raises(OptionError, match="pointer_max_age= must be a timedelta of at most 0:05:00"):
            OnlineStore(online._client, pointer_max_age=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("store", [reading_store, awaited_store])
def test_types_that_pushes_tell_are_never_remembered(
    store: Any, redis_url: str, trips: Trips, make_view: MakeView, online: OnlineStore
) -> None:
    view = make_view()
    with store(redis_url, trips, pointer_max_age=timedelta(minutes=5)) as reader:
        for x in (None, 2):
            online.push(view, [{"id": "e1", "ts": at(1), "x": x}])
            assert values(reader, view) == {"x": x}


def test_arrays_of_numbers_come_as_numpy_arrays_on_request(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, reader: Any
) -> None:
    database("CREATE TABLE rows (id text, ts timestamptz, a real[], b bigint[], c text[], d int)")
    database(
        "INSERT INTO rows VALUES ('e1', %s, '{0.5,2}', '{}', '{a}', 3), ('e2', %s, NULL, NULL, NULL, NULL)",
        at(1),
        at(1),
    )
    view = make_view()
    materialize(view, offline, online)
    lists = {"a": [0.5, 2.0], "b": [], "c": ["a"], "d": 3}
    assert values(reader, view) == lists
    found = values(reader, view, numpy_arrays=True)
    (vector,) = reader.get_feature_vectors([view], entities("e1"), numpy_arrays=True)
    for each in (found, vector.values):
        arrays = [each[name] for name in ("a", "b")]
        assert [(array.dtype, array.flags.writeable) for array in arrays] == [(np.float32, False), (np.int64, False)]
        assert [array.tolist() for array in arrays] == [[0.5, 2.0], []]
        assert {name: each[name] for name in ("c", "d")} == {name: lists[name] for name in ("c", "d")}
    assert values(reader, view, "e2", numpy_arrays=True) == dict.fromkeys("abcd")
