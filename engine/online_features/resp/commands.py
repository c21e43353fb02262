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
    encoded = _bytes(value)
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

    def on(self, key: Word) -> tuple[Word, ...]:
        """Return the words of the command on a key."""
        return (self.name, key, *self.words)

    def packed(self, key: Word) -> str:
        """Return the command on a key as text, with one character of Latin-1 for each byte.

        Python formats text faster than bytes.
        """
        text = key if isinstance(key, str) and key.isascii() else _bytes(key).decode("latin-1")
        head, tail = self._around_key
        return f"{head}{len(text)}\r\n{text}{tail}"

    @cached_property
    def _around_key(self) -> tuple[str, str]:
        """Return the text before the length of the key, and the text after the key; see :meth:`packed`."""
        head = b"*%d\r\n%b$" % (2 + len(self.words), word(self.name))
        tail = b"".join([b"\r\n", *map(word, self.words)])
        return head.decode("latin-1"), tail.decode("latin-1")


Command: TypeAlias = tuple[CommandForm, Word]  # the form, and the key


@lru_cache(FORMS_KEPT)
def hmget(fields: tuple[Word, ...]) -> CommandForm:
    """Return the form of commands that read these fields of a hash, which every read needs again."""
    return CommandForm("HMGET", fields)


def packed(commands: Iterable[Command]) -> bytes:
    """Return the commands one after the other, ready for the wire."""
    return "".join([form.packed(key) for form, key in commands]).encode("latin-1")


def _bytes(value: Word) -> bytes:
    return value.encode() if isinstance(value, str) else value
