"""Whether both stores work, and what logins lack: check, and errors of connections."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.cli import rights
from online_features.embedded import HOST, reserved_port
from online_features.online.redis.login_rights import may_login

from demo.workplace import PROJECT
from tests.cli.conftest import Run
from tests.support.servers.databases import Database

pytestmark = pytest.mark.servers

PAGE = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
RIGHTS = (PROJECT / "engine" / "online_features" / "cli" / "redis_rights.acl").read_text(encoding="utf-8")
USER, PASSWORD = "limited", "of-a-user"


@pytest.fixture
def limited(client: redis.Redis, redis_url: str) -> Iterator[Callable[..., str]]:
    """Makes a user with some rights, and returns the URL of its login."""

    def make(*words: str) -> str:
        client.execute_command("ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", "+select", *words)
        return redis_url.replace("redis://", f"redis://{USER}:{PASSWORD}@")

    yield make
    client.execute_command("ACL", "DELUSER", USER)


def found(outcome: Any) -> dict[str, tuple[str, str]]:
    return {f"{each['store']} {each['what']}": (each["state"], each["detail"]) for each in outcome.json["checks"]}


def test_the_rights_are_those_of_the_page() -> None:
    blocks = dict(re.findall(r"^\[(\w+)\]\n((?:ACL .*\n)+)", RIGHTS, re.MULTILINE))
    assert blocks.keys() == {"always", "generations", "msgpack", "json", "hash", "feast", rights.OPTIONAL}
    for occasion, lines in blocks.items():
        assert f"```redis {occasion}\n{lines}```" in PAGE


def test_everything_is_well(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, rows: Database
) -> None:
    materialize(trips, offline, online)
    outcome = run("check", "--postgres", rows.uri, "--json")
    told = found(outcome)
    assert outcome.code == 0
    assert told["Redis connection"][0] == told["Postgres connection"][0] == "ok"
    assert told["Redis views"] == ("ok", "1 can be seen")
    assert told["Redis eviction"][0] == "ok"
    assert told["Postgres transactions in flight"] == ("ok", "can be seen")
    assert told["Postgres source of shop:trips"] == ("ok", "table 'rows'")
    for party in rights.PARTIES:
        assert told[f"Redis rights for {party}"][0] == "ok"
    shown = run("check")
    assert shown.code == 0
    assert "not checked -> give --postgres" in shown.out


@pytest.mark.layouts
@pytest.mark.parametrize("party", rights.PARTIES)
def test_each_right_that_a_user_lacks_is_found(
    party: str, layout: str, make_view: Callable[..., FeatureView], limited: Callable[..., str]
) -> None:
    view = make_view(project="shop")
    needed = rights.needed(party, view)
    if not needed:
        assert party == "publishing"
        assert layout == "feast"
        return
    (*others, keyed) = [word for word in needed if word[1:] in rights.ARGUMENTS]
    for lacking in [(), *((each,) for each in needed), tuple(needed)]:
        given = [word for word in needed if word not in lacking]
        with redis.Redis.from_url(limited("+multi", "+discard", *given)) as login:
            told = rights.missing(party, view, partial(may_login, login))
        # Without a command on a key, nothing is known of keys.
        assert told == (needed if lacking == (keyed,) and not others else list(lacking))


def test_what_a_user_lacks_is_told_with_its_grant(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, limited: Callable[..., str]
) -> None:
    materialize(trips, offline, online)
    url = limited("~*", "+@all", "-hdel", "-setnx")
    told = found(run("check", "--json", "--redis", url))
    assert told["Redis rights for materializing"] == ("note", f"lacking -> ACL SETUSER {USER} +hdel")
    assert told["Redis rights for reading"] == ("ok", "complete")
    assert run("check", "--for", "reading", "--redis", url).code == 0
    assert run("check", "--for", "materializing", "--redis", url).code == 1
    told = found(run("check", "--json", "--redis", limited("~*", "+@all", "-setnx")))
    assert told["Redis rights for materializing"] == ("ok", f"complete; optional -> ACL SETUSER {USER} +setnx")


def test_rights_for_a_view_that_the_user_may_not_see(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, limited: Callable[..., str]
) -> None:
    materialize(trips, offline, online)
    url = limited("+multi", "+discard", *rights.needed("reading", trips))
    told = found(run("check", "--for", "reading", "--json", "--redis", url))
    assert told["Redis rights for reading"] == ("problem", "there is no view to check them with -> name project:view")
    told = found(run("check", "shop:trips", "--for", "reading", "--json", "--redis", url))
    assert told["Redis rights for reading"] == ("ok", "complete")
    assert told["Redis rights for watching"][0] == "note"


def test_a_user_who_may_not_ask_is_told_how(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, limited: Callable[..., str]
) -> None:
    materialize(trips, offline, online)
    outcome = run("check", "--json", "--redis", limited("~*", "+@read", "+@hash"))
    told = found(outcome)
    assert outcome.code == 0
    assert told["Redis version"] == ("unknown", "the user may not send INFO -> ACL SETUSER … +info")
    assert told["Redis rights for reading"][0] == "unknown"
    assert "--redis-user NAME" in told["Redis rights for reading"][1]
    assert run("check", "--for", "reading", "--redis", limited("~*", "+@read", "+@hash")).code == 1


def test_an_evicting_policy_is_a_problem(run: Run, client: redis.Redis) -> None:
    client.config_set("maxmemory", "1gb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        outcome = run("check", "--json")
    finally:
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
    assert outcome.code == 1
    state, detail = found(outcome)["Redis eviction"]
    assert state == "problem"
    assert "policy allkeys-lru removes rows when memory is full -> CONFIG SET maxmemory-policy noeviction" in detail


def test_what_a_role_of_postgres_lacks(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, rows: Database
) -> None:
    materialize(trips, offline, online)
    name = f"role_{uuid.uuid4().hex[:12]}"
    rows(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    try:
        uri = re.sub(r"//[^@]*@", f"//{name}:x@", rows.uri)
        outcome = run("check", "--json", "--postgres", uri)
    finally:
        rows(f"DROP ROLE {name}")
    told = found(outcome)
    assert outcome.code == 1
    assert told["Postgres transactions in flight"][0] == "note"
    assert f'GRANT pg_read_all_stats TO "{name}"' in told["Postgres transactions in flight"][1]
    state, detail = told["Postgres source of shop:trips"]
    assert state == "problem"
    assert "permission denied" in detail


def test_both_stores_are_told_when_they_are_away(run: Run) -> None:
    with reserved_port() as port:
        outcome = run("check", "--json", "--redis", f"redis://:canary@{HOST}:{port}/0",
                      "--postgres", f"postgresql://u:canary@{HOST}:{port}/d")  # fmt: skip
    assert outcome.code == 1
    told = found(outcome)
    assert told["Redis connection"][0] == told["Postgres connection"][0] == "problem"
    assert "check host and port, and that Redis runs" in told["Redis connection"][1]
    assert "canary" not in outcome.out + outcome.err


def test_an_unknown_party_is_refused(run: Run) -> None:
    assert "--for nobody is unknown -> choose of materializing, " in run("check", "--for", "nobody").err


def test_a_redis_that_is_away_is_an_error_in_one_line(run: Run) -> None:
    with reserved_port() as port:
        outcome = run("status", "--redis", f"redis://:canary@{HOST}:{port}/0")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Error: the online store, Redis: ")
    assert "-> check host and port, and that Redis runs" in outcome.err
    assert outcome.err.count("\n") == 1
    assert "canary" not in outcome.err


def test_a_wrong_password_is_not_shown(run: Run, redis_url: str) -> None:
    outcome = run("status", "--redis", redis_url.replace("redis://", "redis://nobody:canary@"))
    assert outcome.code == 2
    assert "check user and password of the Redis connection" in outcome.err
    assert "canary" not in outcome.err


@pytest.mark.parametrize("url", ["http://canary", "redis://u:can#ary@h", "canary"])
def test_a_wrong_url_is_not_shown(url: str, run: Run) -> None:
    outcome = run("status", "--redis", url)
    assert outcome.code == 2
    assert "->" in outcome.err
    assert "ary" not in outcome.err


def test_a_redis_is_to_be_named_once(run: Run) -> None:
    assert run("status", ONLINE_FEATURES_REDIS=None).err == (
        "Error: no server is named -> give --redis redis://host:6379/0 or --conn-id, or set ONLINE_FEATURES_REDIS\n"
    )
    two = run("status", "--redis", "redis://h", "--conn-id", "online_store")
    assert "--redis and --conn-id name two servers -> give one of them" in two.err
