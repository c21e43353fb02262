"""URLs of Redis that stores are made of: bounded, and nothing in them is passed over."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
import redis
from online_features import AsyncOnlineStore, OnlineStore
from online_features.errors import OnlineAccessError

pytestmark = pytest.mark.oldest

STORES = pytest.mark.parametrize("store", [OnlineStore, AsyncOnlineStore])


@STORES
@pytest.mark.parametrize("url, message", [
    ("localhost:6379", "must be a text that begins with redis://"),
    ("postgresql://h", "must be a text that begins with redis://"),
    ("", "must be a text that begins with redis://"),
    (None, "must be a text that begins with redis://"),
    (b"redis://h", "must be a text that begins with redis://"),
    ("redis://h?ssl_ca_certs=/ca", "option 'ssl_ca_certs' .* -> write rediss://, or leave it out"),
    ("redis://h?ssl=true", "option 'ssl' .* -> write rediss://"),
    ("unix:///s?ssl_cert_reqs=none", "option 'ssl_cert_reqs' .* -> write rediss://"),
    ("redis://h/first", "the path .* is not the number of a database"),
    ("redis://h?db=first", "Invalid value for 'db'"),
    ("redis://h:99999", "host or port .* cannot be read -> .* percent-encode"),
    ("redis://user:secret/word@h", "host or port .* cannot be read"),
    ("redis://user:secret#word@h", "host or port .* cannot be read"),
    ("redis://user:secret?word@h", "host or port .* cannot be read"),
    ("redis://[h", "host or port .* cannot be read"),
    ("REDIS://h", "must be a text that begins with redis://"),
    ("redis://h?colour=red", "unexpected keyword argument 'colour'"),
    ("redis://:secret@h?cluster=true", "unexpected keyword argument 'cluster'"),
    ("rediss://h?ssl_cert_reqs=maybe", "maybe"),
    ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=true", "ssl_check_hostname has no effect"),
])  # fmt: skip
def test_a_url_that_cannot_be_used_is_refused_with_its_cure(store: Any, url: Any, message: str) -> None:
    with pytest.raises(OnlineAccessError, match=message) as raised:
        store.from_url(url)
    assert " -> " in str(raised.value)
    assert "secret" not in "".join(traceback.format_exception(raised.value.__cause__ or raised.value))


@STORES
@pytest.mark.parametrize(
    "url", ["redis://user@h", "redis://:secret@h", "redis://h?username=u", "redis://h?password=secret"]
)
def test_a_login_is_in_the_url_or_of_a_provider(store: Any, url: str) -> None:
    provider = redis.UsernamePasswordCredentialProvider("user", "secret")
    with pytest.raises(OnlineAccessError, match="has a user or a password, .* -> leave them out there") as raised:
        store.from_url(url, credential_provider=provider)
    assert "secret" not in "".join(traceback.format_exception(raised.value))
    with pytest.raises(OnlineAccessError, match="must be a redis.CredentialProvider, not a str -> give an instance"):
        store.from_url("redis://h", credential_provider="secret")
    assert "secret" not in repr(store.from_url("redis://h", credential_provider=provider)._client)


@STORES
def test_a_url_may_say_what_the_bounds_are(store: Any) -> None:
    usual = store.from_url("redis://h")._client.connection_pool.connection_kwargs
    assert (usual["socket_timeout"], usual["socket_connect_timeout"]) == (5, 5)
    pool = store.from_url("redis://h?socket_timeout=7&max_connections=3")._client.connection_pool
    assert (pool.connection_kwargs["socket_timeout"], pool.max_connections) == (7, 3)


@STORES
def test_a_url_that_switches_checks_off_is_warned_of(store: Any, caplog: pytest.LogCaptureFixture) -> None:
    store.from_url("rediss://h")
    store.from_url("redis://h")
    assert not caplog.records
    store.from_url("rediss://h?ssl_cert_reqs=none")
    store.from_url("rediss://h?ssl_check_hostname=false")
    said = [record.getMessage() for record in caplog.records]
    assert ["(ssl_cert_reqs)" in said[0], "(ssl_check_hostname)" in said[1], len(said)] == [True, True, 2]
