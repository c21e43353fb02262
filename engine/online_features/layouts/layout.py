"""Base classes of layouts: how the rows of a feature view are stored in Redis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.resp.commands import CommandForm
from online_features.resp.replies import optional_text, text
from online_features.schema import Column, RowSchema

if TYPE_CHECKING:
    from online_features.layouts.encoder import Encoder
    from online_features.layouts.hash.packing import Packing
    from online_features.layouts.row_format import RowFormat

Key: TypeAlias = "str | bytes"
Keys: TypeAlias = Callable[[Sequence[str]], Key]


class RowLayout(ABC):
    """The rows of one feature view, as a layout stores them.

    Each subclass has a folder of its own, with the file ``<name>.lua``: the layout's functions for scripts (see
    ``common.lua``). Reading needs no Arrow, so what needs it is imported when an encoder is made.

    :cvar name: of the layout, as users write it.
    :cvar expires_rows: whether Redis drops a row at the end of the view's ttl.
    :cvar is_binary: whether keys and values are bytes, which a client must not decode.
    :cvar has_tombstone_keys: whether a tombstone has a key of its own, in the slot of its row.
    :cvar creates_first: whether a row is one string, so that ``SET … NX`` creates it, and scripts are needed only where
        something exists.
    :cvar records_features: whether Redis records the features that rows may have: other views share a row's key, so
        removing a row needs the names of its fields.
    """

    name: ClassVar[str]
    expires_rows: ClassVar[bool] = True
    is_binary: ClassVar[bool] = False
    has_tombstone_keys: ClassVar[bool] = True
    creates_first: ClassVar[bool] = False
    records_features: ClassVar[bool] = False

    def __init__(self, view: FeatureView) -> None:
        self.view = view

    @classmethod
    @cache
    def lua(cls) -> str:
        """Return the Lua source of the layout's functions."""
        return files(cls.__module__.rpartition(".")[0]).joinpath(f"{cls.name}.lua").read_text(encoding="utf-8")

    def key(self, columns: Sequence[Column], texts: Sequence[str]) -> Key:
        """Return the key of one entity's row.

        :param columns: the join keys.
        :param texts: of their values.
        """
        return self.keys(columns)(texts)

    @abstractmethod
    def keys(self, columns: Sequence[Column]) -> Keys:
        """Return :meth:`key` for many entities with these join keys."""

    @abstractmethod
    def pattern(self, columns: Sequence[Column]) -> Key:
        """Return a glob that the keys of all entities match."""

    @abstractmethod
    def texts(self, columns: Sequence[Column], key: Key) -> list[str] | None:
        """Return the texts of the join keys in a key that matches the pattern; ``None`` if it is not the view's."""

    def check_prunable(self, keys: Sequence[Column]) -> None:  # noqa: B027
        """Refuse join keys by which rows cannot be compared with the source; most layouts accept all.

        :raises UnsupportedTypeError: naming the join key.
        """

    @property
    def row_exists(self) -> CommandForm | None:
        """The command that checks whether a key of the view holds a row of it; ``None`` if every key does."""
        return None

    def script_words(self, features: Sequence[str], left: Iterable[str] = ()) -> list[Key]:  # noqa: ARG002
        """Return the first words of every row script: the number of the layout's own words, and those words.

        :param features: of a row that the script writes, in their order.
        :param left: features that have left the view, but that rows may still have.
        """
        return ["0"]

    @abstractmethod
    def encoder(self, schema: RowSchema, packing: Packing | None = None) -> Encoder:
        """Return the encoder of rows."""

    def packing(self, reply: Callable[..., Any]) -> Packing | None:  # noqa: ARG002
        """Return the packing of rows that the server accepts; ``None`` if the layout or the server has none.

        :param reply: sends the words of a command to Redis, and returns its reply, which may be an error.
        """
        return None

    @abstractmethod
    def row_format(self, columns: Sequence[Column]) -> RowFormat:
        """Return how rows are read.

        :param columns: the features to read.
        """

    @abstractmethod
    def tombstone_pattern(self, columns: Sequence[Column]) -> Key:
        """Return a glob that the keys with tombstones match."""

    @abstractmethod
    def tombstone_texts(self, columns: Sequence[Column], key: Key) -> list[str] | None:
        """Return the texts of the join keys in such a key; ``None`` if it is not the view's."""

    @property
    @abstractmethod
    def read_tombstone(self) -> CommandForm:
        """The command that reads the tombstone at such a key."""

    @abstractmethod
    def tombstone_stamps(self, reply: Any) -> tuple[str, str] | None:
        """Return the event timestamp and the created one (or ``""``) of a tombstone; ``None`` for other replies."""


class OwnKeyLayout(RowLayout):
    """A layout in which a key holds one row of one view."""

    def keys(self, columns: Sequence[Column]) -> Keys:  # noqa: ARG002
        """Return the function from the texts of join keys to a key."""
        prefix = keyspace.entity_prefix(self.view)
        return lambda texts: prefix + keyspace.SEPARATOR.join(map(keyspace.escape, texts))

    def pattern(self, columns: Sequence[Column]) -> Key:  # noqa: ARG002
        """Return a glob that the keys of all entities match."""
        return f"{keyspace.entity_prefix(self.view)}*"

    def texts(self, columns: Sequence[Column], key: Key) -> list[str] | None:  # noqa: ARG002
        """Return the texts of the join keys in a key."""
        return keyspace.entity_values(self.view, text(key))

    def tombstone_pattern(self, columns: Sequence[Column]) -> Key:  # noqa: ARG002
        """Return a glob that the keys of all tombstones match."""
        return f"{keyspace.tombstone_prefix(self.view)}*"

    def tombstone_texts(self, columns: Sequence[Column], key: Key) -> list[str] | None:  # noqa: ARG002
        """Return the texts of the join keys in the key of a tombstone."""
        entity = text(key).removeprefix(keyspace.tombstone_prefix(self.view)).removesuffix("}")
        return keyspace.entity_values(self.view, keyspace.entity_prefix(self.view) + entity)

    @property
    def read_tombstone(self) -> CommandForm:
        """The command that reads the tombstone at its key."""
        return CommandForm("HMGET", (keyspace.TIMESTAMP_FIELD, keyspace.CREATED_FIELD))

    def tombstone_stamps(self, reply: Any) -> tuple[str, str] | None:
        """Return the timestamps of a tombstone."""
        timestamp, created = map(optional_text, reply)
        return None if timestamp is None else (timestamp, created or "")
