"""Runs, pushes and switches beside a verification are not taken for skew."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest
from online_features import FeatureView, GenerationError, OfflineStore, OnlineStore, SwitchedError, materialize, verify
from online_features.online.read.stored_rows import StoredRowReader
from online_features.verification import _comparison as comparison
from online_features.verification.report import SKEW, VerificationReport

from tests.conftest import at
from tests.support.moments import just_before
from tests.support.online import key_of
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]

VERIFICATIONS = 10  # of each kind


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "LOOK_AGAIN_SECONDS", 0.0)


@pytest.fixture
def rows(database: Database) -> Database:
    database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz DEFAULT clock_timestamp(), x int)")
    database("INSERT INTO rows SELECT 'e' || i, %s, now(), i FROM generate_series(1, 300) AS i", at(0))
    return database


@pytest.fixture
def view(rows: Database, make_view: MakeView) -> FeatureView:
    return make_view(source={"created_timestamp_column": "created"})


def skew(report: VerificationReport) -> dict[str, Any]:
    """Return the counts of what is wrong that are not zero."""
    return {kind.value: getattr(report, kind) for kind in SKEW if getattr(report, kind)}


@contextmanager
def meanwhile(*acts: Callable[[int], object]) -> Iterator[None]:
    """Do each of these again and again in a thread of its own."""
    ended = threading.Event()

    def repeat(act: Callable[[int], object]) -> None:
        for number in itertools.takewhile(lambda _: not ended.is_set(), itertools.count()):
            act(number)

    with ThreadPoolExecutor() as threads:
        repeated = [threads.submit(repeat, act) for act in acts]
        try:
            yield
        finally:
            ended.set()
    for each in repeated:
        each.result()


@pytest.mark.layouts("msgpack", "hash", "feast")
def test_increments_and_pushes_raise_no_false_alarm(
    rows: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    def insert(number: int) -> None:
        rows(
            "INSERT INTO rows (id, ts, x) SELECT 'e' || i, clock_timestamp(), %s FROM generate_series(1, 30) AS i",
            number,
        )
        rows("INSERT INTO rows (id, ts, x) VALUES (%s, %s, 1)", f"n{number}", at(0))

    def increment(_: int) -> None:
        materialize(view, offline, online)

    def push(number: int) -> None:
        now = datetime.now(UTC)
        online.push(
            view, [{"id": f"p{number}", "ts": now, "x": 1}, {"id": f"e{100 + number % 100}", "ts": now, "x": 2}]
        )
        online.push(view, [{"id": f"b{number}", "ts": now, "x": 1}], offline=offline)

    def erase(number: int) -> None:
        online.delete(view, [{"id": f"e{200 + number % 100}"}])

    materialize(view, offline, online)
    online.push(view, [{"id": "first", "ts": at(0), "x": 1}])
    with meanwhile(insert, increment, push, erase):
        found = [
            skew(verify(view, offline, online, sample=sample)) for _ in range(VERIFICATIONS) for sample in (None, 200)
        ]
    assert found == [{}] * 2 * VERIFICATIONS


def test_a_transaction_that_was_in_flight_is_not_taken_for_skew(
    rows: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    materialize(view, offline, online)
    with closing(psycopg2.connect(rows.uri)) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO rows VALUES ('open', %s, now(), 1)", [at(0)])
        materialize(view, offline, online)
        connection.commit()
    for sample in (None, 1000):
        report = verify(view, offline, online, sample=sample)
        assert (skew(report), report.skipped) == ({}, 1)
    materialize(view, offline, online)
    assert verify(view, offline, online).equal == 301


def test_what_looks_wrong_is_looked_at_again(
    rows: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize(view, offline, online)
    client, keys = online._client, [key_of(online, view, id=name) for name in ("e1", "e2", "e3")]
    stored = [client.dump(key) for key in keys]
    client.delete(*keys)
    rows("INSERT INTO rows VALUES ('late', %s, '2026-01-01Z', 1)", at(0))

    def mend() -> None:
        for key, row in zip(keys[:2], stored, strict=False):
            client.restore(key, 0, row)
        rows("DELETE FROM rows WHERE id = 'late'")

    just_before(monkeypatch, comparison.Comparison, "look_again", mend)
    report = verify(view, offline, online, sample=None)
    assert skew(report) == {"missing": 1}
    assert [example.entity for example in report.examples["missing"]] == [{"id": "e3"}]


def test_more_than_can_be_looked_at_again_is_judged_at_once(
    rows: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize(view, offline, online)
    rows("UPDATE rows SET x = x + 1")
    monkeypatch.setattr(comparison, "DOUBTFUL_ENTITIES", 100)
    report = verify(view, offline, online, sample=None, repair=True)
    assert skew(report) == {"different": 300}
    assert report.repaired == 300
    assert len(report.examples["different"]) == 10
    assert skew(verify(view, offline, online, sample=None)) == {}


def test_a_verification_begins_again_when_the_view_is_switched(
    rows: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = materialize(view, offline, online)
    rows("UPDATE rows SET x = x + 1")
    just_before(monkeypatch, comparison.Comparison, "look_again", lambda: materialize(view, offline, online, full=True))
    report = verify(view, offline, online, sample=None)
    assert skew(report) == {}
    assert report.generation == online.generations(view).published != before.generation


def test_a_view_that_is_switched_all_the_time_is_given_up(
    rows: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize(view, offline, online)
    monkeypatch.setattr(StoredRowReader, "published", lambda _: "another")
    with pytest.raises(SwitchedError, match="3 times"):
        verify(view, offline, online)


def test_what_cannot_be_compared_is_refused(
    rows: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, make_view: MakeView
) -> None:
    with pytest.raises(GenerationError, match="no watermark.*-> materialize it"):
        verify(view, offline, online)
    materialize(view, offline, online)
    with pytest.raises(GenerationError, match="differs from its rows online in timestamps"):
        verify(make_view(features=["x"]), offline, online)
    with pytest.raises(GenerationError, match="in layout"):
        verify(make_view(source={"created_timestamp_column": "created"}, layout="json"), offline, online)
