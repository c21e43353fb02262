"""What a user of Redis may do, found out without doing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
from online_features.online.redis.login_rights import may_login, may_user, refuses_command

pytestmark = pytest.mark.servers

USER, PASSWORD = "asked", "of-a-user"
FIRST_WITH_DRYRUN = 7


@pytest.fixture
def login(client: redis.Redis, redis_url: str) -> Iterator[Callable[..., redis.Redis]]:
    """Makes a user with some rights, and returns a client of its login."""

    def make(*words: str) -> redis.Redis:
        client.execute_command("ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", *words)
        return redis.Redis.from_url(redis_url.replace("redis://", f"redis://{USER}:{PASSWORD}@"))

    yield make
    client.execute_command("ACL", "DELUSER", USER)


def test_a_login_is_asked_without_doing_anything(
    login: Callable[..., redis.Redis], client: redis.Redis, project: str
) -> None:
    commands = [("SET", f"{project}:a", "1"), ("SET", "other", "1"), ("GET", f"{project}:a"), ("TIME",)]
    with login(f"~{project}:*", "+multi", "+discard", "+set", "+time", "+select") as asked:
        may, may_not_key, may_not_command, may_too = may_login(asked, commands) or []
    assert (may, may_too) == ("", "")
    assert may_not_key
    assert not refuses_command(may_not_key)
    assert refuses_command(may_not_command)
    assert not client.exists(f"{project}:a")


def test_a_login_that_may_not_begin_a_transaction_cannot_be_asked(
    login: Callable[..., redis.Redis], client: redis.Redis, project: str
) -> None:
    client.set(f"{project}:a", "kept")
    commands = [("SET", f"{project}:a", "1"), ("DEL", f"{project}:a"), ("GET", f"{project}:a")]
    with login("+get", "+set", "+del", "~*") as asked:
        assert may_login(asked, commands) is None
        assert may_user(asked, USER, commands) is None
    assert client.get(f"{project}:a") == "kept"


def test_a_login_that_may_not_end_its_transaction_is_asked_and_the_client_goes_on(
    login: Callable[..., redis.Redis], client: redis.Redis, project: str
) -> None:
    with login("+multi", "+set", "+get", "+select", "~*") as asked:
        assert may_login(asked, [("SET", f"{project}:a", "1"), ("DEL", f"{project}:a")])[0] == ""  # type: ignore[index]
        assert asked.get(f"{project}:a") is None
    assert not client.exists(f"{project}:a")


def test_another_user_is_asked_where_redis_can_do_that(
    login: Callable[..., redis.Redis], client: redis.Redis, project: str
) -> None:
    login(f"~{project}:*", "+set")
    commands = [("SET", f"{project}:a", "1"), ("SET", "other", "1"), ("GET", f"{project}:a")]
    told = may_user(client, USER, commands)
    if int(client.info()["redis_version"].partition(".")[0]) < FIRST_WITH_DRYRUN:
        assert told is None
        return
    assert told is not None
    assert told[0] == ""
    assert not refuses_command(told[1])
    assert refuses_command(told[2])
    assert may_user(client, "nobody-of-that-name", commands) is None
    assert not client.exists(f"{project}:a")
