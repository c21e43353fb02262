"""Connections that log in by an identity: with tokens from an import path, or of a cloud that has a name."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import redis
from airflow.sdk import Connection
from online_features import FeatureView, OnlineStore, notification_sql
from online_features.common.backoff import Backoff
from online_features.errors import (
    MissingExtraError,
    OfflineAccessError,
    OnlineAccessError,
    OnlineStoreUnavailableError,
)
from online_features.online.read.view_freshness_check import ViewFreshnessCheck
from online_features_provider.hooks import identities, named_stores
from online_features_provider.hooks.offline import OfflineStoreHook
from online_features_provider.hooks.online import OnlineStoreHook
from online_features_provider.hooks.redis_address import RedisAddress
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.sensors.freshness import FeatureViewFreshnessSensor
from online_features_provider.triggers import _shared_store as shared_store
from online_features_provider.triggers import changes
from online_features_provider.triggers.changes import FeatureViewChangeTrigger
from online_features_provider.ui import stores
from redis.credentials import CredentialProvider
from sqlalchemy.engine import make_url

from tests.conftest import at
from tests.support.servers.changing_login import GIVEN, PATH, ChangingLogin
from tests.support.servers.databases import Database

Connect = Callable[..., None]

NOT_ONE = "a text"


def made() -> CredentialProvider:
    return GIVEN


class Made(CredentialProvider):
    def get_credentials(self) -> Any:
        return GIVEN.get_credentials()


def failing() -> CredentialProvider:
    raise LookupError("nobody is there")


@pytest.fixture
def user(client: redis.Redis) -> Iterator[str]:
    user = f"user_{token_hex(4)}"
    yield user
    client.acl_deluser(user)


@pytest.fixture
def login(client: redis.Redis, user: str) -> ChangingLogin:
    GIVEN.provider = ChangingLogin([client], user)
    return GIVEN.provider


@pytest.fixture
def connect(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Makes the connection ``online_store`` to the server."""
    url = make_url(redis_url)

    def connect(login: str | None = None, **extra: Any) -> None:
        connection = {"conn_type": "redis", "host": url.host, "port": url.port, "login": login, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", json.dumps(connection))

    return connect


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    yield
    identities._instance.cache_clear()
    identities._of_azure.cache_clear()


def module(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    """Have an import of a module find these members."""
    found = ModuleType(name)
    vars(found).update(members)
    monkeypatch.setitem(sys.modules, name, found)


def logged_in(user: str) -> None:
    """Check that both stores of the connection log in."""

    async def whoami() -> Any:
        async with await OnlineStoreHook().aget_store() as store:
            return await store._client.execute_command("ACL", "WHOAMI")

    client = OnlineStoreHook().get_conn()
    assert {client.execute_command("ACL", "WHOAMI"), asyncio.run(whoami())} == {user.encode()}
    client.close()


@pytest.mark.parametrize("path", [PATH, f"{__name__}.made", f"{__name__}:made", f"{__name__}.Made"])
def test_an_import_path_leads_to_a_provider_or_to_what_makes_one(
    connect: Connect, login: ChangingLogin, user: str, path: str
) -> None:
    connect(credential_provider=path)
    assert OnlineStoreHook().test_connection() == (True, "Redis answers")
    logged_in(user)


@pytest.mark.parametrize("path, error, message", [
    ("nowhere.provider", OnlineAccessError, "No module named 'nowhere' -> write the import path of a redis.Cred"),
    (f"{__name__}.nothing", OnlineAccessError, "has no attribute 'nothing' -> write the import path"),
    ("elastic", OnlineAccessError, "-> write the import path .*, or one of elasticache, memorydb, memorystore, azure"),
    (f"{__name__}.NOT_ONE", OnlineAccessError, "is a str, not a redis.CredentialProvider -> write"),
    ("builtins.dict", OnlineAccessError, "is a dict, not a redis.CredentialProvider -> write"),
    (f"{__name__}.failing", OnlineStoreUnavailableError, "no identity: LookupError: nobody is there -> check that"),
])  # fmt: skip
def test_what_is_not_a_provider_is_named(connect: Connect, path: str, error: type[Exception], message: str) -> None:
    connect(credential_provider=path)
    with pytest.raises(error, match=f"connection 'online_store' .*{message}"):
        OnlineStoreHook().get_conn()


def test_operators_sensors_pages_and_commands_outlive_passwords(
    connections: None, connect: Connect, login: ChangingLogin, database: Database, make_view: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(named_stores.CONTEXT_VARIABLE, named_stores.WITH_DATABASE)  # and not for later tests
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    connect(credential_provider=PATH)
    view: FeatureView = make_view()
    MaterializeOperator(task_id="m", feature_view=view).execute({})
    sensor = FeatureViewFreshnessSensor(task_id="s", feature_view=view, max_staleness=timedelta(hours=1))
    store, command = OnlineStoreHook().get_store(), named_stores.redis_client("online_store")
    until = login.changes + 4
    with login.expiring(0.3):
        while login.changes < until:
            assert sensor.poke({})
            MaterializeOperator(task_id="m", feature_view=view, window="full").execute({})
            store.push(view, [{"id": "b", "ts": at(1), "x": 2}])
            for each in (store, OnlineStore(command)):
                assert each.get_online_features(view, [{"id": "b"}])[0].values == {"x": 2}
    login.expire()
    with stores.online_store("online_store") as of_page:
        assert of_page.freshness(view).is_materialized
    for client in (store._client, command):
        client.close()


def test_triggers_outlive_passwords_on_connections_that_stay_open(
    connect: Connect, login: ChangingLogin, online: OnlineStore, make_view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_store, "GATHERING_SECONDS", 0.05)
    connect(credential_provider=PATH)
    view: FeatureView = make_view()
    online.push(view, [{"id": "a", "ts": datetime.now(UTC), "x": 1}])
    check = ViewFreshnessCheck(view=view, max_staleness=timedelta(hours=1), measure="event_timestamp")

    async def checks() -> list[bool]:
        found = []
        async with shared_store.shared_store("online_store", ViewFreshnessCheck) as store:
            for do in (login.change, login.end_connections, login.expire, login.expire):
                found.append((await store.check(check)).is_fresh)
                await asyncio.to_thread(do)
            found.append((await store.check(check)).is_fresh)
            return found

    assert asyncio.run(checks()) == [True] * 5


@pytest.mark.parametrize("extra", [
    {"sentinels": "a,b", "sentinel_master": "main", "sentinel_username": "s", "sentinel_password": "of the sentinels"},
    {"ssl": True},
])  # fmt: skip
@pytest.mark.parametrize("library", [redis, redis.asyncio])
def test_servers_are_logged_in_to_and_sentinels_by_their_own_login(extra: dict[str, Any], library: Any) -> None:
    GIVEN.provider = redis.UsernamePasswordCredentialProvider("of a server", "canary")
    extra = {**extra, "credential_provider": PATH}
    address = RedisAddress.of(Connection(conn_id="online_store", conn_type="redis", extra=json.dumps(extra)))
    pool = address.client(library).connection_pool
    given = pool.connection_kwargs["credential_provider"].get_credentials()
    assert given == ("of a server", "canary")
    assert not any(pool.connection_kwargs.get(name) for name in ("username", "password"))
    for sentinel in pool.sentinel_manager.sentinels if "sentinels" in extra else []:
        options = sentinel.connection_pool.connection_kwargs
        assert (options["username"], options.get("credential_provider")) == ("s", None)
    assert "canary" not in repr((address, pool))


@pytest.mark.parametrize("fields, extra, message", [
    ({"password": "secret"}, {"credential_provider": PATH}, "it gives the password: leave the password"),
    ({"login": "user"}, {"credential_provider": PATH}, "it gives the user, too: leave the login"),
    ({"login": "user"}, {"credential_provider": "azure"}, "it gives the user, too: leave the login"),
    ({}, {"credential_provider": "elasticache", "cache_name": "c"}, "write the user of Redis into the login"),
    ({"login": "user"}, {"credential_provider": "memorydb"}, "add cache_name, the name that memorydb has for"),
    ({}, {"aws_conn_id": "aws"}, "'aws_conn_id' .* without credential_provider elasticache or memorydb: name that one"),
    ({}, {"credential_provider": "memorydb", "serverless": True}, "'serverless' .* credential_provider elasticache: "),
    ({}, {"credential_provider": PATH, "gcp_conn_id": "g"}, "'gcp_conn_id' .* credential_provider memorystore: name"),
    ({"login": "u"}, {"credential_provider": "elasticache", "cache_name": "c", "serverless": "yes"}, "write true or"),
])  # fmt: skip
def test_what_contradicts_an_identity_is_refused(fields: dict[str, str], extra: dict[str, Any], message: str) -> None:
    connection = Connection(conn_id="online_store", conn_type="redis", extra=json.dumps(extra), **fields)
    with pytest.raises(
        OnlineAccessError, match=f"of connection 'online_store' cannot be used -> .*{message}|{message}"
    ):
        RedisAddress.of(connection)


MISSING = {
    "elasticache": ("aws", "airflow.providers.amazon.aws.hooks.base_aws"),
    "memorydb": ("aws", "airflow.providers.amazon.aws.hooks.base_aws"),
    "memorystore": ("google", "airflow.providers.google.common.hooks.base_google"),
    "azure": ("azure", "redis_entraid.cred_provider"),
}


@pytest.mark.parametrize("kind", identities.NAMED)
def test_a_package_that_is_missing_is_named_when_it_is_needed(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    extra, missing = MISSING[kind]
    monkeypatch.setitem(sys.modules, missing, None)
    options = {"cache_name": "c"} if extra == "aws" else {}
    connect(None if kind == "azure" else "user", credential_provider=kind, **options)
    hook = OnlineStoreHook()
    assert hook.address().identity is not None
    with pytest.raises(MissingExtraError, match=rf"-> pip install 'airflow-provider-online-features\[{extra}\]'"):
        hook.get_conn()


class AwsHook:
    """Airflow's hook of AWS, as far as it is used."""

    def __init__(self, aws_conn_id: str = "aws_default", *, region_name: str | None = None, **_: str) -> None:
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name or {"aws_default": "eu-west-1"}.get(aws_conn_id)

    def get_session(self, region_name: str | None = None) -> Any:
        from botocore.credentials import Credentials

        credentials = None if self.aws_conn_id == "empty" else Credentials("AKID", "secret", "of a role")
        return SimpleNamespace(region_name=region_name, get_credentials=lambda: credentials)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    module(monkeypatch, "airflow.providers.amazon.aws.hooks.base_aws", AwsBaseHook=AwsHook)


SERVERLESS = {"ResourceType": "ServerlessCache"}


@pytest.mark.parametrize("kind, extra, region, more", [
    ("elasticache", {}, "eu-west-1", {}),
    ("elasticache", {"serverless": "true", "region_name": "us-east-2"}, "us-east-2", SERVERLESS),
    ("memorydb", {"aws_conn_id": "other", "region_name": "us-west-1"}, "us-west-1", {}),
])  # fmt: skip
def test_aws_gets_a_request_signed_for_the_cache_and_the_user(
    connect: Connect, aws: None, kind: str, extra: dict[str, str], region: str, more: dict[str, str]
) -> None:
    from botocore.credentials import Credentials
    from botocore.hooks import HierarchicalEmitter
    from botocore.model import ServiceId
    from botocore.signers import RequestSigner

    connect("us:er", credential_provider=kind, cache_name="cache", **extra)
    provider = OnlineStoreHook().get_conn().connection_pool.connection_kwargs["credential_provider"]
    user, token = provider.get_credentials()
    signed = dict(parse_qsl(urlsplit(f"//{token}").query))
    asked = {name: value for name, value in signed.items() if not name.startswith("X-Amz-")}
    assert (user, asked) == ("us:er", {"Action": "connect", "User": "us:er", **more})
    assert token.startswith("cache/?")
    assert signed["X-Amz-Credential"].endswith(f"/{region}/{kind}/aws4_request")
    assert (signed["X-Amz-Expires"], signed["X-Amz-Security-Token"]) == ("900", "of a role")
    # The signature is the one of botocore's presigned URLs, at the same second.
    emitter, credentials = HierarchicalEmitter(), Credentials("AKID", "secret", "of a role")
    signer = RequestSigner(ServiceId(kind), region, kind, "v4", credentials, emitter)
    query = "&".join(f"{name}={value.replace(':', '%3A')}" for name, value in asked.items())
    request = {"method": "GET", "url": f"https://cache/?{query}", "body": {}, "headers": {}, "context": {}}

    def is_botocores() -> bool:
        _, ours = provider.get_credentials()
        theirs = signer.generate_presigned_url(request, operation_name="connect", expires_in=900, region_name=region)
        return bool(theirs.removeprefix("https://") == ours)

    assert is_botocores() or is_botocores()  # the second may have changed between the two


@pytest.mark.parametrize("extra, message", [
    ({"aws_conn_id": "empty", "region_name": "r"}, "connection 'empty' has no credentials -> add them to it"),
    ({"aws_conn_id": "without"}, "connection 'without' has no region -> add region_name"),
])  # fmt: skip
def test_what_aws_needs_is_named(connect: Connect, aws: None, extra: dict[str, str], message: str) -> None:
    connect("user", credential_provider="elasticache", cache_name="c", **extra)
    with pytest.raises(OnlineAccessError, match=message):
        OnlineStoreHook().get_conn()


def google_credentials(new_token: Callable[[], str], lifetime: timedelta) -> Any:
    """Credentials of google-auth whose tokens a function makes."""
    from google.auth.credentials import Credentials

    class Made(Credentials):
        def refresh(self, _: Any) -> None:
            self.token = new_token()
            self.expiry = datetime.now(UTC).replace(tzinfo=None) + lifetime

    return Made()


@pytest.mark.parametrize("lifetime, tokens", [(timedelta(hours=1), 1), (timedelta(minutes=1), 2)])
def test_a_token_of_google_is_used_until_it_is_about_to_expire(
    connect: Connect, client: redis.Redis, user: str, monkeypatch: pytest.MonkeyPatch, lifetime: timedelta, tokens: int
) -> None:
    login = ChangingLogin([client], user)

    def new_token() -> str:
        login.change()
        return login.get_credentials()[1]

    asked = []

    def hook(gcp_conn_id: str = "google_cloud_default") -> Any:
        asked.append(gcp_conn_id)
        return SimpleNamespace(get_credentials=lambda: google_credentials(new_token, lifetime))

    module(monkeypatch, "airflow.providers.google.common.hooks.base_google", GoogleBaseHook=hook)
    connect(user, credential_provider="memorystore", gcp_conn_id="mine")
    connection = OnlineStoreHook().get_conn()
    for _ in range(2):
        assert connection.execute_command("ACL", "WHOAMI") == user.encode()
        connection.connection_pool.disconnect()
    assert (asked, len(login.given)) == (["mine"], tokens)
    connect(credential_provider="memorystore")
    provider = OnlineStoreHook().get_conn().connection_pool.connection_kwargs["credential_provider"]
    assert (len(provider.get_credentials()), asked[1:]) == (1, ["google_cloud_default"])


def test_azure_logs_in_by_the_default_credential(
    connect: Connect, client: redis.Redis, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jwt
    from azure.identity import DefaultAzureCredential

    expires = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())
    token = jwt.encode({"oid": user, "exp": expires}, "k" * 32)
    client.execute_command("ACL", "SETUSER", user, "reset", "on", f">{token}", "~*", "+@all")
    asked: list[tuple[str, ...]] = []

    def get_token(_: Any, *scopes: str, **__: Any) -> Any:
        asked.append(scopes)
        return SimpleNamespace(token=token)

    monkeypatch.setattr(DefaultAzureCredential, "get_token", get_token)
    connect(credential_provider="azure")
    logged_in(user)
    assert set(asked) == {("https://redis.azure.com/.default",)}


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """Of Postgres, which may read table ``rows``."""
    role = f"role_{token_hex(4)}"
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    database(notification_sql("rows"))
    database(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON rows TO {role}")
    yield role
    database(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def tokens(database: Database, role: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that were asked for, of three clouds: only the newest is valid."""
    given: list[str] = []

    def new_token(*_: Any) -> str:
        given.append(token_hex(8))
        database(f"ALTER ROLE {role} PASSWORD %s", given[-1])
        return given[-1]

    rds = SimpleNamespace(conn=SimpleNamespace(generate_db_auth_token=new_token))
    google = SimpleNamespace(get_credentials=lambda: google_credentials(new_token, timedelta(minutes=1)))
    azure = SimpleNamespace(get_token=lambda _: SimpleNamespace(token=new_token()))
    module(monkeypatch, "airflow.providers.amazon.aws.hooks.base_aws", AwsBaseHook=lambda **_: rds)
    module(monkeypatch, "airflow.providers.google.common.hooks.base_google", GoogleBaseHook=lambda **_: google)
    module(monkeypatch, "airflow.providers.microsoft.azure.hooks.base_azure", AzureBaseHook=None)
    monkeypatch.setattr(Connection, "get_hook", lambda _: azure)
    monkeypatch.setenv("AIRFLOW_CONN_AZURE", "azure://")
    return given


@pytest.fixture
def connect_postgres(database: Database, role: str, monkeypatch: pytest.MonkeyPatch) -> Connect:
    url = make_url(database.uri)

    def connect(**extra: Any) -> None:
        connection = {"conn_type": "postgres", "host": url.host, "port": url.port, "schema": url.database,
                      "login": role, "extra": {"iam": True, **extra}}  # fmt: skip
        monkeypatch.setenv("AIRFLOW_CONN_OFFLINE_STORE", json.dumps(connection))

    return connect


CLOUDS = [{}, {"aws_conn_id": "mine"}, {"azure_conn_id": "azure"}, {"gcp_conn_id": "mine"}]


@pytest.mark.parametrize("extra", CLOUDS)
def test_every_connection_to_postgres_has_a_token_of_its_own(
    connections: None, tokens: list[str], connect_postgres: Connect, make_view: Any, extra: dict[str, str]
) -> None:
    connect_postgres(**extra)
    view: FeatureView = make_view()
    store = OfflineStoreHook().get_store()
    assert tokens == []
    assert OfflineStoreHook().test_connection() == (True, "Postgres answers")
    assert store.describe(view).features
    before = len(tokens)
    assert MaterializeOperator(task_id="m", feature_view=view).execute({})["rows_written"] == 1
    assert len(tokens) > before + 1  # of both drivers
    assert store.describe(view).features
    assert not any(token in repr(vars(store)) for token in tokens)


def test_a_trigger_listens_again_with_another_token(
    tokens: list[str], connect_postgres: Connect, database: Database, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "OUTAGE_BACKOFF", Backoff(base=0.05, longest=1.0, jitter=0.5))
    connect_postgres()

    async def listen() -> None:
        arguments = {"postgres_conn_id": "offline_store"}
        async with aclosing(FeatureViewChangeTrigger.open_shared_stream(arguments)) as stream:
            for _ in range(3):
                assert await anext(stream) == frozenset()
                await asyncio.to_thread(
                    database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", role
                )

    asyncio.run(listen())
    assert len(tokens) >= 3


@pytest.mark.parametrize("extra, cloud, missing", [
    ({}, "aws", "airflow.providers.amazon.aws.hooks.base_aws"),
    ({"azure_conn_id": "azure"}, "azure", "airflow.providers.microsoft.azure.hooks.base_azure"),
    ({"gcp_conn_id": "mine"}, "google", "airflow.providers.google.common.hooks.base_google"),
])  # fmt: skip
def test_a_package_that_postgres_needs_is_named(
    tokens: list[str], connect_postgres: Connect, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], cloud: str,
    missing: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, missing, None)
    connect_postgres(**extra)
    with pytest.raises(MissingExtraError, match=rf"-> pip install 'airflow-provider-online-features\[{cloud}\]'"):
        OfflineStoreHook().get_store().ping()


def test_a_password_beside_an_identity_of_postgres_is_refused(tokens: list[str], connect_postgres: Connect) -> None:
    connect_postgres(password="secret")
    with pytest.raises(OfflineAccessError, match="leave it out") as raised, suppress(KeyError):
        OfflineStoreHook().get_store()
    assert "secret" not in str(raised.value)
