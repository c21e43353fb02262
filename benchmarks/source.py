"""The table that is materialized: its columns and rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, NamedTuple

import psycopg2

TABLE, KEY, EVENT, CREATED = "features", "id", "event_timestamp", "created_at"


class Feature(NamedTuple):
    """A column of the table.

    :param value: SQL of entity ``e`` and row of history ``h``.
    :param feast: type in Feast, the default for the Postgres type.
    """

    name: str
    type: str
    value: str
    feast: str


# Type, value and type in Feast. One integer is NULL in every tenth row.
MIXED = (
    ("bigint", "e * 1000003 + h", "Int64"),
    ("integer", "((e + h) % 1000000)::integer", "Int32"),
    ("double precision", "sin(e + h)", "Float64"),
    ("real", "(e + h) / 7::real", "Float32"),
    ("boolean", "(e + h) % 2 = 0", "Bool"),
    ("text", "md5((e + h)::text)", "String"),
    ("varchar(20)", "(ARRAY['new', 'active', 'dormant'])[1 + (e + h) % 3]", "String"),
    ("timestamptz", "timestamptz '2026-01-01 00:00:00+00' + (e % 1000000) * interval '1 second'", "UnixTimestamp"),
    ("numeric(12, 2)", "round((e + h) / 100::numeric, 2)", "Float64"),
    ("integer", "nullif((e + h) % 10, 0)::integer", "Int32"),
)


def mixed(width: int) -> tuple[Feature, ...]:
    """Return ``width`` features, of one type after the other."""
    return tuple(Feature(f"feature_{i}", *kind) for i, kind in enumerate(islice(cycle(MIXED), width)))


def texts(length: int, width: int = 1) -> tuple[Feature, ...]:
    """Return ``width`` features of text, each of ``length`` characters."""
    value = f"left(repeat(md5((e + h)::text), {-(-length // 32)}), {length})"
    return tuple(Feature(f"text_{i}", "text", value, "String") for i in range(width))


def embedding(dimensions: int) -> tuple[Feature, ...]:
    """Return one feature, a vector of floats."""
    value = f"ARRAY(SELECT sin(e * {dimensions} + h + i)::real FROM generate_series(1, {dimensions}) AS i)"
    return (Feature("embedding", "real[]", value, "Array(Float32)"),)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Size and shape of the table.

    :param history: rows per entity, one hour apart.
    """

    entities: int
    history: int = 5
    features: tuple[Feature, ...] = mixed(10)

    @property
    def shape(self) -> dict[str, int]:
        """What distinguishes results of this source from those of another."""
        return {"entities": self.entities, "history": self.history, "features": len(self.features)}

    def load(self, uri: str) -> None:
        """Create and fill the table in the order in which rows arrive in practice: all entities, hour by hour.

        It has the indexes that we recommend: keys and event timestamp, and each timestamp.
        """
        columns = ", ".join(f"{feature.name} {feature.type}" for feature in self.features)
        with session(uri) as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
            cursor.execute(
                f"CREATE TABLE {TABLE} ({KEY} bigint, {EVENT} timestamptz, {CREATED} timestamptz, {columns})"
            )
            for h in range(self.history):
                self._insert(cursor, h, step=1, event=f"now() - interval '{self.history - h} hours'")
            cursor.execute(f"CREATE INDEX ON {TABLE} ({KEY}, {EVENT})")
            cursor.execute(f"CREATE INDEX ON {TABLE} ({CREATED})")
            cursor.execute(f"CREATE INDEX ON {TABLE} ({EVENT})")
            cursor.execute(f"VACUUM ANALYZE {TABLE}")

    def change(self, uri: str, share: float) -> None:
        """Add a newer row for a share of the entities, spread evenly."""
        if share > 0:
            with session(uri) as cursor:
                self._insert(cursor, self.history, step=round(1 / share), event="now()")
                cursor.execute(f"VACUUM ANALYZE {TABLE}")

    def _insert(self, cursor: Any, h: int, *, step: int, event: str) -> None:
        values = ", ".join(feature.value for feature in self.features)
        cursor.execute(
            f"INSERT INTO {TABLE} SELECT e, {event}, now(), {values}"
            f" FROM generate_series(1::bigint, {self.entities}, {step}) AS e, (SELECT {h} AS h) AS row_of_history"
        )


@contextmanager
def session(uri: str) -> Iterator[Any]:
    """Yield a cursor in autocommit mode."""
    with closing(psycopg2.connect(uri)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET maintenance_work_mem = '512MB'")
            yield cursor
