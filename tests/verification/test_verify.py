"""Skew between the stores is found and told, class by class, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, OptionError, WindowError, materialize, verify
from online_features.offline import source_access
from online_features.verification import _comparison as comparison
from online_features.verification.report import VALUE_CHARACTERS, SkewClass, VerificationReport

from tests.conftest import at
from tests.support.layouts import LAYOUTS_OF_TEXTS
from tests.support.online import STRING_LAYOUTS, key_of
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]


def doubled(table: pa.Table) -> pa.Table:
    return table.append_column("twice", pc.multiply(table["x"].cast("float64"), 2))


NAMES = ["a", "b", "c", "d"]
SOURCE = {"created_timestamp_column": "created", "deleted_field": "gone"}
BOTH_WAYS = pytest.mark.parametrize("sample", [None, 100], ids=["all", "sample"])


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "LOOK_AGAIN_SECONDS", 0.0)


@pytest.fixture
def rows(database: Database) -> Database:
    database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz DEFAULT now(), gone bool, x int, y text)")
    for i, name in enumerate(NAMES):
        insert(database, name, at(i), x=i)
    return database


def insert(database: Database, name: str, ts: datetime, *, x: int | None = 0, gone: bool = False) -> None:
    database("INSERT INTO rows (id, ts, gone, x, y) VALUES (%s, %s, %s, %s, %s)", name, ts, gone, x, f"y of {name}")


def counts(report: VerificationReport) -> dict[str, int]:
    """Return the counts that are not zero."""
    found = {kind.value: getattr(report, kind) for kind in SkewClass} | {"skipped": report.skipped}
    assert report.rows_compared == sum(count or 0 for kind, count in found.items() if kind != "skipped")
    return {kind: count for kind, count in found.items() if count}


@pytest.mark.layouts
@BOTH_WAYS
def test_nothing_is_wrong_after_a_run(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView, sample: int | None
) -> None:
    view = make_view(source=SOURCE)
    materialize(view, offline, online)
    report = verify(view, offline, online, sample=sample)
    assert counts(report) == {"equal": 4}
    assert (report.features, report.examples) == ({}, {})
    assert report.generation == online.generations(view).published
    assert report.watermark == online.freshness(view).watermark


def damage(online: OnlineStore, view: FeatureView, name: str) -> None:
    key, client = key_of(online, view, id=name), online._client
    if view.layout in STRING_LAYOUTS:
        client.set(key, b"no row")
        return
    (field,) = (field for field in client.hkeys(key) if field.startswith(b"_ts"))
    client.hset(key, field, b"no timestamp")


def missing(rows: Database, online: OnlineStore, view: FeatureView) -> None:
    online._client.delete(key_of(online, view, id="a"))


def extra(rows: Database, online: OnlineStore, view: FeatureView) -> None:
    rows("DELETE FROM rows WHERE id = 'a'")


def behind(rows: Database, online: OnlineStore, view: FeatureView) -> None:
    rows("UPDATE rows SET ts = ts + interval '1 day' WHERE id = 'a'")


def ahead(rows: Database, online: OnlineStore, view: FeatureView) -> None:
    rows("UPDATE rows SET ts = ts - interval '1 day' WHERE id = 'a'")


def different(rows: Database, online: OnlineStore, view: FeatureView) -> None:
    rows("UPDATE rows SET x = x + 7 WHERE id = 'a'")


def unreadable(rows: Database, online: OnlineStore, view: FeatureView) -> None:
    damage(online, view, "a")


FAULTS = (missing, extra, behind, ahead, different, unreadable)
EACH_FAULT = pytest.mark.parametrize("plant", FAULTS, ids=[plant.__name__ for plant in FAULTS])


@pytest.mark.layouts
@EACH_FAULT
def test_each_class_is_told(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView, plant: Any
) -> None:
    view = make_view(source=SOURCE)
    materialize(view, offline, online)
    plant(rows, online, view)
    for sample in (None, 100):
        report = verify(view, offline, online, sample=sample)
        assert counts(report) == {"equal": 3, plant.__name__: 1}
        (example,) = report.examples[plant.__name__]
        assert example.entity == {"id": "a"}
        assert (example.offline is None) == (plant is extra)
        assert (example.online is None) == (plant in (missing, unreadable))
        assert bool(example.reason) == (plant is unreadable)
    if plant is different:
        assert {name: asdict(skew) for name, skew in report.features.items()} == {
            "x": {"mismatches": 1, "share": 0.25, "largest_distance": 7.0}
        }
        assert (example.offline, example.online) == (
            {"ts": "2026-01-01T00:00:00.000000Z", "x": 7, "y": "y of a"},
            {"ts": "2026-01-01T00:00:00.000000Z", "x": 0, "y": "y of a"},
        )  # fmt: skip


@pytest.mark.layouts
@EACH_FAULT
@BOTH_WAYS
def test_repair_mends_what_is_wrong(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView, plant: Any, sample: int | None
) -> None:
    view = make_view(source=SOURCE)
    materialize(view, offline, online)
    plant(rows, online, view)
    report = verify(view, offline, online, sample=sample, repair=True)
    assert counts(report) == {"equal": 3, plant.__name__: 1}
    is_written = plant not in (extra, ahead)
    assert (report.repaired, report.removed) == (int(is_written), int(plant is extra))
    left = {"ahead": 1} if plant is ahead else {} if plant is extra else {"equal": 1}
    assert counts(verify(view, offline, online, sample=sample)) == {"equal": 3 + left.pop("equal", 0), **left}
    run, *_ = online.runs(view)
    assert (run["kind"], run["outcome"], run["generation"]) == ("repair", "success", report.generation)
    assert (run["rows_written"], run["entities_pruned"]) == (report.repaired, report.removed)
    assert online.freshness(view).watermark == report.watermark


@pytest.mark.layouts
@BOTH_WAYS
def test_rows_that_changed_after_the_watermark_are_left_out(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView, sample: int | None
) -> None:
    view = make_view(source=SOURCE)
    materialize(view, offline, online)
    insert(rows, "new", at(1))
    insert(rows, "a", at(9), x=5)
    rows("INSERT INTO rows VALUES ('b', %s, now() + interval '1 second', false, 6, '')", at(1))
    insert(rows, "c", datetime.now(UTC), gone=True)
    rows("INSERT INTO rows VALUES ('undated', %s, NULL, false, 6, '')", datetime.now(UTC))
    assert counts(verify(view, offline, online, sample=sample)) == {"equal": 1, "skipped": 5}
    materialize(view, offline, online)
    assert counts(verify(view, offline, online, sample=sample)) == {"equal": 6}


@pytest.mark.layouts("msgpack", "hash", "json")
@BOTH_WAYS
def test_what_was_pushed_is_ahead_and_stays(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView, sample: int | None
) -> None:
    view = make_view(source=SOURCE)
    materialize(view, offline, online)
    pushed = {"gone": False, "x": 1, "y": "pushed"}
    online.push(view, [
        {"id": "stranger", "ts": at(0), **pushed}, {"id": "a", "ts": at(20), **pushed},
        {"id": "b", "ts": at(20), **pushed, "gone": True}, {"id": "gone", "ts": at(20), **pushed, "gone": True},
    ])  # fmt: skip
    for repair in (True, False):
        report = verify(view, offline, online, sample=sample, repair=repair)
        assert counts(report) == {"equal": 2, "ahead": 3}
        assert (report.repaired, report.removed) == (0, 0)
    materialize(view, offline, online, full=True)
    assert counts(verify(view, offline, online, sample=sample)) == {"equal": 2, "ahead": 3}


@pytest.mark.layouts("msgpack", "hash", "json")
def test_a_correction_that_was_pushed_is_ahead(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    view = make_view(features=["x"])
    materialize(view, offline, online)
    online.push(view, [{"id": "a", "ts": at(0), "x": 99}, {"id": "b", "ts": at(1), "x": 1}])
    assert counts(verify(view, offline, online, sample=None)) == {"equal": 3, "ahead": 1}


def test_feast_takes_strangers_for_pushed_once_the_view_was_pushed_to(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    view = make_view(layout="feast")
    materialize(view, offline, online)
    rows("DELETE FROM rows WHERE id = 'b'")
    assert counts(verify(view, offline, online, sample=None)) == {"equal": 3, "extra": 1}
    row = {"created": at(0), "gone": False, "x": 1, "y": ""}
    online.push(view, [{"id": "stranger", "ts": at(0), **row}])
    report = verify(view, offline, online, sample=None, repair=True)
    assert counts(report) == {"equal": 3, "ahead": 2}
    assert report.removed == 0


@pytest.mark.layouts
@BOTH_WAYS
def test_entities_that_are_gone_are_rightly_absent(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView, sample: int | None
) -> None:
    insert(rows, "a", at(9), gone=True)
    insert(rows, "never", at(1), gone=True)
    view = make_view(source=SOURCE)
    materialize(view, offline, online)
    online.delete(view, [{"id": "b"}, {"id": "unknown"}])
    report = verify(view, offline, online, sample=sample, repair=True)
    assert counts(report) == {"equal": 5}
    assert report.repaired == 0


@pytest.mark.layouts
def test_a_row_that_the_source_has_deleted_is_buried(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    view = make_view(source=SOURCE)
    materialize(view, offline, online)
    rows("UPDATE rows SET gone = true WHERE id = 'a'")
    rows("UPDATE rows SET gone = true, ts = ts + interval '1 minute' WHERE id = 'b'")
    report = verify(view, offline, online, sample=None, repair=True)
    assert counts(report) == {"equal": 2, "different": 1, "behind": 1}
    assert report.repaired == 2
    assert [row.status for row in online.get_online_features(view, [{"id": "a"}, {"id": "b"}])] == ["not_found"] * 2
    rows("UPDATE rows SET gone = false, ts = ts + interval '1 hour' WHERE id = 'a'")
    assert counts(verify(view, offline, online, sample=None)) == {"equal": 3, "missing": 1}


@pytest.mark.layouts
@BOTH_WAYS
def test_rows_past_their_ttl_are_rightly_absent(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView, sample: int | None
) -> None:
    insert(rows, "a", datetime.now(UTC) - timedelta(hours=1), x=3)
    rows("UPDATE rows SET created = now() - interval '1 hour'")
    view = make_view(source=SOURCE, ttl=timedelta(hours=2))
    materialize(view, offline, online)
    assert counts(verify(view, offline, online, sample=sample)) == {"equal": 4}


@pytest.mark.layouts
def test_an_empty_table(database: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView) -> None:
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    view = make_view()
    materialize(view, offline, online)
    for sample in (None, 1):
        assert counts(verify(view, offline, online, sample=sample)) == {}


@pytest.mark.layouts
def test_composite_hostile_keys(
    database: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    names = ["", " ", "a:b", "a%3Ab", "{x}", "*", "?[^a]", "é\U0001f600", "\r\n", "'; --", "\\", "$1", "a" * 3000]
    view = make_view(entities=["n", "key_0"])
    kind, step = ("bigint", 2) if view.layout == "feast" else ("numeric", 0.5)
    database(f"CREATE TABLE rows (key_0 text, n {kind}, ts timestamptz, x int)")
    for i, name in enumerate(names):
        database("INSERT INTO rows VALUES (%s, %s, %s, %s)", name, i * step, at(i), i)
        database("INSERT INTO rows VALUES (%s, %s, %s, %s)", name, -i - 1, at(i), i)
    materialize(view, offline, online)
    database("UPDATE rows SET x = x + 1 WHERE n < 0")
    database("DELETE FROM rows WHERE key_0 = 'a:b'")
    for sample in (None, 1000):
        report = verify(view, offline, online, sample=sample)
        assert counts(report) == {"equal": 12, "different": 12, "extra": 2}
    verify(view, offline, online, repair=True)
    assert counts(verify(view, offline, online)) == {"equal": 24}


def test_strangers_with_keys_of_other_types(
    database: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    database("CREATE TABLE rows AS SELECT 1 AS id, '2026-01-01Z'::timestamptz AS ts, 1 AS x")
    view = make_view()
    materialize(view, offline, online)
    key = key_of(online, view, id=1)
    client, odd = online._client, [key.replace("{1}", other) for other in ("{one}", "{1:2}", "{01}", "{\udcff}")]
    for other in odd[:3]:
        client.copy(key, other)
    client.copy(key, odd[3].encode("utf-8", "surrogateescape"))
    client.set(key.replace("{1}", "{7}"), "a string")
    for sample in (None, 100):
        report = verify(view, offline, online, sample=sample)
        assert counts(report) == {"equal": 1, "extra": 3, "unreadable": 1}
    verify(view, offline, online, repair=True)
    assert counts(verify(view, offline, online)) == {"equal": 1, "unreadable": 1}


@pytest.mark.layouts
def test_values_that_are_equal_in_an_odd_way(
    database: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    database(
        "CREATE TABLE rows (id int, ts timestamptz, r real, d double precision, n numeric, t text, b bool, a float8[])"
    )
    odd = ("NaN", "Infinity", "-Infinity", "-0", "0.1", "1e-30", "16777217", None)
    for i, number in enumerate(odd):
        database(
            "INSERT INTO rows VALUES (%s, %s, %s, %s, NULL, NULL, NULL, %s::float8[])",
            i,
            at(i),
            number,
            number,
            [number],
        )
    view = make_view(features=["r", "d", "n", "t", "b"] if make_view().layout == "feast" else None)
    materialize(view, offline, online)
    assert counts(verify(view, offline, online, sample=None)) == {"equal": len(odd)}
    database("UPDATE rows SET r = 0, d = 0 WHERE id = 2")
    database("UPDATE rows SET n = 1, t = '', b = false WHERE id = 0")
    report = verify(view, offline, online, sample=None)
    assert counts(report) == {"equal": 6, "different": 2}
    found = {name: (skew.mismatches, skew.largest_distance) for name, skew in report.features.items()}
    assert found == dict.fromkeys(("r", "d", "n", "t", "b"), (1, None))
    report.to_dict()


def test_a_view_is_compared_after_its_transform(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    view = make_view(features=["twice"], transform=doubled)
    materialize(view, offline, online)
    assert counts(verify(view, offline, online)) == {"equal": 4}
    rows("UPDATE rows SET x = 5 WHERE id = 'b'")
    report = verify(view, offline, online)
    assert counts(report) == {"equal": 3, "different": 1}
    assert report.features["twice"].largest_distance == 8.0


def test_values_changed_in_redis_are_told(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    view = make_view(source=SOURCE)
    materialize(view, offline, online)
    client = online._client
    client.hset(key_of(online, view, id="a"), "x", "1000")
    client.hset(key_of(online, view, id="b"), "x", "01")  # the same number
    client.hset(key_of(online, view, id="c"), "x", "two")
    client.hdel(key_of(online, view, id="d"), "y")
    report = verify(view, offline, online, sample=None, repair=True)
    assert counts(report) == {"equal": 1, "different": 2, "unreadable": 1}
    assert {name: skew.largest_distance for name, skew in report.features.items()} == {"x": 1000.0, "y": None}
    assert "feature 'x' holds b'two'" in report.examples["unreadable"][0].reason
    assert counts(verify(view, offline, online, sample=None)) == {"equal": 4}


def test_long_values_are_shortened_in_examples(
    rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    view = make_view(source=SOURCE)
    materialize(view, offline, online)
    rows("UPDATE rows SET y = repeat('long ', 1000) WHERE id = 'a'")
    (example,) = verify(view, offline, online).examples["different"]
    assert example.offline is not None
    assert len(example.offline["y"]) <= VALUE_CHARACTERS + 1


def test_a_client_that_decodes_is_as_good(
    rows: Database, offline: OfflineStore, client: redis.Redis, make_view: MakeView
) -> None:
    for layout in LAYOUTS_OF_TEXTS:
        view, online = make_view(name=layout, source=SOURCE, layout=layout), OnlineStore(client)
        materialize(view, offline, online)
        for sample in (None, 100):
            assert counts(verify(view, offline, online, sample=sample)) == {"equal": 4}


@pytest.mark.parametrize("options, message", [
    ({"sample": 0}, "sample= must be a number of entities, at least 1, or None for all rows, not 0"),
    ({"repair": "yes"}, "repair= must be True or False"),
    ({"lookback": 5}, "lookback= must be a timedelta"),
    ({"lookback": timedelta(-1)}, "must not be negative"),
])  # fmt: skip
def test_options_out_of_range_are_refused(
    offline: OfflineStore, online: OnlineStore, make_view: MakeView, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((OptionError, WindowError), match=message):
        verify(make_view(), offline, online, **options)


def test_times_in_keys_of_feast_are_compared_from_the_source_only(
    database: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    database("CREATE TABLE rows (id timestamptz, ts timestamptz, x int)")
    for i in range(3):
        database("INSERT INTO rows VALUES (%s, %s, %s)", at(i), at(i), i)
    view = make_view(layout="feast")
    materialize(view, offline, online)
    database("UPDATE rows SET x = 9 WHERE x = 1")
    database("DELETE FROM rows WHERE x = 2")
    for sample in (None, 100):
        report = verify(view, offline, online, sample=sample)
        assert counts(report) == {"equal": 1, "different": 1}
        assert report.extra is None


@pytest.mark.parametrize("is_query", [False, True], ids=["table", "query"])
def test_a_sample_of_many_entities_has_as_many_as_asked(
    database: Database,
    offline: OfflineStore,
    online: OnlineStore,
    make_view: MakeView,
    is_query: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database("CREATE TABLE rows (id int, ts timestamptz, x int)")
    database("INSERT INTO rows SELECT i, %s, i FROM generate_series(1, 3000) AS i", at(0))
    view = make_view(source={"query": "SELECT * FROM rows WHERE x > 0 -- all"} if is_query else {})
    materialize(view, offline, online)
    monkeypatch.setattr(source_access, "ENTITY_SAMPLE_BYTES", 100_000)
    database("UPDATE rows SET x = x + 1")
    report = verify(view, offline, online, sample=50)
    assert counts(report) == {"different": report.rows_compared}
    assert 50 < report.rows_compared <= 100
    entities = {example.entity["id"] for example in report.examples["different"]}
    assert entities != {
        example.entity["id"] for example in verify(view, offline, online, sample=50).examples["different"]
    }


def test_long_histories_are_compared_by_their_newest_rows(
    database: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    database("CREATE TABLE rows (id int, ts timestamptz, x int)")
    database(
        "INSERT INTO rows SELECT mod(i, 100), %s + i * interval '1 second', i FROM generate_series(1, 10000) AS i",
        at(0),
    )
    database("INSERT INTO rows VALUES (1, NULL, 1), (NULL, now(), 1), (500, 'infinity', 1)")
    database("CREATE INDEX ON rows (id, ts)")
    database("ANALYZE rows")
    view = make_view()
    materialize(view, offline, online)
    for sample in (None, 1000):
        assert counts(verify(view, offline, online, sample=sample)) == {"equal": 100}
