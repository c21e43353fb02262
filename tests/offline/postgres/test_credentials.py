"""Credentials that are good for one login each, as tokens that expire: every connection asks for its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import aclosing
from datetime import timedelta
from secrets import token_hex
from typing import Any

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize, notification_sql
from online_features.errors import OfflineAccessError, OfflineStoreUnavailableError
from sqlalchemy.engine import make_url

from tests.conftest import at
from tests.support.servers.databases import Database


class Login:
    """A role that gets another password whenever somebody asks for it.

    :ivar given: the passwords that were asked for.
    :ivar failures: how often asking fails from now on.
    """

    def __init__(self, database: Database, role: str) -> None:
        self.given: list[str] = []
        self.failures = 0
        self._database = database
        self._role = role

    def __call__(self) -> tuple[str, str]:
        if self.failures:
            self.failures -= 1
            raise KeyError("no token")
        password = token_hex(8)
        self._database(f"ALTER ROLE {self._role} PASSWORD %s", password)
        self.given.append(password)
        return self._role, password


@pytest.fixture
def login(database: Database) -> Iterator[Login]:
    role = f"role_{token_hex(4)}"
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    database(f"CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT ON rows TO {role}")
    yield Login(database, role)
    database(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def uri(database: Database) -> str:
    url = make_url(database.uri)
    return f"postgresql://nobody@{url.host}:{url.port}/{url.database}"


@pytest.fixture
def view(make_view: Callable[..., FeatureView]) -> FeatureView:
    return make_view()


def test_every_connection_asks_for_credentials(
    login: Login, uri: str, view: FeatureView, database: Database, online: OnlineStore
) -> None:
    offline = OfflineStore(uri, credentials=login)
    assert login.given == []
    for act in (
        offline.ping,
        lambda: offline.describe(view),
        lambda: materialize(view, offline, online),
        lambda: offline.append(view, [{"id": "b", "ts": at(1), "x": 2}]),
        lambda: materialize(view, offline, online, full=True),
    ):
        before = len(login.given)
        act()
        assert len(login.given) > before
    assert [row.values for row in online.get_online_features(view, [{"id": "a"}, {"id": "b"}])] == [{"x": 1}, {"x": 2}]
    assert not any(password in repr(vars(offline)) for password in login.given)


def test_one_who_listens_asks_whenever_he_begins(login: Login, uri: str, database: Database) -> None:
    database(notification_sql("rows"))
    offline = OfflineStore(uri, credentials=login)

    async def listen() -> Any:
        async with aclosing(offline._changed_tables()) as changes:
            assert await anext(changes) == frozenset()
            database("INSERT INTO rows VALUES ('c', now(), 3)")
            return await anext(changes)

    for asked in (1, 2):
        assert asyncio.run(listen()) == {"public.rows"}
        assert len(login.given) == asked


def test_credentials_that_are_not_to_be_had_for_a_while_are_asked_for_again(
    login: Login, uri: str, view: FeatureView, online: OnlineStore
) -> None:
    offline = OfflineStore(uri, credentials=login)
    login.failures = 2
    assert materialize(view, offline, online, retry_for=timedelta(seconds=30)).rows_written == 1
    login.failures = 1
    message = "no credentials for Postgres: KeyError: 'no token' -> check that the service of the identity"
    with pytest.raises(OfflineStoreUnavailableError, match=message):
        offline.ping()


def test_credentials_that_are_refused_are_not_shown(uri: str) -> None:
    offline = OfflineStore(uri, credentials=lambda: ("nobody", "canary"))
    with pytest.raises(OfflineAccessError, match="check user and password") as raised:
        offline.ping()
    assert "canary" not in str(raised.value) + repr(raised.value.__cause__) + repr(vars(offline))


def test_a_password_is_in_the_uri_or_in_the_credentials() -> None:
    with pytest.raises(OfflineAccessError, match="uri= has a password, and credentials= gives one -> leave") as raised:
        OfflineStore("postgresql://user:secret@host/db", credentials=lambda: ("user", "secret"))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("given, told", [
    (None, "NoneType"), ("ab", "str"), (("canary",), "(str)"), (("postgres", None), "(str, NoneType)"),
    ((None, "canary"), "(NoneType, str)"), ((b"u", b"canary"), "(bytes, bytes)"), (("u", ""), "(str, str)"),
    (("u", "canary\0"), "(str, str)"), (("u", "canary\ud800"), "(str, str)"), (("u", "canary", 1), "(str, str, int)"),
])  # fmt: skip
def test_credentials_that_libpq_cannot_be_given_are_refused_without_being_shown(
    uri: str, given: Any, told: str
) -> None:
    with pytest.raises(OfflineAccessError, match=re.escape(f"returned {told} -> return (user, password)")) as raised:
        OfflineStore(uri, credentials=lambda: given).ping()
    assert "canary" not in repr(raised.value)
