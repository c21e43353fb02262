"""Listening for tables that have changed, on a session that costs nothing while nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from secrets import token_hex
from typing import Any

from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict

from online_features.errors import OfflineAccessError
from online_features.offline.notifications import CHANNEL
from online_features.offline.postgres.postgres_failures import translated_listening

TICK_SECONDS = 0.05  # between two reads of notifications: a flood of commits wakes us at most 20 times a second

PROBE_SECONDS = 10.0  # for a notification of our own to arrive, which takes milliseconds where it arrives at all

# A connection that breaks silently is detected within a minute instead of after hours.
SESSION: dict[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


async def changed_tables(conninfo: str) -> AsyncGenerator[frozenset[str], None]:
    """Yield the tables that have changed, as ``"schema.table"``; an empty set first, once no change can be missed.

    :raises OfflineStoreUnavailableError: when Postgres cannot be reached or breaks off.
    :raises OfflineAccessError: when Postgres refuses the login, or a pooler loses notifications.
    """
    with translated_listening():
        session: dict[str, Any] = {**SESSION, **conninfo_to_dict(conninfo)}
        async with await AsyncConnection.connect(**session, autocommit=True) as connection:
            await _check_notified(connection, session)
            if "application_name" not in session:  # after the check: a session of a pooler would keep it
                await connection.execute("SET application_name = 'online_features listener'")
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
            yield frozenset()
            while True:
                yield frozenset([heard.payload async for heard in connection.notifies(stop_after=1)])
                await asyncio.sleep(TICK_SECONDS)


async def _check_notified(connection: AsyncConnection, session: dict[str, Any]) -> None:
    """Send a notification from another session, because a pooler in transaction mode loses them silently."""
    probe = f"{CHANNEL}_{token_hex(8)}"  # a unique channel: it disturbs no one if the pooler's session keeps listening
    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(probe)))
    try:
        async with (
            asyncio.timeout(PROBE_SECONDS),
            await AsyncConnection.connect(**session, autocommit=True) as other,
        ):
            await other.execute("SELECT pg_notify(%s, '')", [probe])
        received = [True async for _ in connection.notifies(timeout=PROBE_SECONDS, stop_after=1)]
    except TimeoutError:
        received = []
    await connection.execute(sql.SQL("UNLISTEN {}").format(sql.Identifier(probe)))
    if not received:
        raise OfflineAccessError(
            "listening for changes: notifications of Postgres do not arrive here, as behind a pooler in transaction "
            "mode -> give the trigger a postgres_conn_id= of its own that leads to Postgres directly, or to a pooler "
            "in session mode that has two sessions for it"
        )
