"""Embedded servers take the name of a folder, and make it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import redis
from online_features.embedded import embedded_postgres, embedded_redis


def test_a_folder_may_be_text_and_need_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with embedded_postgres("new/servers") as uri, embedded_redis("new/servers") as url:
        with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        with redis.Redis.from_url(url) as client:
            assert client.ping()
    assert {path.name for path in (tmp_path / "new" / "servers").iterdir()} >= {"postgres", "postgres.log", "redis.log"}
