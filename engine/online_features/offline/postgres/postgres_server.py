"""What a Postgres server says of itself."""

from __future__ import annotations

from dataclasses import dataclass

OLDEST_SUPPORTED = 150000  # server_version_num of Postgres 15


@dataclass(frozen=True, kw_only=True)
class PostgresServer:
    """A Postgres server, and the login of a session.

    :param version: as people write it.
    :param number: ``server_version_num``.
    :param user: the role.
    :param is_standby: whether the server replays another one.
    :param uses_tls: whether the session is encrypted.
    :param sees_sessions: whether the role may see which transactions are in flight.
    """

    version: str
    number: int
    user: str
    database: str
    is_standby: bool
    uses_tls: bool
    sees_sessions: bool

    @property
    def is_supported(self) -> bool:
        """Whether the package is tested with the version or an older one."""
        return self.number >= OLDEST_SUPPORTED
