"""Passwords of every awkward character lead in, in each form that a connection has, and come out nowhere."""

from __future__ import annotations

import json
import pickle
import string
import traceback
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import OfflineAccessError, OnlineAccessError, OnlineFeaturesError
from online_features_provider.hooks.offline import OfflineStoreHook
from online_features_provider.hooks.online import OnlineStoreHook
from redis.backoff import ExponentialWithJitterBackoff
from sqlalchemy.engine import make_url

from tests.support.servers.databases import Database

pytestmark = pytest.mark.faults

CANARY = f"canary{uuid.uuid4().hex}"
PASSWORDS = [
    *(f"{CANARY}{mark}a" for mark in string.punctuation),
    f"{string.printable[:95]}{CANARY}",
    f" {CANARY} ",
    f"%41%zz{CANARY}",
    f"pässwörd€\U0001f511{CANARY}",
    "x" * 900 + CANARY,
]  # fmt: skip


@pytest.fixture
def user(database: Database, client: redis.Redis) -> Iterator[str]:
    """Of both servers."""
    user = f"user_{uuid.uuid4().hex[:8]}"
    database(f"CREATE ROLE {user} LOGIN")
    yield user
    database(f"DROP OWNED BY {user}; DROP ROLE {user}")
    client.acl_deluser(user)


class Connections:
    """To both stores, for a user and a password."""

    def __init__(self, database: Database, redis_url: str, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._postgres, self._redis = make_url(database.uri), make_url(redis_url)
        self._user = user
        self._monkeypatch = monkeypatch

    def stores(self, form: str, password: str) -> tuple[OfflineStore, OnlineStore]:
        login = f"{self._user}:{quote(password, safe='')}"
        uris = (
            f"://{login}@{self._postgres.host}:{self._postgres.port}/{self._postgres.database}",
            f"://{login}@{self._redis.host}:{self._redis.port}",
        )
        if form == "store":
            return OfflineStore(f"postgresql{uris[0]}"), OnlineStore.from_url(f"redis{uris[1]}/0")
        connections = [f"postgres{uris[0]}", f"redis{uris[1]}"]
        if form == "json":
            connections = [
                json.dumps({
                    "conn_type": kind, "host": url.host, "port": url.port, "schema": schema,
                    "login": self._user, "password": password,
                })
                for kind, url, schema in (
                    ("postgres", self._postgres, self._postgres.database), ("redis", self._redis, None)
                )
            ]  # fmt: skip
        for name, connection in zip(("OFFLINE_STORE", "ONLINE_STORE"), connections, strict=True):
            self._monkeypatch.setenv(f"AIRFLOW_CONN_{name}", connection)
        return OfflineStoreHook().get_store(), OnlineStoreHook().get_store()


@pytest.fixture
def connections(database: Database, redis_url: str, user: str, monkeypatch: pytest.MonkeyPatch) -> Connections:
    return Connections(database, redis_url, user, monkeypatch)


@pytest.fixture
def view(make_view: Callable[..., FeatureView]) -> FeatureView:
    return make_view(source={"query": "SELECT 'a' AS id, now() AS ts, 1 AS x"})


@pytest.mark.parametrize("form", ["store", "uri", "json"])
def test_every_password_leads_in(
    database: Database, client: redis.Redis, connections: Connections, user: str, view: FeatureView, form: str
) -> None:
    for password in PASSWORDS:
        database(f"ALTER ROLE {user} PASSWORD %s", password)
        client.execute_command("ACL", "SETUSER", user, "reset", "on", f">{password}", "+@all", "~*")
        offline, online = connections.stores(form, password)
        assert offline.describe(view).features, password
        assert not online.freshness(view).is_materialized, password
        online._client.close()
    # What a run does through ADBC, and with a session of its own to Redis.
    offline, online = connections.stores(form, password)
    assert materialize(view, offline, online).rows_written == 1
    online._client.close()
    # Sessions that have set the password may not have ended yet.
    seen = database("SELECT * FROM pg_stat_activity WHERE query NOT LIKE 'ALTER ROLE%'") + client.client_list()
    assert CANARY not in str(seen)
    assert CANARY not in Path("/proc/self/cmdline").read_text()


@pytest.mark.parametrize("form", ["store", "uri", "json"])
def test_a_password_that_is_wrong_is_shown_nowhere(
    connections: Connections, client: redis.Redis, user: str, view: FeatureView, form: str,
    monkeypatch: pytest.MonkeyPatch, caplog: Any, capsys: Any,
) -> None:  # fmt: skip
    monkeypatch.setattr(ExponentialWithJitterBackoff, "compute", lambda *_: 0)  # redis-py tries in vain ten times
    client.execute_command("ACL", "SETUSER", user, "reset", "on", ">another")
    shown = ""
    for password in PASSWORDS[-5:]:
        offline, online = connections.stores(form, password)
        shown += repr((offline, online, online._client, online._client.connection_pool))
        for act, expected in (
            (offline.describe, OfflineAccessError), (online.freshness, OnlineAccessError)
        ):  # fmt: skip
            with pytest.raises(expected) as raised:
                act(view)
            shown += told(raised.value)
    captured = capsys.readouterr()
    assert CANARY not in shown + caplog.text + captured.out + captured.err


def told(error: OnlineFeaturesError) -> str:
    """All that Airflow prints of an error, here and in the process that it is sent to."""
    pickled = pickle.dumps(error)
    sent: Exception = pickle.loads(pickled)
    lines = [*traceback.format_exception(error), *traceback.format_exception(sent), repr(sent), str(vars(error))]
    return "".join(lines) + pickled.decode("latin-1")


@pytest.mark.parametrize("mark", string.punctuation)
def test_a_password_that_is_not_percent_encoded_is_shown_nowhere(
    online: OnlineStore, make_view: Callable[..., FeatureView], mark: str, caplog: Any
) -> None:
    """It may not lead in, but what is wrong with the URI has to be said without it."""
    view = make_view()
    shown = ""
    for password in (f"a{mark}{CANARY}", f"{CANARY}{mark}a", f"1{mark}{CANARY}"):
        for connect in (
            lambda password=password: materialize(
                view, OfflineStore(f"postgresql://user:{password}@nowhere.invalid/db"), online, retry_for=timedelta(0)
            ),
            lambda password=password: OnlineStore.from_url(f"redis://:{password}@nowhere.invalid/0").freshness(view),
        ):
            with pytest.raises(OnlineFeaturesError) as raised:
                connect()
            shown += told(raised.value)
    assert CANARY not in shown + caplog.text + str(online.runs(view))
