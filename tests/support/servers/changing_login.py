"""A user of Redis whose password changes, and a credential provider that knows the one that is valid."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

import redis
from redis.credentials import CredentialProvider


class Given(CredentialProvider):
    """The provider that a test gives to all who find this one by its import path."""

    def __init__(self) -> None:
        self.provider: CredentialProvider | None = None

    def get_credentials(self) -> Any:
        assert self.provider is not None
        return self.provider.get_credentials()


GIVEN = Given()
PATH = f"{__name__}.GIVEN"


class ChangingLogin(CredentialProvider):
    """A user with all rights on servers that know each other.

    :param clients: of the servers, with the right to change users.
    :ivar changes: how often the password has changed.
    :ivar given: passwords that were asked for.
    """

    def __init__(self, clients: Sequence[redis.Redis], name: str = "changing") -> None:
        self.changes = 0
        self.given: list[str] = []
        self._clients = clients
        self._name = name
        self._reply("ACL", "SETUSER", name, "reset", "on", "~*", "&*", "+@all")
        self.change()

    def get_credentials(self) -> tuple[str, str]:
        self.given.append(self._password)
        return self._name, self._password

    def change(self) -> None:
        """Give the user another password, and take away the one before; connections stay open."""
        password = token_hex(8)
        self._reply("ACL", "SETUSER", self._name, "resetpass", f">{password}")
        self._password = password
        self.changes += 1

    def end_connections(self) -> None:
        """Close the user's connections, as managed services do after some hours."""
        self._reply("CLIENT", "KILL", "USER", self._name)

    def expire(self) -> None:
        """Give the user another password, and close the connections."""
        self.change()
        self.end_connections()

    @contextmanager
    def expiring(self, seconds: float = 0.5) -> Iterator[None]:
        """Give the user another password all the time; every second time, close the connections."""
        ended = threading.Event()

        def change() -> None:
            while not ended.wait(seconds):
                (self.expire if self.changes % 2 else self.change)()

        thread = threading.Thread(target=change, name="passwords")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _reply(self, *words: Any) -> None:
        for client in self._clients:
            client.execute_command(*words)  # type: ignore[no-untyped-call]
