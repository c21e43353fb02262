"""The short form of ``make soak``."""

from __future__ import annotations

import random

from tests.conftest import Database
from tests.soak import Soak

SECONDS = 45


def test_nothing_grows_and_nothing_is_lost(database: Database, redis_url: str, project: str) -> None:
    soak = Soak(database, redis_url, project, SECONDS, seed=random.randrange(1_000_000))
    soak.go_on()
    print(*soak.lines(), sep="\n")
    soak.check()
    assert soak.done["runs"] > SECONDS
    assert soak.done["reads"] > 10 * SECONDS
    assert min(soak.done[name] for name in ("pushes", "deletes", "Redis connections cut", "scripts forgotten")) > 0
