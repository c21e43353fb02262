"""The extra of an Airflow connection of type ``redis``, validated before anything connects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from online_features.errors import OnlineAccessError

from online_features_provider.hooks.identities import NAMED, OPTIONS, Identity

if TYPE_CHECKING:
    from airflow.sdk import Connection

CERTIFICATE_CHECKS = ("required", "optional", "none")
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
# Options that have no effect without another one, and values of them that are accepted: Airflow's form saves these.
NEEDS: dict[str, dict[str, str]] = {
    "ssl": {"ssl_cert_reqs": "required", "ssl_check_hostname": "false", **dict.fromkeys(TLS_FILES, "")},
    "cluster": {"startup_nodes": ""},
    "sentinels": dict.fromkeys(("sentinel_master", "sentinel_username", "sentinel_password"), ""),
}
TIMEOUTS = ("socket_timeout", "socket_connect_timeout")  # in seconds
NAMES = ("db", "ssl", "ssl_cert_reqs", "ssl_check_hostname", *TLS_FILES, *TIMEOUTS, "cluster", "startup_nodes",
         "sentinels", "sentinel_master", "sentinel_username", "sentinel_password", "credential_provider",
         *sorted(OPTIONS))  # fmt: skip


class RedisExtra:
    """The extra of a connection; its values are texts if the connection is a URI.

    :raises OnlineAccessError: when an option is unknown, invalid or has no effect.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        try:
            is_object = isinstance(json.loads(connection.extra or "{}"), dict)
        except ValueError:
            is_object = False
        if not is_object:
            self._refuse("", "write it as one JSON object")
        # extra_dejson, so that Airflow masks its secrets in logs.
        self._given = {name: value for name, value in connection.extra_dejson.items() if value not in (None, "")}
        for name in self._given:
            if name not in NAMES:
                self._refuse(name, f"correct or remove it; known are {', '.join(NAMES)}")
        self._check_contradictions()

    def login(self) -> dict[str, Any]:
        """Return user and password as options of redis-py; none if an identity logs in."""
        if "credential_provider" in self._given:
            return {}
        return {"username": self._connection.login or None, "password": self._connection.password or None}

    def identity(self) -> Identity | None:
        """Return the identity that logs in without a password, if there is one."""
        kind = self._text("credential_provider")
        if kind is None:
            return None
        user = self._connection.login or None
        if self._connection.password:
            self._refuse("credential_provider", "it gives the password: leave the password of the connection empty")
        if user and not NAMED.get(kind):  # of an import path, and of azure
            self._refuse("credential_provider", "it gives the user, too: leave the login of the connection empty")
        options: dict[str, Any] = {name: self._text(name) for name in NAMED.get(kind, ()) if name in self._given}
        if "cache_name" in NAMED.get(kind, ()):
            if user is None:
                self._refuse("credential_provider", "write the user of Redis into the login of the connection")
            if "cache_name" not in options:
                self._refuse(
                    "credential_provider", f"add cache_name, the name that {kind} has for the cache or cluster"
                )
            options["serverless"] = self.flag("serverless", default=False)
        return Identity(kind=kind, connection=str(self._connection.conn_id), user=user, options=options)

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a boolean option."""
        value = (self._text(name) or str(default)).lower()
        if value not in ("true", "false"):
            self._refuse(name, "write true or false")
        return value == "true"

    def database(self) -> int:
        """Return the number of the database.

        :raises OnlineAccessError: also when it is in the path, which Airflow's Redis hook ignores.
        """
        path = self._connection.schema
        if path not in (None, "", "0") and "db" not in self._given:
            raise OnlineAccessError(
                f"connection {self._connection.conn_id!r}: Airflow ignores the database in a path (/{path}) -> "
                f'write ?db={path} instead, or the extra {{"db": {path}}}'
            )
        return int(self._number("db", int)) if "db" in self._given else 0

    def check_database_of_cluster(self) -> None:
        """Refuse any database but 0, the only one of a cluster."""
        if self.database():
            self._refuse("db", "leave it out: a cluster has database 0 only")

    def nodes(self, name: str, default_port: int) -> tuple[tuple[str, int], ...]:
        """Return hosts and ports of a comma-separated option."""
        given = (self._text(name) or "").split(",")
        return tuple(self._node(name, node.strip(), default_port) for node in given if node.strip())

    def primary(self) -> str:
        """Return the Sentinels' name of the primary."""
        return self._text("sentinel_master") or self._refuse(
            "sentinels", "add sentinel_master, the name by which they know the primary"
        )

    def sentinel_login(self) -> dict[str, Any]:
        """Return user and password of the Sentinels."""
        return {"username": self._text("sentinel_username"), "password": self._text("sentinel_password")}

    def transport(self) -> dict[str, Any]:
        """Return time-outs and TLS as options of redis-py."""
        timeouts = {name: self._number(name, float) for name in TIMEOUTS if name in self._given}
        if not self._uses_tls:
            return timeouts
        check = (self._text("ssl_cert_reqs") or "required").lower()
        if check not in CERTIFICATE_CHECKS:
            self._refuse("ssl_cert_reqs", f"choose one of {', '.join(CERTIFICATE_CHECKS)}")
        checks_name = self.flag("ssl_check_hostname", default=check == "required")
        if checks_name and check == "none":
            self._refuse("ssl_check_hostname", "a name is checked with the certificate: set ssl_cert_reqs to required")
        if "ssl_keyfile" in self._given and "ssl_certfile" not in self._given:
            self._refuse("ssl_keyfile", "add ssl_certfile, the certificate that it is the key of")
        return {
            **timeouts,
            "ssl": True,
            "ssl_cert_reqs": check,
            "ssl_check_hostname": checks_name,
            **{name: self._text(name) for name in TLS_FILES},
        }

    @property
    def _uses_tls(self) -> bool:
        return self.flag("ssl", default=self._connection.conn_type == "rediss")

    def _check_contradictions(self) -> None:
        """Refuse options that have no effect, so that nobody believes that an unencrypted connection uses TLS."""
        if self._connection.conn_type == "rediss" and not self._uses_tls:
            self._refuse("ssl", "rediss:// means TLS: remove it, or write redis://")
        is_set = {
            "ssl": self._uses_tls,
            "cluster": self.flag("cluster", default=False),
            "sentinels": "sentinels" in self._given,
        }
        for needed, options in NEEDS.items():
            for name, by_itself in options.items():
                if not is_set[needed] and name in self._given and str(self._given[name]).lower() != by_itself:
                    cure = "list them in sentinels" if needed == "sentinels" else f"set {needed} to true"
                    self._refuse(name, f"it has no effect without {needed}: {cure}, or remove it")
        kind = str(self._given.get("credential_provider"))
        for name in OPTIONS & self._given.keys() - set(NAMED.get(kind, ())):
            kinds = " or ".join(each for each, options in NAMED.items() if name in options)
            self._refuse(name, f"it has no effect without credential_provider {kinds}: name that one, or remove it")
        if is_set["cluster"] and is_set["sentinels"]:
            self._refuse("sentinels", "a cluster has no Sentinels: leave out one of cluster and sentinels")

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
            self._refuse(name, "write host:port, with commas between several")
        return host, port

    def _refuse(self, name: str, cure: str) -> NoReturn:
        # Without the value: it may be a secret.
        what = f"extra {name!r} of connection" if name else "the extra of connection"
        raise OnlineAccessError(f"{what} {self._connection.conn_id!r} cannot be used -> {cure}")
