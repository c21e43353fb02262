"""Databases of every kind of encoding: names, values and queries come online as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime

import psycopg
import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import SourceError
from online_features.offline.notifications import notification_sql
from psycopg import sql

from tests.conftest import at
from tests.support.servers.databases import new_database

MakeView = Callable[..., FeatureView]

WORDS = {
    "SQL_ASCII": "größe☂", "LATIN1": "größe", "LATIN9": "größe€", "WIN1252": "größe€", "EUC_JP": "大きさ",
    "KOI8R": "размер", "UTF8": "größe大き☂",
}  # fmt: skip
SNOWMAN = "☃"  # which none but the first and the last can write


class Encoded:
    """A database with a table whose name, a column and a row are a word with characters beyond ASCII."""

    def __init__(self, uri: str, encoding: str, make_view: MakeView) -> None:
        self.uri, self.word = uri, WORDS[encoding]
        self.is_any = encoding in ("SQL_ASCII", "UTF8")
        self.view = make_view(entities=["id"], features=[self.word], source={"table": self.word})
        self.offline = OfflineStore(uri)
        self("CREATE TABLE {word} (id text, ts timestamptz, {word} text)")
        self("INSERT INTO {word} VALUES ({text}, '2026-01-01 01:00Z', {text})")

    def __call__(self, statement: str) -> None:
        with psycopg.connect(self.uri, client_encoding="UTF8", autocommit=True) as connection:
            connection.execute(
                sql.SQL(statement).format(word=sql.Identifier(self.word), text=sql.Literal(self.word))  # type: ignore[arg-type]
            )


@pytest.fixture(params=WORDS)
def encoded(request: pytest.FixtureRequest, postgres_uri: str, make_view: MakeView) -> Iterator[Encoded]:
    with new_database(postgres_uri, request.param) as database:
        yield Encoded(database.uri, request.param, make_view)


def test_names_and_values_come_online(encoded: Encoded, online: OnlineStore) -> None:
    materialize(encoded.view, encoded.offline, online)
    (row,) = online.get_online_features(encoded.view, [{"id": encoded.word}])
    assert row.values == {encoded.word: encoded.word}


def test_queries_come_online(encoded: Encoded, make_view: MakeView, online: OnlineStore) -> None:
    word = encoded.word
    view = make_view(source={"query": f'SELECT id, ts, "{word}" || \'{word}\' AS "{word}" FROM "{word}"'})
    materialize(view, encoded.offline, online)
    (row,) = online.get_online_features(view, [{"id": word}])
    assert row.values == {word: word * 2}


def test_what_is_appended_comes_online(encoded: Encoded, online: OnlineStore) -> None:
    rows = [{"id": encoded.word * 2, "ts": at(2), encoded.word: encoded.word}]
    assert encoded.offline.append(encoded.view, rows).rows_appended == 1
    assert materialize(encoded.view, encoded.offline, online).rows_written == 2


def test_entities_that_the_source_cannot_write_are_not_in_it(encoded: Encoded, online: OnlineStore) -> None:
    materialize(encoded.view, encoded.offline, online)
    names = [SNOWMAN, "a", *(f"{SNOWMAN}{i}" for i in range(5)), encoded.word]
    online.push(encoded.view, [{"id": name, "ts": at(0), encoded.word: "x"} for name in names])
    assert materialize(encoded.view, encoded.offline, online, full=True, prune=True).entities_pruned == 7
    assert [row.status for row in online.get_online_features(encoded.view, [{"id": encoded.word}])] == ["present"]


def test_what_the_source_cannot_write_is_named(encoded: Encoded, make_view: MakeView, online: OnlineStore) -> None:
    rows = [{"id": SNOWMAN, "ts": datetime.now(UTC), encoded.word: "x"}]
    query = make_view(source={"query": f"SELECT '{SNOWMAN}' AS id, now() AS ts"})
    if encoded.is_any:
        assert encoded.offline.append(encoded.view, rows).rows_appended == 1
        assert materialize(query, encoded.offline, online).rows_written == 1
        return
    for act in (
        lambda: encoded.offline.append(encoded.view, rows),
        lambda: materialize(query, encoded.offline, online),
        lambda: encoded.offline.describe(make_view(source={"table": SNOWMAN})),
    ):
        with pytest.raises(SourceError, match=f"'{SNOWMAN}' has no equivalent in encoding .* -> leave the character"):
            act()


def test_changes_of_tables_are_heard_by_name(encoded: Encoded) -> None:
    async def heard() -> frozenset[str]:
        async with aclosing(encoded.offline._changed_tables()) as changes:
            await anext(changes)
            await asyncio.to_thread(encoded, "INSERT INTO {word} VALUES ('a', now(), '')")
            return await anext(changes)

    with psycopg.connect(encoded.uri, client_encoding="UTF8", autocommit=True) as connection:
        connection.execute(notification_sql(encoded.view).encode())
    assert encoded.offline._source(encoded.view).announces_changes(encoded.word)
    assert asyncio.run(heard()) == {f"public.{encoded.word}"}


@pytest.mark.parametrize("encoded", ["SQL_ASCII"], indirect=True)
def test_what_is_not_utf8_in_a_database_that_does_not_look_is_named(
    encoded: Encoded, make_view: MakeView, online: OnlineStore
) -> None:
    encoded("INSERT INTO {word} VALUES ('bad', now(), E'gr\\xf6\\xdfe')")
    with pytest.raises(SourceError, match="0xf6 .* -> correct the row, whose text is not UTF-8"):
        materialize(encoded.view, encoded.offline, online)
    text = "convert_from(convert(convert_to(\"größe☂\", 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'SQL_ASCII')"
    view = make_view(source={"query": f"SELECT id, ts, {text} AS x FROM \"größe☂\" WHERE id = 'bad'"})
    materialize(view, encoded.offline, online)
    assert online.get_online_features(view, [{"id": "bad"}])[0].values == {"x": "größe"}
