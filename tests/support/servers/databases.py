"""Databases of tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psycopg2
from sqlalchemy.engine import make_url

# Whether a database holds more than its schema "public".
HOLDS_MORE = """
SELECT EXISTS (SELECT FROM pg_namespace
               WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema'))
    OR EXISTS (SELECT FROM pg_extension WHERE extname <> 'plpgsql')
    OR EXISTS (SELECT FROM pg_language WHERE oid >= 16384 AND lanname <> 'plpgsql')
    OR EXISTS (SELECT FROM pg_cast WHERE oid >= 16384)
    OR EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = mine.oid)
    OR EXISTS (SELECT FROM pg_default_acl)
    OR EXISTS (SELECT FROM pg_event_trigger)
    OR EXISTS (SELECT FROM pg_foreign_data_wrapper)
    OR EXISTS (SELECT FROM pg_publication)
    OR EXISTS (SELECT FROM pg_largeobject_metadata)
    OR mine.datacl IS NOT NULL
FROM pg_database mine
WHERE datname = current_database()
"""

NEW_PUBLIC = """
DROP SCHEMA public CASCADE;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
GRANT USAGE ON SCHEMA public TO public;
"""

END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


class Database:
    """A Postgres database of a test's own."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __call__(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Execute in a transaction of its own and return the rows."""
        with closing(psycopg2.connect(self.uri)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def new_database(postgres_uri: str, encoding: str = "UTF8") -> Iterator[Database]:
    """A database on the server, gone afterwards."""
    of_encoding = "" if encoding == "UTF8" else f"ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'"
    name = f"test_{uuid.uuid4().hex[:12]}"
    with closing(psycopg2.connect(postgres_uri)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"CREATE DATABASE {name} STRATEGY FILE_COPY {of_encoding}")  # half the time of the default
        yield Database(make_url(postgres_uri).set(database=name).render_as_string(hide_password=False))
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


class DatabasePool:
    """Lends databases, each to one test at once; to make one takes five times as long as to empty one."""

    def __init__(self, postgres_uri: str) -> None:
        self._postgres_uri = postgres_uri
        self._empty: list[Database] = []
        self._made = ExitStack()

    def close(self) -> None:
        """Drop all databases."""
        self._made.close()

    @contextmanager
    def one(self) -> Iterator[Database]:
        """Lend an empty database."""
        database = self._empty.pop() if self._empty else self._made.enter_context(new_database(self._postgres_uri))
        yield database
        if _is_emptied(database):
            self._empty.append(database)


def _is_emptied(database: Database) -> bool:
    """Empty a database, unless it holds or keeps back more than is easily removed."""
    name = make_url(database.uri).database
    with closing(psycopg2.connect(database.uri)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(HOLDS_MORE)
        if cursor.fetchone() != (False,):
            return False
        cursor.execute(END_SESSIONS, [name])
        cursor.execute(NEW_PUBLIC)
    return True
