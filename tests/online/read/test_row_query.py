"""Conversations of readers while views are switched: each read sees one instant of the pointer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from online_features import FeatureView, OnlineStore, PostgresSource
from online_features.errors import InvalidRowsError, StaleFeaturesError
from online_features.layouts.keyspace import FIRST_GENERATION, entity_key, generation_key, published_key
from online_features.online.generations._stored_schema import schema_fields
from online_features.online.read import _row_query, _view_cache
from online_features.online.read._row_query import LONGEST_ROUND_TRIP, RowQuery, read_views
from online_features.online.read._view_cache import ViewCache
from online_features.online.read.freshness import FreshnessBounds
from online_features.online.read.online_rows import OnlineRows
from online_features.resp.commands import Command
from online_features.schema import RowSchema
from online_features.types.registry import typed_column

OLD, NEW = "0000000a", "0000000b"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = PostgresSource(table="rows", timestamp_field="ts")
TRIPS, WEATHER, OTHER_PROJECT = (
    FeatureView(name=name, project=project, entities=["id"], source=SOURCE, layout="hash")
    for name, project in (("trips", "p"), ("weather", "p"), ("trips", "q"))
)
SCHEMA = RowSchema(
    keys=(typed_column("id", "text"),),
    event_timestamp=typed_column("ts", "timestamp with time zone"),
    created_timestamp=None,
    deleted=None,
    features=(typed_column("x", "text"),),
)

Before = Mapping[int, Callable[[], None]]


class Online:
    """What Redis holds: two generations of each view, whose rows hold the generation as feature ``x``."""

    def __init__(self, *views: FeatureView) -> None:
        self.hashes: dict[Any, dict[str, str]] = {}
        self.asked: list[Any] = []
        for view in views:
            for generation in (OLD, NEW):
                self.hashes[generation_key(view, generation)] = {"layout": "hash", **schema_fields(SCHEMA)}
                row = {"_ts": "2026-01-01T00:00:00.000000Z", "x": generation}
                self.hashes[entity_key(view, generation, ["a"])] = row
        self.publish(OLD, 1, *views)

    def publish(self, generation: str, switch: int, *views: FeatureView) -> None:
        for view in views:
            self.hashes.setdefault(published_key(view.project), {})[view.name] = f"{generation} {switch}"

    def read(
        self, views: Sequence[FeatureView], cache: ViewCache, *, before: Before | None = None,
        bounds: FreshnessBounds = FreshnessBounds(), **at: str,
    ) -> tuple[list[OnlineRows], int]:  # fmt: skip
        """Return the rows of the views, and how many round trips it took.

        :param before: what happens before a round trip, by its number.
        :param at: name of a view to the generation to read.
        """
        queries = [RowQuery(view, [{"id": "a"}], None, bounds, NOW, at.get(view.name)) for view in views]
        conversation = read_views(queries, cache)
        commands = next(conversation)
        for trip in count(1):
            (before or {}).get(trip, lambda: None)()
            try:
                commands = conversation.send([self._reply(*command) for command in commands])
            except StopIteration as end:
                return end.value, trip
        raise AssertionError

    def _reply(self, *command: Any) -> Any:
        form, key = command
        self.asked.append(key)
        stored = self.hashes.get(key, {})
        return [stored[field].encode() if field in stored else None for field in form.words]


def seen(found: Sequence[OnlineRows]) -> set[str]:
    """Return the generations of rows, which hold what they should."""
    for rows in found:
        assert [row.values for row in rows] == [{"x": rows.generation}]
    return {rows.generation for rows in found}


@pytest.mark.parametrize("switched", [[TRIPS], [WEATHER], [TRIPS, WEATHER]])
@pytest.mark.parametrize("trip", range(1, 6))
@pytest.mark.parametrize("is_known", [False, True])
def test_a_switch_of_several_views_is_seen_of_all_or_of_none(
    trip: int, switched: Sequence[FeatureView], *, is_known: bool
) -> None:
    views, cache = [TRIPS, WEATHER], ViewCache()
    online = Online(*views)
    if is_known:
        assert seen(online.read(views, cache)[0]) == {OLD}
    found, trips = online.read(views, cache, before={trip: lambda: online.publish(NEW, 2, *switched)})
    expected = [NEW if view in switched and trip <= trips else OLD for view in views]
    assert [rows.generation for rows in found] == expected
    assert seen(found) == {*expected}


def test_views_that_are_switched_again_and_again_are_read_when_they_rest() -> None:
    views, cache = [TRIPS, WEATHER], ViewCache()
    online = Online(*views)

    def switch(trip: int) -> Callable[[], None]:
        return lambda: online.publish(NEW if trip % 2 else OLD, trip + 1, *views)

    found, _ = online.read(views, cache, before={trip: switch(trip) for trip in range(1, 8)})
    assert len(seen(found)) == 1


def test_one_command_reads_the_pointer_of_all_views_of_a_project() -> None:
    queries = [RowQuery(view, [{"id": "a"}], None, FreshnessBounds(), NOW) for view in (TRIPS, OTHER_PROJECT, WEATHER)]
    commands: Sequence[Command] = next(read_views(queries, ViewCache()))
    assert [(form.words, key) for form, key in commands] == [
        (("trips", "weather"), published_key("p")),
        (("trips",), published_key("q")),
    ]


def test_a_known_view_that_is_not_switched_takes_one_round_trip_and_a_switch_three() -> None:
    cache, online = ViewCache(), Online(TRIPS)
    assert online.read([TRIPS], cache)[1] == 3
    assert online.read([TRIPS], cache)[1] == 1
    online.publish(NEW, 2, TRIPS)
    found, trips = online.read([TRIPS], cache)
    assert (seen(found), trips) == ({NEW}, 3)


def test_a_named_generation_is_read_whatever_is_published() -> None:
    views, cache = [TRIPS, WEATHER], ViewCache()
    online = Online(*views)
    for _ in range(2):
        found, trips = online.read(views, cache, trips=NEW)
        assert [rows.generation for rows in found] == [NEW, OLD]
        assert seen(found) == {NEW, OLD}
    assert trips == 1
    online.publish(NEW, 2, *views)
    assert seen(online.read(views, cache, trips=OLD)[0]) == {OLD, NEW}
    assert seen(online.read(views, cache)[0]) == {NEW}


def test_a_named_generation_that_is_gone_is_refused() -> None:
    cache, online = ViewCache(), Online(TRIPS)
    online.read([TRIPS], cache, trips=NEW)
    del online.hashes[generation_key(TRIPS, NEW)]
    for each in (cache, ViewCache()):
        with pytest.raises(
            InvalidRowsError, match=f"'trips': at_generation='{NEW}' does not exist; online.generations"
        ):
            online.read([TRIPS], each, trips=NEW)


def test_generations_are_refused_of_views_that_are_not_read_or_have_none(online: OnlineStore) -> None:
    with pytest.raises(InvalidRowsError, match="at_generation= names feature view 'weather', which is not among"):
        online.get_feature_vectors([TRIPS], [], at_generation={"weather": OLD})
    feast = FeatureView(name="f", project="p", entities=["id"], source=SOURCE, layout="feast")
    with pytest.raises(InvalidRowsError, match="'f': layout 'feast' has no generations"):
        online.get_online_features(feast, [], at_generation="0")
    wrong: Any = {"trips": 0}
    for generation in (wrong, {"trips": ""}):
        with pytest.raises(InvalidRowsError, match="at_generation= must be the id of a generation"):
            online.get_feature_vectors([TRIPS], [], at_generation=generation)


@pytest.mark.parametrize("seconds, trips", [(-1, 1), (+1, 3)])
def test_a_round_trip_in_which_rows_may_have_been_removed_is_read_again(
    monkeypatch: pytest.MonkeyPatch, seconds: int, trips: int
) -> None:
    cache, online, now = ViewCache(), Online(TRIPS), [0.0]
    monkeypatch.setattr(_row_query, "time", SimpleNamespace(monotonic=lambda: now[0]))
    online.read([TRIPS], cache)

    def slow() -> None:
        now[0] += LONGEST_ROUND_TRIP.total_seconds() + seconds

    assert online.read([TRIPS], cache, before={1: slow})[1] == trips
    assert online.read([TRIPS], cache)[1] == 1


class Remembered:
    """A reader that may remember the pointer for a minute, two views that it knows, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (_row_query, _view_cache):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.cache, self.online = ViewCache(timedelta(minutes=1)), Online(TRIPS, WEATHER)
        self.read()

    def read(self, *views: FeatureView, **options: Any) -> tuple[set[str], set[Any]]:
        """Return the generations that are seen, and what was read besides rows."""
        self.online.asked.clear()
        found, _ = self.online.read(views or (TRIPS, WEATHER), self.cache, **options)
        return seen(found), {key for key in self.online.asked if "{a}" not in key}


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> Remembered:
    return Remembered(monkeypatch)


