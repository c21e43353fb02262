"""Values, names and shapes that mean something to SQL, RESP, globs, keys or parsers: each is a row, or a typed error.

Names of columns and tables are in ``test_names.py``. What else is in Redis stays as it is, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from online_features import FeastOptions, FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize
from online_features.errors import FeatureViewError, InvalidRowsError, WindowError
from online_features.feature_view import LAYOUTS
from online_features.layouts import keyspace
from online_features.layouts.feast.feast_format import feature_field, timestamp_field, tombstone_field
from online_features.layouts.feast.feast_types import FeastType
from online_features.layouts.layout_registry import layout_of
from online_features.schema import Column, Encoding
from online_features_provider.operators.materialize import MaterializeOperator

from tests.conftest import at
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.faults, pytest.mark.layouts]

MakeView = Callable[..., FeatureView]

HOSTILE = {
    "statement": "'; DROP TABLE rows; --",
    "dollars": "$$; DROP TABLE rows; $$",
    "copy": "\\.\n\\N",
    "csv": '","\n"',
    "parameters": "%s %(x)s :x $1 {x} {{ x }}",
    "glob": "*?[a-z]\\*",
    "every entity": "*",
    "braces": "{a}{b}",
    "open brace": "{",
    "escape": "%3A%25",
    "colons": "a:b::",
    "reserved": "@online_features:views",
    "lines": "a\r\nb\n",
    "protocol": "\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "control": "".join(map(chr, range(1, 32))) + "\x7f",
    "white": " \t",
    "nothing": "",
    "object": '{"_ts":"9999-12-31T23:59:59.999999Z"}',
    "fields": '","_ts":"9999-12-31T23:59:59.999999Z","x":"',
    "lua": "]]..redis.call('FLUSHALL')..[[",
    "right to left": "\u202eא\u200d\ufeff",
    "beyond the plane": "\U0001f600\U0010ffff",
    "a megabyte": "é" * 2**19,
}  # fmt: skip

NUL, HALF = "a\0b", "\ud800"  # neither is text to Postgres
DEEP = 10_000  # levels
HUGE = 64 * 2**20  # bytes
MOST_COLUMNS = 1600  # that a table of Postgres may have


@pytest.fixture
def table(database: Database) -> Database:
    database("CREATE TABLE rows (id text, ts timestamptz, x text)")
    return database


@pytest.fixture
def view(table: Database, make_view: MakeView) -> FeatureView:
    return make_view(name="a", features=["x"])


@pytest.fixture
def neighbours(view: FeatureView, online: OnlineStore) -> None:
    """Views of the same entities whose names and projects begin or end like the view's."""
    for name, project in (("a.b", "{}"), ("ab", "{}"), ("b", "{}"), ("a", "{}a"), ("a", "{}.a"), ("a", "x{}")):
        neighbour = replace(view, name=name, project=project.format(view.project))
        online.push(neighbour, [row(value) for value in HOSTILE.values()])
        online.delete(neighbour, [{"id": "erased"}])


def row(entity: Any, hour: int = 1, x: Any = "") -> dict[str, Any]:
    return {"id": entity, "ts": at(hour), "x": x}


@contextmanager
def nothing_else_changes(online: OnlineStore, view: FeatureView) -> Iterator[None]:
    """All that is in Redis, but what is the view's own, is the same before and after."""
    before = others(online, view)
    yield
    assert others(online, view) == before


def others(online: OnlineStore, view: FeatureView) -> dict[bytes, Any]:
    """Other keys with their values, and of a hash that the view shares, the fields of others."""
    client, held = online._client, {}
    for key in client.scan_iter(count=10_000):
        if key.startswith(f"{keyspace.view_id(view)}:".encode()) or _is_reserved_for(key, view):
            continue
        if client.type(key) == b"hash":
            own = _own_fields(view) if _is_shared(key, view) else set()
            if key == keyspace.published_key(view.project).encode():
                own = {view.name.encode()}
            if others_fields := {field: value for field, value in client.hgetall(key).items() if field not in own}:
                held[key] = others_fields
        elif key != keyspace.VIEWS_KEY.encode():
            held[key] = client.dump(key)
    held[b"views"] = client.smembers(keyspace.VIEWS_KEY) - {keyspace.view_id(view).encode()}
    return held


