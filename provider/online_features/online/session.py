"""One connection to Redis that a run holds on to."""

from __future__ import annotations

from typing import Any


class Session:
    """One connection to one server, held for as long as a run lasts.

    A lost connection ends the run: a server that has restarted may have lost rows that it had acknowledged.

    :param connection: taken from the user's pool.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.bytes_sent = 0

    def command(self, *words: str | bytes | int) -> Any:
        """The reply to one command."""
        self._connection.send_command(*words)
        return self._connection.read_response()
