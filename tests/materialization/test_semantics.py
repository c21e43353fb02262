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
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize
from online_features.counters import RowCounts
from online_features.feature_view import LAYOUTS

from tests.conftest import Database
from tests.support.model import Model, Row
from tests.support.online import names_buried, rows_online

EXAMPLES = 12
STEPS = 30

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
        self.model.source = [row for row in self.model.source if row.id != name]
        self.model.unread = [row for row in self.model.unread if row.id != name]

    @rule(rows=st.lists(st.tuples(ids, hours, created, st.booleans(), values), min_size=1, max_size=4))
    def push(self, rows: list[Any]) -> None:
        pushed = [self.row(*row) for row in rows]
        columns = ("id", "ts", "created", "gone", *self.model.features)
        result = self.online.push(self.view, [{name: getattr(row, name) for name in columns} for row in pushed])
        self.check_counts(result, self.model.push(pushed))

    @rule(names=st.lists(entities, min_size=1, max_size=2, unique=True))
    def delete(self, names: list[str]) -> None:
        erased = self.online.delete(self.view, [{"id": name} for name in names])
        self.model.now = datetime.now(UTC)
        assert erased == self.model.delete(names)
        self.model.now += timedelta(microseconds=1)  # rows from now on are newer than the tombstones

    @rule()
    def run_incrementally(self) -> None:
        self.check_run(materialize(self.view, self.offline, self.online), "incremental")

    @rule(start=hours, length=st.integers(1, 30))
    def run_a_window(self, start: int, length: int) -> None:
        begin = self.model.now - timedelta(hours=start)
        end = begin + timedelta(hours=length)
        result = materialize(self.view, self.offline, self.online, start=begin, end=end)
        self.check_run(result, "window", lambda row: begin <= row.ts < end)

    @rule(prune=st.booleans())
    def run_in_full(self, prune: bool) -> None:
        result = materialize(self.view, self.offline, self.online, full=True, prune=prune)
        self.check_run(result, "full")
        assert result.entities_pruned == (self.model.prune() if prune else 0)

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
        self.client.close()
        self.online._client.close()

    @rule()
    def restart(self) -> None:
        self.offline = OfflineStore(self.database.uri)
        self.online._client.close()
        self.online = OnlineStore.from_url(self.redis_url)

    def check_run(self, result: Any, kind: str, *is_inside: Any) -> None:
        self.check_counts(result, self.model.run(kind, *is_inside))
        assert result.watermark is None or result.watermark <= datetime.now(UTC)
        fresh = self.online.freshness(self.view)
        assert fresh.watermark == result.watermark

    def check_counts(self, result: RowCounts, expected: Counter[str]) -> None:
        found = {
            name: getattr(result, f"rows_{name}") for name in ("written", "stale", "expired", "deleted", "rejected")
        }
        note(f"{expected} {found}")
        assert {name: count for name, count in found.items() if count} == dict(expected)
        assert result.rows_read == sum(found.values())

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        expected = self.model.online
        live = {name: held.hash for name, held in expected.items() if held.fields is not None}
        assert rows_online(self.online, self.view, ("x", "y")) == live
        buried = {name for name, held in expected.items() if held.fields is None}
        assert names_buried(self.online, self.view) == buried


@pytest.mark.parametrize("layout", LAYOUTS)
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
