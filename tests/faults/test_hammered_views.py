"""A short run of ``make hammer``."""

from __future__ import annotations

import pytest
import redis

from tests.endurance.hammer import Address, Hammer
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.faults, pytest.mark.layouts("msgpack", "hash", "json")]

SECONDS = 8


def test_no_reader_finds_rows_of_two_builds_nor_a_hole(
    database: Database, redis_url: str, project: str, layout: str
) -> None:
    port = redis.Redis.from_url(redis_url).connection_pool.connection_kwargs["port"]
    figures = Hammer(database, Address((port,)), project, layout).work(SECONDS)
    print(figures)
    assert (figures["mixes"], figures["holes"], figures["failed reads"]) == (0, 0, 0)
    assert figures["vectors"] > 1000
    assert figures["joint publications"] > 2
