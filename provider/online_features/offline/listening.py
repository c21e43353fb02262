"""Hears which tables have changed, on a session that costs nothing while nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict

from online_features.offline.failures import translated_listening
from online_features.offline.notifications import CHANNEL

TICK_SECONDS = 0.05  # between two looks at what was heard: a flood of commits wakes us no more than 20 times a second

# A connection that is gone without a word is missed within a minute instead of after hours.
SESSION: dict[str, Any] = {
    "application_name": "online_features listener",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


async def changed_tables(uri: str) -> AsyncGenerator[frozenset[str], None]:
    """Yield the tables that have changed, as ``"schema.table"``; first none, as soon as nothing is missed any more.

    :raises OfflineStoreUnavailableError: when Postgres cannot be reached or breaks off.
    :raises OfflineAccessError: when Postgres refuses the login.
    """
    with translated_listening():
        session: dict[str, Any] = {**SESSION, **conninfo_to_dict(uri)}
        async with await AsyncConnection.connect(**session, autocommit=True) as connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
            yield frozenset()
            while True:
                yield frozenset([heard.payload async for heard in connection.notifies(stop_after=1)])
                await asyncio.sleep(TICK_SECONDS)
