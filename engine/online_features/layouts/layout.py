"""Base classes of layouts: how the rows of a feature view are stored in Redis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from online_features.common.instants import from_text, to_text
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.resp.commands import CommandForm
from online_features.resp.replies import text
from online_features.schema import Column, RowSchema

if TYPE_CHECKING:
    from online_features.layouts.encoder import Encoder
    from online_features.layouts.row_format import RowFormat
    from online_features.layouts.stamps import Stamps

EARLIEST = datetime.min.replace(tzinfo=UTC)

Key: TypeAlias = "str | bytes"
# From the texts of each join key to the keys of all entities.
Keys: TypeAlias = Callable[[Sequence[Sequence[str]]], Sequence[Key]]


class RowLayout(ABC):
    """The rows of one generation of a feature view, as a layout stores them.

    Each subclass has a folder of its own, with the file ``<name>.lua``: the layout's functions for scripts (see
    ``common.lua``). Reading needs no Arrow, so what needs it is imported when an encoder is made.

    :cvar name: of the layout, as users write it.
    :cvar expires_rows: whether Redis drops a row at the end of the view's ttl.
    :cvar is_binary: whether keys and values are bytes, which a client must not decode.
    :cvar has_generations: whether each generation has keys of its own.
    :cvar creates_first: whether a row is one string, so that ``SETNX`` creates it, and scripts are needed only where
        something exists.
    :cvar holds_stamps: whether a row holds its created timestamp, and a mark if it was pushed.
    :cvar records_features: whether Redis records the features that rows may have: other views share a row's key, so
        removing a row needs the names of its fields.
    """

    name: ClassVar[str]
    expires_rows: ClassVar[bool] = True
    is_binary: ClassVar[bool] = False
    has_generations: ClassVar[bool] = True
    creates_first: ClassVar[bool] = False
    holds_stamps: ClassVar[bool] = True
    records_features: ClassVar[bool] = False

    def __init__(self, view: FeatureView, generation: str) -> None:
        self.view = view
        self.generation = generation

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
        (key,) = self.keys(columns)([[text] for text in texts])
        return key

    @abstractmethod
    def keys(self, columns: Sequence[Column]) -> Keys:
        """Return the function that makes :meth:`key` for many entities with these join keys."""

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
    @abstractmethod
    def read_presence(self) -> CommandForm:
        """The command that reads what tells whether a key holds a row, not a tombstone; see :meth:`is_row`."""

    @abstractmethod
    def is_row(self, reply: Any) -> bool:
        """Return whether the reply to :attr:`read_presence` shows a row of the view."""

    def stamp(self, instant: datetime | None) -> Key:
        """Return an instant in the form that scripts compare; ``None`` stands for no created timestamp."""
        return "" if instant is None else to_text(instant)

    def created(self, stamp: Key) -> datetime | None:
        """Return the instant of a created timestamp, of which a row may have none."""
        return self.instant(stamp) if stamp else None

    def instant(self, stamp: Key) -> datetime:
        """Return the instant of a stamp: the inverse of :meth:`stamp`; the earliest one for a damaged stamp."""
        try:
            return from_text(text(stamp))
        except ValueError:
            return EARLIEST

    def script_words(self, features: Sequence[str], left: Iterable[str] = ()) -> list[Key]:  # noqa: ARG002
        """Return the first words of every row script: the number of the layout's own words, and those words.

        :param features: of a row that the script writes, in their order.
        :param left: features that have left the view, but that rows may still have.
        """
        return ["0"]

    @abstractmethod
    def encoder(self, schema: RowSchema, *, is_pushed: bool = False) -> Encoder:
        """Return the encoder of rows.

        :param is_pushed: whether a producer has pushed the rows, which marks them.
        """

    @abstractmethod
    def row_format(
        self, columns: Sequence[Column], features: Sequence[Column], *, numpy_arrays: bool = False
    ) -> RowFormat:
        """Return how rows are read.

        :param columns: the features to read.
        :param features: all that rows have, in their order.
        :param numpy_arrays: whether arrays of numbers come as NumPy arrays, read-only and in their own width, not as
            lists.
        """

    @abstractmethod
    def stored_form(self, features: Sequence[Column]) -> CommandForm:
        """Return the command that reads all of a row: its stamps, and its features in their order."""

    @abstractmethod
    def stamps(self, reply: Any) -> Stamps | None:
        """Return the stamps in a reply to :meth:`stored_form`; ``None`` if the key holds neither a row nor a tombstone.

        :raises Exception: one of :data:`.row_format.DAMAGE`.
        """

    def features_in(self, reply: Any) -> Any:
        """Return the part of a reply to :meth:`stored_form` from which :meth:`row_format` reads all features."""
        return reply


class OwnKeyLayout(RowLayout):
    """A layout in which a key holds one row of one generation of a view."""

    def keys(self, columns: Sequence[Column]) -> Keys:  # noqa: ARG002
        """Return the function from the texts of join keys to keys."""
        prefix = keyspace.entity_prefix(self.view, self.generation)

        def keys(texts: Sequence[Sequence[str]]) -> Sequence[Key]:
            entities, *others = map(keyspace.escape_all, texts)
            if others:
                entities = list(map(keyspace.SEPARATOR.join, zip(entities, *others, strict=True)))
            return [f"{prefix}{entity}}}" for entity in entities]

        return keys

    def pattern(self, columns: Sequence[Column]) -> Key:  # noqa: ARG002
        """Return a glob that the keys of all entities match."""
        return f"{keyspace.entity_prefix(self.view, self.generation)}*"

    def texts(self, columns: Sequence[Column], key: Key) -> list[str] | None:  # noqa: ARG002
        """Return the texts of the join keys in a key; ``None`` if it is not UTF-8."""
        try:
            return keyspace.entity_values(self.view, self.generation, text(key))
        except UnicodeDecodeError:
            return None
