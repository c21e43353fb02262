"""Rows that are created first: what ends online, and every count, is what the script alone would leave."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.common import retry_budget
from online_features.common.backoff import Backoff
from online_features.common.retry_budget import RetryBudget
from online_features.counters import RowCounts
from online_features.embedded import HOST
from online_features.layouts.keyspace import FIRST_GENERATION, entity_prefix
from online_features.layouts.layout_registry import layout_of
from online_features.online.redis import _call_pipeline, deployment_of, row_calls
from online_features.online.redis.replication import Replication
from online_features.online.write import _row_writer
from online_features.online.write._row_writer import PROBED_ROWS, RowWriter, row_counts
from online_features.schema import Column, Encoding, RowSchema
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from tests.conftest import at
from tests.support.servers.databases import Database
from tests.support.servers.proxy import Fault, proxied

pytestmark = [pytest.mark.oldest, pytest.mark.servers]

MakeView = Callable[..., FeatureView]

TTL = timedelta(hours=1)
INSTANTS = pa.timestamp("us", "UTC")
FEATURE = Column("x", "integer", Encoding.INTEGER)
SCHEMA = RowSchema(
    keys=(Column("id", "text", Encoding.TEXT),),
    event_timestamp=Column("ts", "timestamp with time zone", Encoding.INSTANT),
    created_timestamp=Column("created", "timestamp with time zone", Encoding.INSTANT),
    deleted=Column("gone", "boolean", Encoding.BOOLEAN),
    features=(FEATURE,),
)
TYPES = [pa.string(), INSTANTS, INSTANTS, pa.bool_(), pa.int32()]

# Of the event timestamp at which a row has just expired, expires within a minute, or lives on.
AGES = (TTL + timedelta(minutes=1), TTL - timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=1))

Row = tuple[str, datetime, datetime | None, bool, int]


@pytest.fixture
def layout() -> str:
    return "json"


@pytest.fixture
def view(make_view: MakeView) -> FeatureView:
    return make_view(features=["x"])


def batch_of(rows: list[Row]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    names = [column.name for column in SCHEMA.columns]
    return pa.record_batch([pa.array(c, kind) for c, kind in zip(columns, TYPES, strict=True)], names=names)


class Writer:
    """Writes rows of a view on a client's server."""

    def __init__(self, client: redis.Redis, view: FeatureView, *, retry_for: float = 0) -> None:
        self._deployment = deployment_of(client)
        self._writer = RowWriter(self._deployment, layout_of(view, FIRST_GENERATION), SCHEMA)
        self._retry_for = timedelta(seconds=retry_for)

    def __call__(self, *batches: list[Row], by_script: bool = False) -> list[RowCounts]:
        with self._deployment.session(RetryBudget(self._retry_for), Replication(what="rows")) as session:
            if by_script:
                calls = [self._writer.calls(batch_of(batch)) for batch in batches]
                sent = zip(batches, calls, strict=True)
                return [row_counts(len(batch), session.send(of_batch)) for batch, of_batch in sent]
            return [self._writer.write(session, self._writer.encode(batch_of(batch))) for batch in batches]


def online_of(client: redis.Redis, view: FeatureView) -> dict[str, tuple[Any, int]]:
    """Return value and expiry of what is at each key of a view."""
    prefix = entity_prefix(view, FIRST_GENERATION)
    keys = sorted(client.scan_iter(f"{prefix}*", count=1000))
    ends = client.register_script("return redis.call('PTTL', KEYS[1]) > 0 and redis.call('PTTL', KEYS[1]) or -1")
    return {key.removeprefix(prefix): (client.get(key), round(int(ends(keys=[key])), -4)) for key in keys}


