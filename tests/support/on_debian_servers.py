"""Runs a command against Debian's Postgres and Redis: ``python -m tests.support.on_debian_servers pytest …``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from online_features.embedded import POSTGRES_URI_VARIABLE, REDIS_URL_VARIABLE, embedded_postgres, embedded_redis

from demo.workplace import unwind_on_signals, workplace

POSTGRES = Path("/usr/lib/postgresql/15/bin")
REDIS = Path("/usr/bin")

if __name__ == "__main__":
    unwind_on_signals()
    with (
        workplace("debian") as folder,
        embedded_postgres(folder, POSTGRES) as postgres_uri,
        embedded_redis(folder, REDIS) as redis_url,
    ):
        named = {POSTGRES_URI_VARIABLE: postgres_uri, REDIS_URL_VARIABLE: redis_url}
        sys.exit(subprocess.call([sys.executable, "-m", *sys.argv[1:]], env=os.environ | named))
