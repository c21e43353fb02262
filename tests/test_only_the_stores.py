"""Nothing is contacted but the two stores."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from sqlalchemy.engine import make_url

from tests.support.servers.databases import Database

# Python's own sockets are audited; those that libpq opens are in the process's table.
SCRIPT = """
import json, os, sys
from contextlib import suppress
from pathlib import Path

contacted, looked_up = set(), set()

def audit(event, arguments):
    if event == "socket.connect":
        contacted.add(str(arguments[1]))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        looked_up.add(str(arguments[0]))
    elif event in ("subprocess.Popen", "os.system", "os.exec", "urllib.Request"):
        contacted.add(event)

def opened():
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile, by another thread
            yield os.readlink(file)

def look(_=None):
    sockets = set(opened())
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
            words = line.split()
            if f"socket:[{words[9]}]" in sockets:
                contacted.add(int(words[2].rpartition(":")[2], 16))

sys.addaudithook(audit)
asked = json.load(sys.stdin)

from datetime import UTC, datetime
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize

view = FeatureView(name="view", project=asked["project"], entities=["id"], features=["x"],
                   source=PostgresSource(table="rows", timestamp_field="ts"))
offline, online = OfflineStore(asked["postgres"]), OnlineStore.from_url(asked["redis"])
assert materialize(view, offline, online, on_progress=look).rows_written == 1
assert online.push(view, [{"id": "b", "ts": datetime.now(UTC), "x": 2}], offline=offline).rows_written == 1
assert online.get_online_features(view, [{"id": "b"}])[0].values == {"x": 2}
assert online.delete(view, [{"id": "b"}]) == 1
look()
print(json.dumps([sorted(map(str, contacted)), sorted(looked_up)]))
"""


def test_only_the_stores_are_contacted(database: Database, redis_url: str, project: str) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    postgres, online = make_url(database.uri), make_url(redis_url)
    asked: dict[str, Any] = {"project": project, "postgres": database.uri, "redis": redis_url}
    printed = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(asked), check=True, capture_output=True, text=True
    ).stdout
    contacted, looked_up = json.loads(printed)
    assert set(contacted) == {str(postgres.port), str(online.port), str((online.host, online.port))}
    assert set(looked_up) == {online.host}
