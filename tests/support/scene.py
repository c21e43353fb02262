"""A source whose rows have every outcome, and checks of the result of a run, whatever faults the run had."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from online_features import FeatureView, OnlineStore, PostgresSource
from online_features.common import retry_budget
from online_features.common.backoff import Backoff
from online_features.counters import RowCounts
from online_features.online.redis import _call_pipeline as call_pipeline
from online_features.online.redis import row_calls

from tests.support.model import OUTCOMES, Model, Row
from tests.support.online import names_buried, rows_online
from tests.support.processes import until
from tests.support.servers.databases import Database, new_database

ENTITIES = 300
TTL = timedelta(hours=5, minutes=30)  # half an hour from every event timestamp, so that nothing expires during a test

# With these, a batch of a hundred rows takes several packets: two in flight, and more after them.
ROWS_PER_CALL = 8
CALLS_PER_PACKET = 3
BACKOFF = Backoff(base=0.02, longest=10.0, jitter=1.0)  # short, because many runs are interrupted

OUR_SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name LIKE 'online_features%'"
)


@dataclass
class Scene:
    """Rows in Postgres, and rows to push before the run: newer ones, and of entities that the source lacks.

    :ivar now: the instant that all timestamps are relative to.
    """

    database: Database
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self.database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz, gone bool, x int, y text)")
        self.source = [row for i in range(ENTITIES) for row in self._rows_of(i)]
        marks = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(self.source))
        self.database(f"INSERT INTO rows VALUES {marks}", *(value for row in self.source for value in astuple(row)))
        self.pushed = [row for i in range(ENTITIES) if i % 10 == 9 for row in self._pushed_of(i)]

    def _rows_of(self, i: int) -> list[Row]:
        ts = self.now - timedelta(hours=6 if i % 10 == 8 else i % 5)
        newest = Row(f"e{i:04}", ts, ts, i % 10 == 7, i, f"é {i}" if i % 3 else None)
        older = Row(newest.id, ts - timedelta(hours=1), ts, False, -1, "older")
        return [newest, older, *([Row(None, ts, ts, False, 0, "")] if i % 50 == 0 else [])]

    def _pushed_of(self, i: int) -> list[Row]:
        newer = Row(f"e{i:04}", self.now, self.now, False, -2, "newer")
        unknown = Row(f"f{i:04}", self.now - timedelta(hours=2), self.now, False, -3, "not in the source")
        return [newer, unknown]

    def view(self, project: str, layout: str) -> FeatureView:
        """Return a view of the rows; each project has its own rows online."""
        source = PostgresSource(
            table="rows", timestamp_field="ts", created_timestamp_column="created", deleted_field="gone"
        )
        return FeatureView(
            name="view", project=project, entities=["id"], features=["x", "y"], source=source, ttl=TTL, layout=layout
        )

    def model(self, view: FeatureView) -> Model:
        """Return a model with nothing online."""
        return Model(now=self.now, is_feasts=view.layout == "feast", ttl=TTL, source=self.source)

    def pushed_model(self, view: FeatureView) -> Model:
        """Return a model with the rows to push online."""
        model = self.model(view)
        model.push(self.pushed)
        return model

    def push(self, online: OnlineStore, view: FeatureView, **options: Any) -> Any:
        """Push the rows to push."""
        return online.push(view, mappings(self.pushed), **options)


@pytest.fixture(scope="module", name="scene")
def scene_of_rows(postgres_uri: str) -> Iterator[Scene]:
    with new_database(postgres_uri) as database:
        yield Scene(database)


@pytest.fixture(autouse=True)
def small_packets_and_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_calls, "ROWS_PER_CALL", ROWS_PER_CALL)
    monkeypatch.setattr(call_pipeline, "CALLS_PER_PACKET", CALLS_PER_PACKET)
    monkeypatch.setattr(retry_budget, "BACKOFF", BACKOFF)


@pytest.fixture(autouse=True)
def no_thread_and_no_session_is_left(scene: Scene) -> Iterator[None]:
    """Check that a test leaves no thread and no session in Postgres."""
    threads = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= threads
    until(lambda: scene.database(OUR_SESSIONS) == [(0,)])


def mappings(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the rows as a producer pushes them."""
    return [asdict(row) for row in rows]


def check_counts(result: RowCounts, expected: Counter[str]) -> None:
    """Check that the counts are those of the model, and that they add up."""
    found = {name: getattr(result, f"rows_{name}") for name in OUTCOMES}
    assert {name: count for name, count in found.items() if count} == dict(expected)
    assert result.rows_read == sum(found.values())


def check_online(online: OnlineStore, view: FeatureView, model: Model) -> None:
    """Check that rows and tombstones are those of the model."""
    live = {name: held.hash for name, held in model.online.items() if held.fields is not None}
    assert rows_online(online, view, ("x", "y")) == live
    assert names_buried(online, view) == {name for name, held in model.online.items() if held.fields is None}
