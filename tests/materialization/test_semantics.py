"""Random interleavings of everything that can happen to a feature view, against the model."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize
from online_features.counters import RowCounts
from online_features.errors import GenerationError, OptionError

from tests.support.model import Model, RefusedError, Row
from tests.support.online import generation_online
from tests.support.servers.databases import Database

EXAMPLES = 8
STEPS = 30
MODELLED = ("publish", "prune", "allow_empty", "in_place")  # options of a run that the model knows

hours = st.integers(-3, 60)  # before now; below 0: from the future
ids = st.sampled_from(["a", "b:c", "{d}%", None])
entities = st.sampled_from(["a", "b:c", "{d}%"])
# A quarter of an hour off every event timestamp, so that nothing expires while a test runs.
ttls = st.sampled_from([None, timedelta(hours=5, minutes=30), timedelta(hours=50, minutes=30)])
created = st.sampled_from(["now", "now", "now", "long ago", "older", None])
values = st.tuples(st.none() | st.integers(0, 3), st.none() | st.sampled_from(["", "é:\r\n"]))


class FeatureViewMachine(RuleBasedStateMachine):
    """The real stores and the model, side by side; subclassed with servers to run on."""

    database: Database
    redis_url: str
    layout: str

    def __init__(self) -> None:
        super().__init__()
        self.project = f"machine-{uuid.uuid4().hex[:8]}"
        self.client = redis.Redis.from_url(self.redis_url)
        self.model = Model(now=datetime.now(UTC), is_feasts=self.layout == "feast")
        self.online = OnlineStore.from_url(self.redis_url)
        self.reader = OnlineStore.from_url(self.redis_url)  # which remembers what it has read, whatever happens
        self.restart()

    @initialize()
    def make_table(self) -> None:
        self.database("DROP TABLE IF EXISTS rows")
        self.database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz, gone bool, x int, y text)")

    @property
    def view(self) -> FeatureView:
        source = PostgresSource(
            table="rows", timestamp_field="ts", created_timestamp_column="created", deleted_field="gone"
        )
        return FeatureView(
            name="view", project=self.project, entities=["id"], features=self.model.features, source=source,
            ttl=self.model.ttl, layout=self.layout,
        )  # fmt: skip

    def row(self, name: str | None, hours_ago: int, created: str | None, gone: bool, values: Any) -> Row:
        stamps = {
            "now": datetime.now(UTC),
            "long ago": datetime(2001, 1, 1, tzinfo=UTC),
            "older": datetime(2000, 1, 1, tzinfo=UTC),
            None: None,
        }
        # What does not say when it was created is found up to an hour before the cursor, which is a bit before now.
        ts = self.model.now - timedelta(hours=hours_ago, minutes=15 if hours_ago > 0 else 0)
        return Row(name, ts, stamps[created], gone, *values)

    @rule(name=ids, hours_ago=hours, created=created, gone=st.sampled_from([False, False, False, True]), values=values)
    def insert(self, name: str | None, hours_ago: int, created: str | None, gone: bool, values: Any) -> None:
        row = self.row(name, hours_ago, created, gone, values)
        # Stamped by the source's clock, as a column's default would.
        stamp = "clock_timestamp()" if created == "now" else "%s"
        parameters = [row.id, row.ts, row.created, row.gone, row.x, row.y]
        if created == "now":
            del parameters[2]
        ((written,),) = self.database(
            f"INSERT INTO rows VALUES (%s, %s, {stamp}, %s, %s, %s) RETURNING created", *parameters
        )
        is_found_by_event_timestamp = created is None and hours_ago <= 0
        self.model.insert(replace(row, created=written), is_stamped_now=created == "now" or is_found_by_event_timestamp)

    @rule(name=entities)
    def remove_from_source(self, name: str) -> None:
        self.database("DELETE FROM rows WHERE id = %s", name)
        self.model.remove(name)

    @rule(rows=st.lists(st.tuples(ids, hours, created, st.booleans(), values), min_size=1, max_size=4))
    def push(self, rows: list[Any]) -> None:
        pushed = [self.row(*row) for row in rows]
        columns = ("id", "ts", "created", "gone", *self.model.features)
        result = self.online.push(self.view, [{name: getattr(row, name) for name in columns} for row in pushed])
        expected, names = self.model.push(pushed), [row.id for row in pushed if row.id is not None]
        if len(set(names)) == len(names):
            self.check_counts(result, expected)
        else:  # if generations have changed, a batch is written again, and the older rows of an entity are stale
            assert result.rows_read == expected.total()

    @rule(names=st.lists(entities, min_size=1, max_size=2, unique=True))
    def delete(self, names: list[str]) -> None:
        erased = self.online.delete(self.view, [{"id": name} for name in names])
        self.model.now = datetime.now(UTC)
        assert erased == self.model.delete(names)
        self.model.now += timedelta(microseconds=1)  # rows from now on are newer than the tombstones

    @rule(names=st.lists(entities, min_size=1, max_size=2, unique=True))
    def unerase(self, names: list[str]) -> None:
        assert self.online.unerase(self.view, [{"id": name} for name in names]) == self.model.unerase(names)

    @rule()
    def run_incrementally(self) -> None:
        self.run("incremental")

    @rule(start=hours, length=st.integers(1, 30))
    def run_a_window(self, start: int, length: int) -> None:
        begin = self.model.now - timedelta(hours=start)
        end = begin + timedelta(hours=length)
        self.run("window", lambda row: begin <= row.ts < end, start=begin, end=end)

    @rule(prune=st.booleans(), allow_empty=st.booleans())
    def run_in_full(self, prune: bool, allow_empty: bool) -> None:
        dispensable = self.model.dispensable() if prune else set()
        result = self.run("full", full=True, prune=prune, allow_empty=allow_empty)
        if result is not None and self.layout == "feast":
            assert result.entities_pruned == (self.model.prune() if prune else 0)
        elif result is not None:
            built = self.model.published if result.is_published else self.model.generations[-1]
            assert result.entities_pruned == len(dispensable.difference(built.online))

    @precondition(lambda self: self.layout != "feast")
    @rule(prune=st.booleans())
    def build(self, prune: bool) -> None:
        self.run("full", full=True, prune=prune, publish=False, allow_empty=True)

    @precondition(lambda self: self.layout != "feast")
    @rule(prune=st.booleans())
    def run_in_full_in_place(self, prune: bool) -> None:
        result = self.run("full", full=True, prune=prune, in_place=True)
        if result is not None and not result.skipped:
            assert result.entities_pruned == (self.model.prune() if prune else 0)

    @precondition(lambda self: self.layout != "feast")
    @rule(pick=st.none() | st.none() | st.integers(0, 5))
    def publish(self, pick: int | None) -> None:
        """Publish the newest build, or name a generation."""
        others = self.model.generations[1:]
        target = others[pick % len(others)] if pick is not None and others else None
        named = {"generations": {"view": target.id}} if target else {}
        self.switch(lambda: self.model.publish(target), lambda: self.online.publish([self.view], **named))

    @precondition(lambda self: self.layout != "feast")
    @rule()
    def rollback(self) -> None:
        self.switch(self.model.rollback, lambda: self.online.rollback([self.view]))

    @precondition(lambda self: self.model.is_held)
    @rule()
    def release(self) -> None:
        self.model.release()
        self.online.release([self.view])

    @rule(ttl=ttls)
    def change_ttl(self, ttl: timedelta | None) -> None:
        self.model.ttl = ttl

    @rule(features=st.sampled_from([("x",), ("y",), ("x", "y")]))
    def change_features(self, features: tuple[str, ...]) -> None:
        self.model.features = features

    @rule()
    def flush(self) -> None:
        for key in self.client.scan_iter(f"*{self.project}*", count=10_000):
            self.client.delete(key)
        self.model.flush()

    def teardown(self) -> None:
        self.flush()
        # Hypothesis keeps machines in cycles, of which the collector may come upon a socket before its owner.
        for client in (self.client, self.online._client, self.reader._client):
            client.close()

    @rule()
    def restart(self) -> None:
        self.offline = OfflineStore(self.database.uri)
        self.online._client.close()
        self.online = OnlineStore.from_url(self.redis_url)

    def run(self, kind: str, is_inside: Any = lambda _: True, **options: Any) -> Any:
        """Run in both worlds, and return the result; ``None`` if both have refused."""
        of_build = {name: options[name] for name in MODELLED if name in options}
        try:
            expected = self.model.run(kind, is_inside, **of_build)
        except RefusedError:
            with pytest.raises((GenerationError, OptionError)):
                materialize(self.view, self.offline, self.online, **options)
            return None
        result = materialize(self.view, self.offline, self.online, **options)
        assert bool(result.skipped) == (expected is None)
        if expected is None:
            return result
        self.check_counts(result, expected)
        assert result.watermark is None or result.watermark <= datetime.now(UTC)
        written = self.model.published if result.is_published else self.model.generations[-1]
        assert result.is_published == (written.state == "published")
        assert written.id in ("0", result.generation)  # "0" stands for one that is new, too
        written.id, written.watermark = result.generation, result.watermark
        assert not result.is_published or self.online.freshness(self.view).watermark == result.watermark
        return result

    def switch(self, expected: Any, act: Any) -> None:
        try:
            target = expected()
        except RefusedError:
            with pytest.raises(GenerationError):
                act()
        else:
            assert act() == {"view": target.id}

    def check_counts(self, result: RowCounts, expected: Counter[str]) -> None:
        found = {
            name: getattr(result, f"rows_{name}") for name in ("written", "stale", "expired", "deleted", "rejected")
        }
        note(f"{expected} {found}")
        assert {name: count for name, count in found.items() if count} == dict(expected)
        assert result.rows_read == sum(found.values())

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        for generation in self.model.generations:
            if generation.number == 0 and generation is not self.model.published:
                continue  # nobody can read or publish it any more
            expected, found = generation.online, generation_online(self.online, self.view, ("x", "y"), generation.id)
            assert found.rows == {name: held.hash for name, held in expected.items() if held.fields is not None}
            buried = {name for name, held in expected.items() if held.fields is None}
            assert found.buried == buried
            pushed = {name for name, held in expected.items() if held.is_pushed}
            assert self.layout == "feast" or found.pushed == pushed

    @invariant()
    def a_reader_sees_what_the_model_has_published(self) -> None:
        published = self.model.published
        if published.defined is None:
            return
        _, features = published.defined
        names = ["a", "b:c", "{d}%"]
        rows = self.reader.get_online_features(self.view, [{"id": name} for name in names], features)
        assert rows.generation == published.id
        for name, row in zip(names, rows, strict=True):
            held = published.online.get(name)
            is_there = held is not None and held.fields is not None
            is_past = is_there and self.model.ttl is not None and held.stamp[0] + self.model.ttl <= self.model.now
            assert row.status == ("expired" if is_past else "present" if is_there else "not_found")
            if row.status == "present":
                found = {feature: str(value) for feature, value in row.values.items() if value is not None}
                assert found == {feature: text for feature, text in held.fields.items() if feature in features}


@pytest.mark.layouts
def test_random_interleavings_end_as_the_model_says(database: Database, redis_url: str, layout: str) -> None:
    servers = {"database": database, "redis_url": redis_url, "layout": layout}
    machine = type("Machine", (FeatureViewMachine,), servers)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=[Phase.reuse, Phase.generate],  # shrinking on real servers would take minutes
        ),
    )
