"""One entity: get, erase, unerase."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize

from tests.cli.conftest import Run
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]
HOSTILE = "[bold red]x[/] \x1b[31m\n\u202e=:%{}"


@pytest.mark.parametrize(
    "kind, literal, text, wrong",
    [
        ("bigint", "42", "42", "4.2"),
        ("uuid", "'0191a2b4-0000-7000-8000-00000000abcd'", "0191A2B4-0000-7000-8000-00000000ABCD", "0191"),
        ("date", "'2026-01-31'", "2026-01-31", "31.1.2026"),
        ("timestamptz", "'2026-01-31T10:00:00Z'", "2026-01-31T11:00:00+01:00", "2026-01-31T10:00:00"),
        ("boolean", "true", "true", "yes"),
        ("numeric", "1.50", "1.5", "one"),
        ("text", "'a=b:c'", "a=b:c", None),
    ],
)
def test_values_of_join_keys_have_their_types(
    kind: str, literal: str, text: str, wrong: str | None, database: Database, make_view: MakeView,
    offline: OfflineStore, online: OnlineStore, run: Run,
) -> None:  # fmt: skip
    database(f"CREATE TABLE rows AS SELECT {literal}::{kind} AS id, now() AS ts, 7 AS x")
    materialize(make_view(), offline, online)
    assert run("get", "view", f"id={text}", "--json").json["features"] == {"x": 7}
    if wrong is not None:
        outcome = run("get", "view", f"id={wrong}")
        assert outcome.code == 2
        assert "is not of type" in outcome.err


def test_names_of_join_keys_with_equals_signs(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    database("""CREATE TABLE rows AS SELECT 1 AS id, 'x'::text AS "id=[b]", now() AS ts, 7 AS x""")
    materialize(make_view(entities=["id", "id=[b]"]), offline, online)
    assert run("get", "view", "id=[b]=x", "id=1", "--json").json["features"] == {"x": 7}


def test_without_an_entity_its_join_keys_are_named(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    database("CREATE TABLE rows AS SELECT 1 AS id, 'x'::text AS shop, now() AS ts, 7 AS x")
    materialize(make_view(entities=["id", "shop"]), offline, online)
    outcome = run("get", "view")
    assert (outcome.code, "-> write id=… shop=…" in outcome.err) == (2, True)


def test_a_build_that_is_not_published_is_read_by_its_name_alone(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    database("CREATE TABLE rows AS SELECT 1 AS id, now() AS ts, 7 AS x")
    built = materialize(make_view(layout="msgpack"), offline, online, full=True, publish=False).generation
    assert run("get", "view", "id=1", "--json").json["status"] == "not_found"
    assert run("get", "view", "id=1", "--generation", str(built), "--json").json["features"] == {"x": 7}


def test_what_a_row_may_hold(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    database(
        "CREATE TABLE rows AS SELECT 1 AS id, now() AS ts, NULL::int AS nothing, 'NaN'::float8 AS nan, "
        "'-Infinity'::float8 AS least, ARRAY[0.5, 1, 2, 3, 4, 5, 6, 7]::real[] AS embedding, 12.50::numeric AS price, "
        r"'\xff00'::bytea AS raw, '2026-01-31 10:00:00.25+00'::timestamptz AS seen, '90 min'::interval AS took, "
        """'{"a": [1]}'::jsonb AS document, 1234567 AS number"""
    )
    materialize(make_view(), offline, online)
    told = run("get", "view", "id=1", "--json").json
    assert told["status"] == "present"
    assert told["features"] == {
        "nothing": None, "nan": "NaN", "least": "-Infinity", "embedding": [0.5, 1, 2, 3, 4, 5, 6, 7],
        "price": "12.50", "raw": "/wA=", "seen": "2026-01-31T10:00:00.250000Z", "took": 5400.0,
        "document": {"a": [1]}, "number": 1234567,
    }  # fmt: skip
    shown = run("get", "view", "id=1").out
    embedding = "[0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]"
    for part in ("NULL", "NaN", embedding, "12.50", "1234567", "2026-01-31T10:00:00.250000Z", "1:30:00"):
        assert part in shown


def test_an_entity_that_is_not_online(trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run) -> None:
    materialize(trips, offline, online)
    outcome = run("get", "trips", "id=99")
    assert outcome.code == 0
    assert "not_found" in outcome.out


@pytest.mark.parametrize(
    "words, told",
    [
        (["id"], "'id' is not a join key of it with its value -> write id=…"),
        (["other=1"], "'other=1' is not a join key of it"),
        (["id=1", "id=2"], "'id=2' is named twice"),
        (["id=[red]"], "'[red]' is not of type bigint"),
        (["id=1", "--generation", "nonsense"], "nonsense"),
    ],
)
def test_a_wrong_entity_is_refused(
    words: list[str], told: str, trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    materialize(trips, offline, online)
    outcome = run("get", "trips", *words)
    assert outcome.code == 2
    assert told in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_missing_join_key_is_named(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    database("CREATE TABLE rows AS SELECT 1 AS id, 'b' AS other, now() AS ts, 7 AS x")
    materialize(make_view(entities=["id", "other"]), offline, online)
    assert "join key 'other' is missing -> write id=… other=…" in run("get", "view", "id=1").err
    assert run("get", "view", "other=b", "id=1", "--json").json["features"] == {"x": 7}


def test_hostile_names_and_values_are_printed_as_they_are(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    database('CREATE TABLE rows (id text, ts timestamptz, "[blink]f[/]" text)')
    database("INSERT INTO rows VALUES (%s, now(), %s)", HOSTILE, HOSTILE)
    materialize(make_view(), offline, online)
    outcome = run("get", "view", f"id={HOSTILE}")
    assert outcome.code == 0
    assert "[blink]f[/]" in outcome.out
    assert r"[bold red]x[/] \x1b[31m\n\u202e=:%{}" in outcome.out
    assert "\x1b" not in outcome.out
    assert "\u202e" not in outcome.out
    assert run("get", "view", f"id={HOSTILE}", "--json").json["features"] == {"[blink]f[/]": HOSTILE}
    assert "[blink]f[/]" in run("stats", "view").out
    assert "[blink]f[/]" in run("show", "view").out


def test_a_damaged_row_says_why(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, client: redis.Redis
) -> None:
    generation = materialize(trips, offline, online).generation
    client.set(f"shop:trips:{generation}:{{7}}", "damaged")
    outcome = run("get", "trips", "id=7")
    assert outcome.code == 0
    assert "unreadable" in outcome.out
    assert run("get", "trips", "id=7", "--json").json["reason"]


def test_erase_and_unerase(trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run) -> None:
    materialize(trips, offline, online)
    refused = run("erase", "trips", "id=3")
    assert refused.code == 2
    assert "is present online and will be erased in all generations" in refused.err
    assert "undo: online-features unerase shop:trips id=3" in refused.err
    assert refused.err.endswith(
        "Error: nothing is changed: there is no terminal to ask at -> give --yes if you want this\n"
    )
    assert run("get", "trips", "id=3", "--json").json["status"] == "present"

    erased = run("erase", "trips", "id=3", "--yes")
    assert (erased.code, erased.out) == (0, "shop:trips: erased; it was online\n")
    assert run("get", "trips", "id=3", "--json").json["status"] == "not_found"
    materialize(trips, offline, online, full=True)
    assert run("get", "trips", "id=3", "--json").json["status"] == "not_found"

    assert run("unerase", "trips", "id=3").code == 2
    restored = run("unerase", "trips", "id=3", "--yes")
    assert "may come online again" in restored.out
    assert "was not erased" in run("unerase", "trips", "id=3", "--yes").out
    materialize(trips, offline, online, full=True)
    assert run("get", "trips", "id=3", "--json").json["status"] == "present"


def test_erasures_as_json(trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run) -> None:
    materialize(trips, offline, online)
    told = {"view": "shop:trips", "entity": {"id": 3}}
    assert run("erase", "trips", "id=3", "--yes", "--json").json == {**told, "were_online": 1}
    assert run("unerase", "trips", "id=3", "--yes", "--json").json == {**told, "were_erased": 1}
