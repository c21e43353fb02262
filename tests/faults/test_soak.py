"""The short form of ``make soak``."""

from __future__ import annotations

import random

from tests.conftest import Database
from tests.support.soak import Soak

SECONDS = 45
LEAST = {
    "runs": SECONDS + 1, "reads": 10 * SECONDS + 1,
    "pushes": 1, "deletes": 1, "Redis connections cut": 1, "scripts forgotten": 1,
}  # fmt: skip


def test_nothing_grows_and_nothing_is_lost(database: Database, redis_url: str, project: str) -> None:
    soak = Soak(database, redis_url, project, SECONDS, seed=random.randrange(1_000_000), least=LEAST)
    soak.go_on()
    print(*soak.lines(), sep="\n")
    soak.check()
