"""Settings of roles: none of them changes what goes online, or what is appended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import OnlineFeaturesError, SourceError

from tests.conftest import at
from tests.support.online import held
from tests.support.postgres_values import ADDRESS, TYPES, VALUES
from tests.support.servers.databases import Database

MakeView = Callable[..., FeatureView]

# Every value that a role can be given of each setting that takes one of a few.
CHOICES = """
    SELECT name, coalesce(enumvals, '{on,off}') FROM pg_settings
    WHERE vartype IN ('bool', 'enum') AND context IN ('user', 'superuser')
    ORDER BY name
"""
OTHERS = [
    ("extra_float_digits", ["-15", "0"]),
    ("datestyle", ["SQL, DMY", "German", "Postgres, MDY"]),
    ("timezone", ["Asia/Kolkata", "America/St_Johns"]),
    ("timezone_abbreviations", ["India"]),
    ("client_encoding", ["LATIN1", "SQL_ASCII"]),
    ("application_name", ["online_features"]),
]
PER_TRANSACTION = {"transaction_isolation", "transaction_read_only", "transaction_deferrable"}  # no role has them
WRITES_NOTHING = "default_transaction_read_only"

# Not the long one, nor dates that Python cannot be given, so that they could not be appended.
FEATURES = [
    (kind, text) for kind, text, _ in VALUES if len(text) < 1000 and "BC" not in text and "000-01-01" not in text
]


class Role:
    """The role of a database, by a session that keeps the settings that it began with."""

    def __init__(self, cursor: Any, database: str) -> None:
        self._execute, self._fetch = cursor.execute, cursor.fetchall
        self._of = f"ALTER ROLE CURRENT_USER IN DATABASE {database}"

    def choices(self) -> list[tuple[str, list[str]]]:
        self._execute(CHOICES)
        return [choice for choice in self._fetch() if choice[0] not in {*PER_TRANSACTION, WRITES_NOTHING}] + OTHERS

    def has(self, settings: dict[str, str]) -> None:
        self._execute(f"{self._of} RESET ALL")
        for name, value in settings.items():
            self._execute(f"{self._of} SET {name} TO %s", [value])

    def forgets(self, name: str) -> None:
        self._execute("DELETE FROM rows WHERE id = %s", [name])

    def stored(self) -> list[tuple[Any, ...]]:
        self._execute("SELECT rows::text FROM rows ORDER BY id")
        return self._fetch()  # type: ignore[no-any-return]


@pytest.fixture
def role(database: Database) -> Iterator[Role]:
    declared = ", ".join(f'"F {i}" {kind}' for i, (kind, _) in enumerate(FEATURES))
    marks = ", ".join(["%s"] * len(FEATURES))
    database(TYPES + ADDRESS)
    database(f"CREATE TABLE rows (id text UNIQUE, ts timestamptz, {declared})")
    database(f"INSERT INTO rows VALUES ('a', %s, {marks})", at(1), *(text for _, text in FEATURES))
    with closing(psycopg2.connect(database.uri)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield Role(cursor, connection.info.dbname)


def test_no_setting_changes_what_goes_online_or_is_appended(
    role: Role, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    view = make_view()

    def outcome(settings: dict[str, str]) -> Any:
        role.has(settings)
        role.forgets("b")
        try:
            return acted()
        except OnlineFeaturesError as error:
            return error

    def acted() -> Any:
        assert offline.append(view, [{"id": "b", "ts": at(1), **values}]).rows_appended == 1
        assert materialize(view, offline, online, full=True).rows_written == 2
        return offline.describe(view), [held(online, view, name) for name in ("a", "b")], role.stored()

    materialize(view, offline, online)
    values = online.get_online_features(view, [{"id": "a"}])[0].values
    expected = outcome({})
    choices = role.choices()
    assert len(choices) > 80
    # A value of each setting at once: a round takes as long as one setting would.
    for i in range(max(len(values) for _, values in choices)):
        settings = {name: values[i % len(values)] for name, values in choices}
        if outcome(settings) != expected:
            changing = [one for one in settings.items() if outcome(dict([one])) != expected]
            assert changing == []


def test_a_role_whose_transactions_are_read_only_reads(
    role: Role, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    role.has({WRITES_NOTHING: "on"})
    view = make_view()
    assert materialize(view, offline, online).rows_written == 1
    with pytest.raises(SourceError, match="as a role whose transactions are not read-only"):
        offline.append(view, [])
