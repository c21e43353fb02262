"""The extra of an Airflow connection of type ``redis``: known by name, and checked before anything is connected to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from online_features.errors import OnlineAccessError

if TYPE_CHECKING:
    from airflow.sdk import Connection

CERTIFICATE_CHECKS = ("required", "optional", "none")
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TIMEOUTS = ("socket_timeout", "socket_connect_timeout")  # in seconds
NAMES = ("db", "ssl", "ssl_cert_reqs", "ssl_check_hostname", *TLS_FILES, *TIMEOUTS, "cluster", "startup_nodes",
         "sentinels", "sentinel_master", "sentinel_username", "sentinel_password")  # fmt: skip


class RedisExtra:
    """What the extra says; its values are texts where the connection was given as a URI.

    :raises OnlineAccessError: when something in it is unknown or not understood.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        try:
            is_object = isinstance(json.loads(connection.extra or "{}"), dict)
        except ValueError:
            is_object = False
        if not is_object:
            self._refuse("", "write it as one JSON object")
        # Read by Airflow, which from then on masks its secrets in logs.
        self._given = {name: value for name, value in connection.extra_dejson.items() if value not in (None, "")}
        for name in self._given:
            if name not in NAMES:
                self._refuse(name, f"correct or remove it; known are {', '.join(NAMES)}")

    def flag(self, name: str, *, default: bool) -> bool:
        """Whether something holds."""
        value = (self._text(name) or str(default)).lower()
        if value not in ("true", "false"):
            self._refuse(name, "write true or false")
        return value == "true"

    def database(self) -> int:
        """The database's number.

        :raises OnlineAccessError: also when it stands where Airflow's Redis hook does not look for it.
        """
        path = self._connection.schema
        if path not in (None, "", "0") and "db" not in self._given:
            raise OnlineAccessError(
                f"connection {self._connection.conn_id!r}: Airflow passes over the database in a path (/{path}) -> "
                f'write ?db={path} instead, or the extra {{"db": {path}}}'
            )
        return int(self._number("db", int)) if "db" in self._given else 0

    def check_database_of_cluster(self) -> None:
        """Refuse all databases but the one that a cluster has."""
        if self.database():
            self._refuse("db", "leave it out: a cluster has database 0 only")

    def nodes(self, name: str, default_port: int) -> tuple[tuple[str, int], ...]:
        """Hosts, each with its port or without, separated by commas."""
        given = (self._text(name) or "").split(",")
        return tuple(self._node(name, node.strip(), default_port) for node in given if node.strip())

    def primary(self) -> str:
        """The name by which the Sentinels know the primary."""
        return self._text("sentinel_master") or self._refuse(
            "sentinels", "add sentinel_master, the name by which they know the primary"
        )

    def sentinel_login(self) -> dict[str, Any]:
        """User and password of the Sentinels."""
        return {"username": self._text("sentinel_username"), "password": self._text("sentinel_password")}

    def transport(self) -> dict[str, Any]:
        """Time-outs and TLS, as redis-py takes them."""
        timeouts = {name: self._number(name, float) for name in TIMEOUTS if name in self._given}
        if not self.flag("ssl", default=self._connection.conn_type == "rediss"):
            return timeouts
        check = (self._text("ssl_cert_reqs") or "required").lower()
        if check not in CERTIFICATE_CHECKS:
            self._refuse("ssl_cert_reqs", f"choose one of {', '.join(CERTIFICATE_CHECKS)}")
        return {
            **timeouts,
            "ssl": True,
            "ssl_cert_reqs": check,
            "ssl_check_hostname": self.flag("ssl_check_hostname", default=check == "required"),
            **{name: self._text(name) for name in TLS_FILES},
        }

    def _text(self, name: str) -> str | None:
        value = self._given.get(name)
        return None if value is None else str(value)

    def _number(self, name: str, kind: type[int] | type[float]) -> float:
        try:
            return kind(self._given[name])
        except (TypeError, ValueError):
            self._refuse(name, "write a number")

    def _node(self, name: str, given: str, default_port: int) -> tuple[str, int]:
        try:
            parts = urlsplit(f"//{given}")
            host, port = parts.hostname, parts.port or default_port
        except ValueError:
            host, port = None, default_port
        if host is None or parts.netloc != given or parts.username is not None:
            self._refuse(name, "write host:port, and commas between several")
        return host, port

    def _refuse(self, name: str, cure: str) -> NoReturn:
        # Without the value: it may be a secret.
        what = f"extra {name!r} of connection" if name else "the extra of connection"
        raise OnlineAccessError(f"{what} {self._connection.conn_id!r} cannot be used -> {cure}")
