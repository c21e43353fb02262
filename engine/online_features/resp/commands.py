"""Commands that differ only in their key: as words, and as bytes, of which all but the key are encoded once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

Word: TypeAlias = "str | bytes"

FORMS_KEPT = 1000


def word(value: Word) -> bytes:
    """Return one word of a command, ready for the wire."""
    encoded = value.encode() if isinstance(value, str) else value
    return b"$%d\r\n%b\r\n" % (len(encoded), encoded)


@dataclass(frozen=True)
class CommandForm:
    """What commands have in common.

    :param name: of the command, e.g. ``"HMGET"``.
    :param words: that follow the key.
    :param primary: the number of the cluster's primary that gets the command, if its first word is not a key
        (``SCAN``).
    """

    name: str
    words: tuple[Word, ...] = ()
    primary: int | None = None

    @cached_property
    def _head(self) -> bytes:
        return b"*%d\r\n%b" % (2 + len(self.words), word(self.name))

    @cached_property
    def _tail(self) -> bytes:
        return b"".join(map(word, self.words))

    def on(self, key: Word) -> tuple[Word, ...]:
        """Return the words of the command on a key."""
        return (self.name, key, *self.words)

    def packed(self, key: Word) -> bytes:
        """Return the command on a key, ready for the wire."""
        encoded = key.encode() if isinstance(key, str) else key
        return b"%b$%d\r\n%b\r\n%b" % (self._head, len(encoded), encoded, self._tail)


Command: TypeAlias = tuple[CommandForm, Word]  # the form, and the key


@lru_cache(FORMS_KEPT)
def hmget(fields: tuple[Word, ...]) -> CommandForm:
    """Return the form of commands that read these fields of a hash, which every read needs again."""
    return CommandForm("HMGET", fields)


def packed(commands: Iterable[Command]) -> bytes:
    """Return the commands one after the other, ready for the wire."""
    return b"".join([form.packed(key) for form, key in commands])
