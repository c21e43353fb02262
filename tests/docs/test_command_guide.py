"""The guide to the command shows what its commands print, and tells of all commands and their JSON."""

from __future__ import annotations

import re

import redis
from online_features.cli.app import app

from demo import command_guide
from tests.support.servers.databases import Database

PAGE = command_guide.PAGE.read_text(encoding="utf-8")
OWN_DATABASE = 12  # of Redis; other tests are in 0


def test_the_page_shows_what_its_commands_print(database: Database, redis_url: str) -> None:
    url = redis_url.rpartition("/")[0] + f"/{OWN_DATABASE}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        try:
            command_guide.prepare(database.uri, url)
            found = command_guide.with_outputs(PAGE, postgres=database.uri, redis_url=url)
        finally:
            client.flushdb()
    assert command_guide.comparable(found) == command_guide.comparable(PAGE), "run make docs"
    assert found == PAGE


def test_every_command_is_on_the_page() -> None:
    commands = {command.callback.__name__ for command in app.registered_commands if command.callback}
    table = PAGE.partition("## For programs")[2].partition("| exit code |")[0]
    lines = re.findall(r"^\| (`\w+`[^|]*) \|", table, re.MULTILINE)
    told = {name for line in lines for name in re.findall(r"`(\w+)`", line)}
    assert told == commands