def row(name: str, hour: int = 1, x: int = 0, *, created: int | None = None, gone: bool = False) -> Row:
    return (name, at(hour), None if created is None else at(created), gone, x)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_created_first_ends_as_by_the_script_alone(
    client: redis.Redis, make_view: MakeView, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(_row_writer, "PROBED_ROWS", chance.choice([1, 2, 100]))
    now = datetime.now(UTC)
    by_script, created = (make_view(name=name, ttl=TTL) for name in ("script", "created"))

    def some() -> list[Row]:
        return [
            (
                chance.choice("abcdefgh"),
                now - chance.choice(AGES),
                chance.choice([None, now, now - TTL]),
                chance.random() < 0.2,
                chance.randrange(100),
            )
            for _ in range(chance.randrange(1, 12))
        ]

    batches = [some() for _ in range(4)]
    expected = Writer(client, by_script)(*batches, by_script=True)
    found = Writer(client, created)(*batches)
    assert online_of(client, created) == online_of(client, by_script)
    for batch, ours, theirs in zip(batches, found, expected, strict=True):
        assert ours.rows_read == len(batch) == sum(outcomes(ours).values())
        if len({name for name, *_ in batch}) == len(batch):
            assert ours == theirs


def outcomes(counts: RowCounts) -> Counter[str]:
    names = ("written", "stale", "expired", "deleted")
    return +Counter({name: getattr(counts, f"rows_{name}") for name in names})


@pytest.mark.parametrize("held, outcome, x", [
    (row("a", 3, 1), "stale", 1),
    (row("a", 2, 1), "written", 2),
    (row("a", 2, 1, created=1), "stale", 1),
    (row("a", 1, 1), "written", 2),
    (row("a", 3, gone=True), "stale", None),
    (row("a", 1, gone=True), "written", 2),
])  # fmt: skip
def test_what_is_there_already_is_left_to_the_script(
    client: redis.Redis, view: FeatureView, held: Row, outcome: str, x: int | None
) -> None:
    write = Writer(client, view)
    write([held])
    (counts,) = write([row("a", 2, 2), row("b", 2, 2)])
    assert outcomes(counts) == Counter([outcome, "written"])
    found = online_of(client, view)
    assert (f'"x":{x}' in found["a}"][0], '"x":2' in found["b}"][0]) == (x is not None, True)


@pytest.mark.parametrize("rows", [
    [row("a", 1, 1), row("a", 2, 2)],
    [row("a", 2, 2), row("a", 1, 1)],
    [row("a", 2, 1), row("a", 2, 2)],
    [row("a", 2, gone=True), row("a", 2, 2)],
])  # fmt: skip
def test_the_newest_of_several_rows_of_an_entity_stays(client: redis.Redis, view: FeatureView, rows: list[Row]) -> None:
    (counts,) = Writer(client, view)(rows)
    assert sum(outcomes(counts).values()) == 2
    assert '"x":2' in online_of(client, view)["a}"][0]


@pytest.fixture
def calls(client: redis.Redis) -> Callable[[], Counter[str]]:
    """Return how often commands were carried out since the fixture was made."""
    client.config_resetstat()

    def count() -> Counter[str]:
        stats = client.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()})

    return count


def test_rows_are_tried_as_long_as_most_are_new(
    client: redis.Redis, view: FeatureView, calls: Callable[[], Counter[str]]
) -> None:
    def tries_and_writes() -> tuple[int, int, int]:
        """Return how many rows were tried, written by the script, and looked at by it."""
        made = calls()
        return made["setnx"], made["set"], made["get"]

    write = Writer(client, view)
    count = 4 * PROBED_ROWS
    first, second = ([row(f"{part}{i}", 1, i) for i in range(count)] for part in ("first", "second"))
    write(first)
    assert tries_and_writes() == (count, 0, 0)
    client.config_resetstat()
    write(first)  # all of them are tried once more
    assert tries_and_writes() == (count, count, count)
    client.config_resetstat()
    write(first)
    assert tries_and_writes() == (PROBED_ROWS, count, count)
    client.config_resetstat()
    Writer(client, view)(first)
    assert tries_and_writes() == (PROBED_ROWS, count, count)
    client.config_resetstat()
    write(second, second[:10])
    assert tries_and_writes() == (count + 10, 10, 10)


def test_a_row_that_ends_within_a_minute_is_left_to_the_script(
    client: redis.Redis, make_view: MakeView, calls: Callable[[], Counter[str]]
) -> None:
    now = datetime.now(UTC)
    write = Writer(client, make_view(ttl=TTL, features=["x"]))
    rows = [(name, now - TTL + timedelta(seconds=left), None, False, 1) for name, left in (("a", 50), ("b", 70))]
    (counts,) = write(rows)
    assert outcomes(counts) == Counter(written=2)
    assert (calls()["set"], calls()["get"]) == (2, 1)


