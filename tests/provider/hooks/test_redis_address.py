"""What an Airflow connection of type redis says, and what it may not say."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from airflow.providers.redis.get_provider_info import get_provider_info
from airflow.sdk import Connection
from online_features.errors import OnlineAccessError
from online_features_provider.hooks.redis_address import RedisAddress

pytestmark = pytest.mark.oldest


def address(uri: str = "", *, extra: Any = None, **fields: Any) -> RedisAddress:
    if uri:
        return RedisAddress.of(Connection.from_uri(uri, conn_id="online_store"))
    text = extra if isinstance(extra, str) else json.dumps(extra or {})
    return RedisAddress.of(Connection(conn_id="online_store", conn_type="redis", extra=text, **fields))


def test_a_connection_without_an_extra_is_a_server_of_its_own() -> None:
    assert address(host="h", port=1, login="user", password="p@ss") == RedisAddress(
        kind="server", nodes=(("h", 1),), options={"username": "user", "password": "p@ss", "db": 0}
    )
    assert address().nodes == (("localhost", 6379),)


@pytest.mark.parametrize("spelled", [{"ssl": True, "db": 3}, {"ssl": "true", "db": "3", "ssl_ca_certs": ""}])
def test_an_extra_may_be_texts_as_in_a_uri(spelled: Any) -> None:
    options = address(extra=spelled).options
    assert (options["ssl"], options["ssl_cert_reqs"], options["ssl_check_hostname"]) == (True, "required", True)
    assert (options["db"], options["ssl_ca_certs"]) == (3, None)


def test_every_extra_of_tls_and_time_is_handed_on() -> None:
    given = {
        "ssl": True, "ssl_cert_reqs": "optional", "ssl_check_hostname": False, "ssl_ca_certs": "/ca",
        "ssl_certfile": "/cert", "ssl_keyfile": "/key", "socket_timeout": 1.5, "socket_connect_timeout": "2",
    }  # fmt: skip
    options = address(extra=given).options
    assert {name: options[name] for name in given} == {**given, "socket_connect_timeout": 2.0}


def test_tls_follows_from_the_scheme_and_is_off_where_it_is_off() -> None:
    assert address("rediss://h:1").options["ssl"] is True
    assert "ssl_cert_reqs" not in address(extra={"ssl": False, "ssl_cert_reqs": "required"}).options


def test_sentinels_have_ports_and_a_login_of_their_own() -> None:
    found = address(
        host="not-looked-at", password="of the server",
        extra={"sentinels": "a:1, b,[::1]:2", "sentinel_master": "main", "sentinel_username": "s",
               "sentinel_password": "of the sentinels", "ssl": True, "db": 2},
    )  # fmt: skip
    assert (found.kind, found.nodes, found.primary) == ("sentinels", (("a", 1), ("b", 26379), ("::1", 2)), "main")
    assert (found.options["password"], found.options["db"]) == ("of the server", 2)
    assert found.sentinel_options["password"] == "of the sentinels"
    assert found.options["ssl"] is found.sentinel_options["ssl"] is True


def test_a_cluster_is_found_by_any_of_its_nodes() -> None:
    found = address(host="a", extra={"cluster": True, "startup_nodes": "b:1,c"})
    assert (found.kind, found.nodes) == ("cluster", (("a", 6379), ("b", 1), ("c", 6379)))
    assert "db" not in found.options


@pytest.mark.parametrize("extra, message", [
    ("{", "the extra of connection 'online_store' cannot be used -> write it as one JSON object"),
    ("[1]", "one JSON object"),
    ({"sentinel": "a:1"}, "extra 'sentinel' of connection 'online_store' cannot be used -> correct or remove it"),
    ({"ssl": "yes"}, "extra 'ssl' .* -> write true or false"),
    ({"ssl": True, "ssl_cert_reqs": "maybe"}, "choose one of required, optional, none"),
    ({"db": "first"}, "extra 'db' .* -> write a number"),
    ({"socket_timeout": []}, "extra 'socket_timeout' .* -> write a number"),
    ({"sentinels": "a:b", "sentinel_master": "main"}, "extra 'sentinels' .* -> write host:port"),
    ({"sentinels": "redis://a:1", "sentinel_master": "main"}, "write host:port"),
    ({"sentinels": "user:secret@a:1", "sentinel_master": "main"}, "write host:port"),
    ({"sentinels": "a:1"}, "add sentinel_master, the name by which they know the primary"),
    ({"cluster": True, "db": 1}, "extra 'db' .* a cluster has database 0 only"),
    *(
        ({"ssl": off, name: value}, f"extra '{name}' .* has no effect without ssl: set ssl to true, or remove it")
        for off in (None, False, "false")
        for name, value in {
            "ssl_cert_reqs": "none", "ssl_check_hostname": True, "ssl_ca_certs": "/ca", "ssl_certfile": "/cert",
            "ssl_keyfile": "/key",
        }.items()
    ),
    ({"startup_nodes": "a:1"}, "extra 'startup_nodes' .* without cluster: set cluster to true, or remove it"),
    ({"cluster": False, "startup_nodes": "a:1"}, "extra 'startup_nodes' .* without cluster"),
    *(({name: "a"}, f"extra '{name}' .* without sentinels: list them in sentinels, or remove it")
      for name in ("sentinel_master", "sentinel_username", "sentinel_password")),
    ({"sentinels": "a", "sentinel_master": "m", "cluster": True}, "a cluster has no Sentinels"),
    ({"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": True}, "set ssl_cert_reqs to required"),
    ({"ssl": True, "ssl_keyfile": "/key"}, "extra 'ssl_keyfile' .* add ssl_certfile"),
])  # fmt: skip
def test_what_cannot_be_used_is_named_with_its_cure(extra: Any, message: str) -> None:
    with pytest.raises(OnlineAccessError, match=message) as raised:
        address(extra=extra)
    assert "secret" not in str(raised.value)


def test_a_scheme_of_tls_without_tls_is_refused() -> None:
    with pytest.raises(OnlineAccessError, match="extra 'ssl' .* rediss:// means TLS"):
        address("rediss://h:1?ssl=false")


FORM: dict[str, Any] = {
    "db": 0, "ssl": False, "ssl_cert_reqs": "required", "ssl_ca_certs": None, "ssl_keyfile": None, "ssl_certfile": None,
    "ssl_check_hostname": False,
}  # fmt: skip


@pytest.mark.parametrize("kind", [{}, {"cluster": True}])
def test_what_airflows_form_saves_unasked_is_taken(kind: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    (info,) = (info for info in get_provider_info()["connection-types"] if info["connection-type"] == "redis")
    fields = info.get("conn-fields", {})  # which older providers tell in code only
    saved = {**FORM, **{name: field["schema"].get("default") for name, field in fields.items()}}
    assert saved["ssl_check_hostname"] is False
    empty = {name: "" for name, value in saved.items() if value is None}
    for form in (saved, {**saved, **empty}):
        assert "ssl" not in address(extra={**form, **kind}).options
    assert not caplog.records
    # Where a client is made; one of a cluster would connect at once.
    assert (
        address(extra={**saved, "ssl": True}).client(redis).connection_pool.connection_kwargs["ssl_check_hostname"]
        is False
    )
    assert [record.getMessage().count("(ssl_check_hostname)") for record in caplog.records] == [1]


@pytest.mark.parametrize("more", [{}, {"sentinels": "a", "sentinel_master": "m"}])
def test_checks_that_are_switched_off_are_warned_of_once(
    more: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    address(extra={"ssl": True, **more}).client(redis)
    assert not caplog.records
    address(extra={"ssl": True, "ssl_cert_reqs": "none", **more}).client(redis)
    assert [record.getMessage().count("'online_store'") for record in caplog.records] == [1]
    assert "(ssl_cert_reqs) -> set ssl_cert_reqs to required" in caplog.text


def test_no_password_is_shown() -> None:
    extra = {"sentinels": "a", "sentinel_master": "m", "sentinel_password": "canary"}
    assert "canary" not in repr(address(password="canary", extra=extra))
