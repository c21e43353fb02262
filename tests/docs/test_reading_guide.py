"""The guide to reading is true: its Python, shell and Node are run as they stand there."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
from typing import Any

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.embedded import packaged_redis_cli

from demo.workplace import PROJECT
from tests.support import node
from tests.support.servers.databases import Database

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GENERATION = "mwz7cnzr"  # in the guide
SHELL_COMMAND = re.compile(r"^\$ redis-cli (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


@pytest.fixture
def guide(redis_url: str, project: str) -> list[tuple[str, str]]:
    """Language and text of each block, on the servers of the test."""
    text = (PROJECT / "docs" / "reading.md").read_text()
    return BLOCK.findall(text.replace("redis://localhost:6379/0", redis_url).replace("flights", project))


@pytest.fixture
def views(
    guide: list[tuple[str, str]], database: Database, offline: OfflineStore, online: OnlineStore
) -> dict[str, Any]:
    """What the first block defines, materialized."""
    database(
        "CREATE TABLE trips AS SELECT 'N14228' AS tailnum, timestamptz '2013-12-31 21:15Z' AS event_timestamp, "
        "'UA' AS carrier, 2 AS dep_delay, 1400::float8 AS distance"
    )
    database(
        "CREATE TABLE weather AS SELECT 'EWR' AS airport, timestamptz '2013-12-31 23:00Z' AS event_timestamp, "
        "30.02::float8 AS temp, NULL::float8 AS wind_gust"
    )
    defined: dict[str, Any] = {}
    assert told(guide[0][1], defined) == ""
    for view in defined.values():
        if isinstance(view, FeatureView):
            materialize(view, offline, online)
    return defined


def told(block: str, names: dict[str, Any]) -> str:
    """What differs from what the block says when it is run."""
    differences: list[str] = []
    test = doctest.DocTestParser().get_doctest(block, names, "docs/reading.md", None, None)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=differences.append, clear_globs=False)
    names.update(test.globs)
    return "".join(differences)


def blocks(guide: list[tuple[str, str]], language: str) -> list[str]:
    found = [text for name, text in guide if name == language]
    assert found
    return found


def test_python(guide: list[tuple[str, str]], views: dict[str, Any]) -> None:
    for block in blocks(guide, "python")[1:]:
        assert told(block, views) == ""


def test_redis_cli(guide: list[tuple[str, str]], views: dict[str, Any], redis_url: str, online: OnlineStore) -> None:
    published = online.generations(views["airport_weather"]).published
    for words, expected in SHELL_COMMAND.findall("".join(blocks(guide, "sh")).replace(GENERATION, published)):
        # As on a terminal, unless the command says otherwise.
        command = [packaged_redis_cli(), "-u", redis_url, "--no-raw", *shlex.split(words)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS), printed


def test_node(guide: list[tuple[str, str]], views: dict[str, Any]) -> None:
    program, heart = blocks(guide, "js")
    (expected,) = blocks(guide, "")
    assert node.run(program) == expected
    assert heart in (node.EXAMPLES / "reading.mjs").read_text()


def test_plain_python(guide: list[tuple[str, str]]) -> None:
    (reader,) = blocks(guide, "py")
    assert (node.EXAMPLES / "msgpack_row.py").read_text().endswith(reader)