def test_a_remembered_pointer_is_not_read_until_it_is_too_old(remembered: Remembered) -> None:
    remembered.online.publish(NEW, 2, TRIPS, WEATHER)
    remembered.now += 59
    assert remembered.read() == ({OLD}, set())
    remembered.now += 1
    found, asked = remembered.read()
    assert found == {NEW}
    assert published_key("p") in asked
    assert remembered.read() == ({NEW}, set())


def test_views_that_were_not_read_together_are_not_remembered_together(remembered: Remembered) -> None:
    remembered.read(TRIPS)
    remembered.online.publish(NEW, 2, TRIPS, WEATHER)
    remembered.read(WEATHER)
    assert remembered.read(TRIPS) == ({OLD}, set())
    assert remembered.read()[0] == {NEW}


def test_a_remembered_watermark_that_does_not_suffice_is_read_again(remembered: Remembered) -> None:
    key = generation_key(TRIPS, OLD)
    remembered.online.hashes[key]["watermark"] = "2026-01-01T00:00:00.000000Z"
    bounds = FreshnessBounds(min_watermark=NOW)
    assert key in remembered.read(TRIPS, bounds=bounds)[1]
    assert remembered.read(TRIPS, bounds=bounds)[1] == set()
    with pytest.raises(StaleFeaturesError):
        remembered.read(TRIPS, bounds=FreshnessBounds(min_watermark=NOW + timedelta(seconds=1)))