def _is_reserved_for(key: bytes, view: FeatureView) -> bool:
    project, name = map(re.escape, (view.project, view.name))
    ours = rf"@online_features:[a-z]+:(\{{{project}\}}:{name}(:.*)?|\{{{project}:{name}:[0-9a-z]+\}})"
    return re.fullmatch(ours, key.decode(errors="replace")) is not None


def _is_shared(key: bytes, view: FeatureView) -> bool:
    columns = (Column("id", "text", Encoding.TEXT, FeastType.STRING),)
    return layout_of(replace(view, layout="feast"), keyspace.FIRST_GENERATION).texts(columns, key) is not None


def _own_fields(view: FeatureView) -> set[bytes]:
    name = view.name
    return {timestamp_field(name), tombstone_field(name), feature_field(name, "x")}


def asked(values: Iterable[str]) -> list[dict[str, Any]]:
    return [{"id": value} for value in values]


@pytest.mark.usefixtures("neighbours")
def test_hostile_values_are_values(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    values = list(HOSTILE.values())
    for value in values:
        table("INSERT INTO rows VALUES (%s, %s, %s)", value, at(1), value)
    with nothing_else_changes(online, view):
        assert materialize(view, offline, online).rows_written == len(values)
        assert [read.values["x"] for read in online.get_online_features(view, asked(values))] == values
        later = [row(value, 2, value[::-1]) for value in values]
        assert online.push(view, later, offline=offline).rows_written == len(values)
        assert [read.values["x"] for read in online.get_online_features(view, asked(values))] == [
            value[::-1] for value in values
        ]
        assert materialize(view, offline, online, full=True).rows_written == len(values)
        assert [read.values["x"] for read in online.get_online_features(view, asked(values))] == [
            value[::-1] for value in values
        ]
        for i, value in enumerate(values):
            assert online.delete(view, asked([value])) == 1
            statuses = [read.status for read in online.get_online_features(view, asked(values))]
            assert statuses == ["not_found"] * (i + 1) + ["present"] * (len(values) - i - 1)
    assert table("SELECT count(*) FROM rows") == [(2 * len(values),)]


@pytest.mark.usefixtures("neighbours")
def test_what_removes_rows_of_a_view_leaves_its_neighbours_alone(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    table("INSERT INTO rows VALUES ('*', %s, 'in the source')", at(1))
    online.push(view, [row(value) for value in HOSTILE.values()])
    with nothing_else_changes(online, view):
        assert materialize(view, offline, online, full=True, prune=True).entities_pruned == len(HOSTILE) - 1
        (kept,) = online.get_online_features(view, asked("*"))
        assert kept.values == {"x": "in the source"}


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize("other", LAYOUTS)
def test_a_change_of_layout_leaves_neighbours_alone(
    table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, other: Any
) -> None:
    table("INSERT INTO rows VALUES ('*', %s, 'in the source')", at(1))
    online.push(replace(view, layout=other), [row(value) for value in HOSTILE.values()])
    with nothing_else_changes(online, view):
        materialize(view, offline, online)
    statuses = [read.status for read in online.get_online_features(view, asked(HOSTILE.values()))]
    # Pushed rows are carried over to a new generation, but Feast's keys are read by Feast alone.
    is_carried = other == view.layout or "feast" not in (other, view.layout)
    assert statuses.count("present") == (len(HOSTILE) if is_carried else 1)


@pytest.mark.usefixtures("neighbours")
def test_what_is_no_text_to_postgres_is_refused(view: FeatureView, offline: OfflineStore, online: OnlineStore) -> None:
    online.push(view, [row("good")])
    with nothing_else_changes(online, view):
        for bad, refused in product((NUL, HALF), (
            lambda bad: online.push(view, [row(bad)]),
            lambda bad: online.push(view, [row("good", 2, bad)]),
            lambda bad: online.push(view, [row(bad)], offline=offline),
            lambda bad: online.push(view, [row("good", 2, bad)], offline=offline),
            lambda bad: online.get_online_features(view, asked([bad])),
            lambda bad: online.delete(view, asked([bad])),
        )):  # fmt: skip
            with pytest.raises(InvalidRowsError):
                refused(bad)
    assert [read.values["x"] for read in online.get_online_features(view, asked(["good"]))] == [""]


@pytest.mark.layouts("hash")
def test_definitions_are_text(make_view: MakeView) -> None:
    for bad in (NUL, HALF):
        for definition in ({"features": [bad]}, {"entities": [bad]}):
            with pytest.raises(FeatureViewError):
                make_view(**definition)
        for where in ({"table": bad}, {"query": f"SELECT '{bad}'"}):
            with pytest.raises(FeatureViewError):
                PostgresSource(**where, timestamp_field="ts")


@pytest.mark.layouts("hash")
def test_names_that_mean_something_in_a_key_are_refused(make_view: MakeView) -> None:
    for name in ("", "a:b", "a*", "[a]", "a?", "{a}", "a b", "a\r\nb", "@a", ".", "-a", "é", "a\\", NUL, HALF):
        for part in ("name", "project"):
            with pytest.raises(FeatureViewError, match="must be letters"):
                make_view(**{part: name})


@pytest.mark.usefixtures("connections")
@pytest.mark.layouts("hash")
def test_templated_fields_are_read_as_what_they_are(view: FeatureView) -> None:
    with pytest.raises(WindowError, match="window=.*DROP TABLE"):  # known when the DAG is parsed
        MaterializeOperator(task_id="m", feature_view=view, window=HOSTILE["statement"])
    for field in ("start", "end", "prune", "lookback"):
        task = MaterializeOperator(task_id="m", feature_view=view, **{field: HOSTILE["statement"]})
        with pytest.raises(AirflowFailException, match=f"{field}=.*DROP TABLE"):
            task.execute({})


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_json_that_is_too_deep_is_a_row_or_a_typed_error(
    table: Database,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
) -> None:
    view = make_view(source={"table": "deep"}, features=["x"])
    if view.layout == "feast":
        view = replace(view, feast=FeastOptions(types={"x": "Json"}))
    table("CREATE TABLE deep AS SELECT 'a' AS id, timestamptz '2026-01-01' AS ts, '[]'::jsonb AS x")
    table("INSERT INTO deep SELECT 'deep', ts, (repeat('[', %s) || repeat(']', %s))::jsonb FROM deep", DEEP, DEEP)
    with nothing_else_changes(online, view):
        assert materialize(view, offline, online).rows_written == 2
        assert online.get_online_features(view, asked("a"))[0].values == {"x": []}
        deep, other = online.get_online_features(view, asked(["deep", "a"]))
        assert (deep.status, other.status) == ("unreadable", "present")
        assert "deep" in deep.reason
        for rows in ([row("b", 2, nested(DEEP))], pd.DataFrame([row("b", 2, nested(DEEP // 5))])):
            with pytest.raises(InvalidRowsError, match="nested too deeply"):
                online.push(view, rows)
        assert online.delete(view, asked(["deep"])) == 1


def test_huge_values_pass(table: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore) -> None:
    table("INSERT INTO rows VALUES ('a', %s, repeat('x', %s))", at(1), HUGE)
    assert materialize(view, offline, online).rows_written == 1
    assert online.push(view, [row("b", 1, "x" * HUGE)]).rows_written == 1
    for read in online.get_online_features(view, asked("ab")):
        assert len(read.values["x"]) == HUGE
    assert online.delete(view, asked("ab")) == 2


def test_as_many_columns_as_postgres_has_pass(
    table: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    names = [f"c{i}" for i in range(MOST_COLUMNS - 2)]
    table(f"CREATE TABLE wide (id text, ts timestamptz, {', '.join(f'{name} int' for name in names)})")
    table(f"INSERT INTO wide VALUES ('a', %s, {', '.join(map(str, range(len(names))))})", at(1))
    view = make_view(source={"table": "wide"})
    assert materialize(view, offline, online).rows_written == 1
    expected = {name: i for i, name in enumerate(names)}
    assert online.get_online_features(view, asked("a"))[0].values == expected
    assert online.push(view, [{"id": "a", "ts": at(2), **expected}]).rows_written == 1
    assert online.get_online_features(view, asked("a"))[0].values == expected
    assert online.delete(view, asked("a")) == 1
