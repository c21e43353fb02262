"""Both stores and a view, with calls of few words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from online_features import FeatureView, OfflineStore, OnlineStore, materialize

from tests.support.servers.databases import Database

NOW = datetime.now(UTC)
COLUMNS = "id text, ts timestamptz, created timestamptz DEFAULT clock_timestamp(), gone bool, x int"


def at(minutes: int) -> datetime:
    return NOW - timedelta(days=1) + timedelta(minutes=minutes)


class Stores:
    """Both stores and a view, with calls of few words."""

    def __init__(self, database: Database, online: OnlineStore, view: FeatureView) -> None:
        self.database, self.online, self.view = database, online, view
        self.offline = OfflineStore(database.uri)

    def insert(self, name: str, minutes: int, x: int) -> None:
        self.database("INSERT INTO rows (id, ts, x) VALUES (%s, %s, %s)", name, at(minutes), x)

    def push(self, name: str, minutes: int, x: int | None, **columns: Any) -> None:
        self.online.push(self.view, [{"id": name, "ts": at(minutes), "x": x, **columns}])

    def run(self, **options: Any) -> Any:
        return materialize(self.view, self.offline, self.online, **options)

    def x(self, *names: str, **options: Any) -> list[Any]:
        rows = self.online.get_online_features(self.view, [{"id": name} for name in names], **options)
        return [row.values["x"] for row in rows]
