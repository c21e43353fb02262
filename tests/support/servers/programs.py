"""Programs of the servers that tests start: those of the packages, or of another installation.

``TEST_POSTGRES_PROGRAMS`` and ``TEST_REDIS_PROGRAMS`` name the folders of another one (``make test-debian``).
"""

from __future__ import annotations

import os
from pathlib import Path

from online_features.embedded import packaged_postgres, packaged_redis

POSTGRES = os.environ.get("TEST_POSTGRES_PROGRAMS")
REDIS = os.environ.get("TEST_REDIS_PROGRAMS")


def postgres_programs() -> Path:
    """Return the folder of ``postgres``, ``initdb`` and ``pg_basebackup``."""
    return Path(POSTGRES) if POSTGRES else packaged_postgres()


def redis_programs() -> Path:
    """Return the folder of ``redis-server`` and ``redis-cli``."""
    return Path(REDIS) if REDIS else packaged_redis()