def test_a_row_that_is_sent_again_counts_once(
    redis_url: str, client: redis.Redis, view: FeatureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    def push_newer(_: float) -> None:
        Writer(client, view)([row("r3", 2, 99)], by_script=True)

    monkeypatch.setattr(retry_budget.time, "sleep", push_newer)
    rows = [row(f"r{i}", 1, i) for i in range(PROBED_ROWS)]
    with proxied(HOST, parse_url(redis_url)["port"]) as proxy:
        proxy.arm(Fault(since=b"NX", after_server=len(b":1\r\n") * 10, swallows=True))
        with redis.Redis(host=HOST, port=proxy.port, socket_timeout=5) as through:
            (counts,) = Writer(through, view, retry_for=30)(rows)
        assert len(proxy.connections) == 2
    assert outcomes(counts) == Counter(written=len(rows) - 1, stale=1)
    found = online_of(client, view)
    assert len(found) == len(rows)
    assert '"x":99' in found["r3}"][0]


@pytest.mark.parametrize("seed", range(12))
def test_a_connection_that_breaks_changes_neither_rows_nor_counts(
    redis_url: str, client: redis.Redis, make_view: MakeView, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(retry_budget, "BACKOFF", Backoff(base=0.01, longest=0.1, jitter=1.0))
    monkeypatch.setattr(row_calls, "ROWS_PER_CALL", 8)
    monkeypatch.setattr(_call_pipeline, "CALLS_PER_PACKET", 3)  # two packets in flight, and many after them
    monkeypatch.setattr(_row_writer, "PROBED_ROWS", 50)
    calm, troubled = (make_view(name=name) for name in ("calm", "troubled"))
    held = [row(f"r{i}", chance.choice([1, 2, 3])) for i in range(0, 600, 5)]
    batches = [[row(f"r{i}", 2, i, gone=i % 50 == 0) for i in range(some, some + 300)] for some in (0, 300)]
    for view in (calm, troubled):
        Writer(client, view)(held, by_script=True)
    expected = Writer(client, calm)(*batches)
    ends = chance.choice(("close", "reset", "stall"))
    fault = chance.choice([
        Fault(after_client=chance.randrange(500, 40_000), ends=ends),
        Fault(since=b"NX", after_server=chance.randrange(2_000), ends=ends, swallows=chance.random() < 0.5),
    ])  # fmt: skip
    with proxied(HOST, parse_url(redis_url)["port"]) as proxy:
        proxy.arm(fault)
        with redis.Redis(host=HOST, port=proxy.port, socket_timeout=0.3, retry=Retry(NoBackoff(), 0)) as through:
            assert Writer(through, troubled, retry_for=30)(*batches) == expected
        assert proxy.connections[0].has_struck
    assert online_of(client, troubled) == online_of(client, calm)


def test_a_run_creates_what_is_not_online(
    database: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView,
    calls: Callable[[], Counter[str]],
) -> None:  # fmt: skip
    database("CREATE TABLE rows AS SELECT i::text AS id, now() AS ts, i AS x FROM generate_series(1, 1000) i")
    assert materialize(view, offline, online).rows_written == 1000
    assert calls()["evalsha"] == 0
    assert materialize(view, offline, online, full=True, in_place=True).rows_written == 1000
    assert calls()["get"] >= 1000
    assert online.push(replace(view, name="pushed"), [{"id": "a", "ts": at(1), "x": 1}]).rows_written == 1


def test_errors_of_the_server_are_raised(redis_url: str, client: redis.Redis, view: FeatureView) -> None:
    user = f"writer_of_{view.project}"
    client.acl_setuser(user, enabled=True, passwords=["+word"], keys=["*"], commands=["+@all", "-set", "-setnx"])
    try:
        settings = {**parse_url(redis_url), "username": user, "password": "word"}
        with redis.Redis(**settings) as refused, pytest.raises(redis.ResponseError, match="no permissions|can't run"):
            Writer(refused, view)([row("a")])
    finally:
        client.acl_deluser(user)
