"""The command, run in this process, on a database of Redis that holds nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView
from online_features.cli.app import app
from typer.testing import CliRunner

from tests.support.servers.databases import Database

OWN_DATABASE = 11  # of Redis; other tests are in 0


@dataclass(frozen=True)
class Outcome:
    """What a command has printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def redis_url(redis_url: str) -> Iterator[str]:
    url = redis_url.rpartition("/")[0] + f"/{OWN_DATABASE}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture
def run(redis_url: str) -> Run:
    """Runs the command; environment variables name the test's Redis."""

    def run(*words: str, stdin: str = "", **environment: str | None) -> Outcome:
        variables = {"ONLINE_FEATURES_REDIS": redis_url, "ONLINE_FEATURES_POSTGRES": None, **environment}
        result = CliRunner().invoke(app, words, input=stdin, env=variables, catch_exceptions=False)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def rows(database: Database) -> Database:
    """Table ``rows``, with twenty entities."""
    database("CREATE TABLE rows (id bigint, ts timestamptz, name text, score float8)")
    database("INSERT INTO rows SELECT i, now() - interval '3 hours', 'n' || i, i / 4.0 FROM generate_series(1, 20) i")
    return database


@pytest.fixture
def trips(rows: Database, make_view: Callable[..., FeatureView]) -> FeatureView:
    return make_view(name="trips", project="shop", layout="msgpack", max_staleness=timedelta(hours=1))