def test_a_feature_that_is_not_remembered_is_looked_for(remembered: Remembered) -> None:
    query = RowQuery(TRIPS, [{"id": "a"}], ["y"], FreshnessBounds(), NOW)
    remembered.read(TRIPS)
    conversation = read_views([query], remembered.cache)
    assert [key for _, key in next(conversation)] == [published_key("p")]


def test_rows_that_came_too_slowly_are_read_again(remembered: Remembered) -> None:
    def slow() -> None:
        remembered.now += LONGEST_ROUND_TRIP.total_seconds() + 1

    remembered.online.publish(NEW, 2, TRIPS, WEATHER)
    assert remembered.read(before={1: slow})[0] == {NEW}


def test_rows_that_may_change_their_types_in_place_are_not_remembered(remembered: Remembered) -> None:
    first = generation_key(TRIPS, FIRST_GENERATION)
    remembered.online.hashes[first] = {"layout": "hash", **schema_fields(SCHEMA)}
    remembered.online.hashes[entity_key(TRIPS, FIRST_GENERATION, ["a"])] = {
        "_ts": "2026-01-01T00:00:00.000000Z", "x": FIRST_GENERATION
    }  # fmt: skip
    del remembered.online.hashes[published_key("p")][TRIPS.name]
    remembered.now += 60
    for _ in range(2):
        found, asked = remembered.read(TRIPS)
        assert found == {FIRST_GENERATION}
        assert first in asked
