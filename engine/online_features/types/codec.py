"""Base class of codecs: all that depends on the Postgres type of a value.

A type has one codec; :mod:`~online_features.types.registry` holds them by the names of their types. Casts of whole
Arrow columns are in :mod:`~online_features.types.arrow.coercion`, so that readers need not import Arrow.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from online_features.schema import Encoding
from online_features.types import _printing as printing

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement

# Made once: json.loads with arguments makes a decoder per call.
PLAIN_JSON, EXACT_JSON = json.JSONDecoder(), json.JSONDecoder(parse_float=Decimal)
FLOATING_JSON = json.JSONDecoder(parse_int=float)  # -0 has a sign

# The types of pandas' NULLs, by name: only producers that use pandas have imported it.
NULL_TYPES = frozenset({"NAType", "NaTType"})


class MisfitError(ValueError):
    """A Python value that a type does not hold.

    :param type_name: the type, which may be that of an array's elements.
    """

    def __init__(self, type_name: str, value: Any) -> None:
        super().__init__(type_name, value)
        self.type_name = type_name
        self.value = value


@dataclass(frozen=True, kw_only=True)
class Codec(ABC):
    """How values of one Postgres type go online and come back.

    Each form that a value has, in SQL, text, JSON or an array, is a section below. Values come back as psycopg2 returns
    them for the same column, with these differences, each on purpose: ``bytea`` as ``bytes``; arrays of any type, and
    composites, as lists and dictionaries; ranges as text; dates and timestamps before our era, which psycopg2 cannot
    return at all, as text.

    :param name: of the type, as ``format_type`` prints it without a modifier.
    :param can_be_key: whether it can be the type of a join key: equal values have one text, and different values
        different texts. That holds neither for floats (0.0 and -0.0) nor for intervals (1 day and 24 hours).
    :param is_ordered: whether ``ORDER BY`` takes its values as they are; else they are ordered by their text.
    :param number_format: of numbers, as :mod:`struct` writes it, where MessagePack holds arrays of them as raw numbers.
    """

    name: str
    can_be_key: bool = False
    is_ordered: bool = True
    number_format: str | None = None

    encoding: ClassVar[Encoding]
    accepted: ClassVar[tuple[type, ...]]  # types of the Python values that it encodes
    is_json: ClassVar[bool] = False  # whether the text is JSON as it stands; else it is a string there
    decodes_bytes: ClassVar[bool] = False  # whether decode_all also accepts bytes
    json_decoder: ClassVar[json.JSONDecoder] = PLAIN_JSON  # parses arrays of the type without loss

    @property
    def array_format(self) -> str | None:
        """The format of the numbers in arrays that MessagePack holds as raw numbers; ``None`` if values are no such."""
        return self.number_format if self.encoding in (Encoding.JSON, Encoding.VECTOR) else None

    # SQL

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        """Select the value in a form that the driver returns without loss: itself, or a text made by Postgres."""
        import sqlalchemy as sa

        return sa.cast(value, sa.Text)

    # Python values of producers

    def fitted(self, value: Any) -> Any:
        """Return the value as an accepted type if that loses nothing, else unchanged; ``None`` for NULL."""
        return None if is_null(value) else value

    def accepts(self, value: Any) -> bool:
        """Tell whether a Python value is of a kind that the type holds."""
        return isinstance(value, self.accepted) and not isinstance(value, bool)  # a subclass of int

    # Text

    @abstractmethod
    def encode(self, value: Any) -> str:
        """Write an accepted value as a materialization of the same value would.

        :raises ValueError: or ``ArithmeticError`` or ``TypeError``, when the type does not hold it.
        """

    def encode_key(self, value: Any) -> str:
        """Write the value of a join key: one text for all values that Postgres holds equal."""
        return self.encode(value)

    @abstractmethod
    def decode(self, text: str) -> Any:
        """Read a value.

        :raises Exception: one of :data:`~online_features.types.values.DAMAGE`, when it is not what this package writes.
        """

    def decode_all(self, texts: Sequence[Any]) -> Sequence[Any]:
        """Read a column: at least one value, no NULL; ``str``, or ``bytes`` if the codec decodes them."""
        return list(map(self.decode, texts))

    # JSON: in layout json, where most values are strings with their text

    def decode_json(self, value: Any) -> Any:
        """Read a parsed JSON value that is not NULL; errors are those of :meth:`decode`."""
        return self.decode(as_text(value))

    @property
    def needs_exact_json(self) -> bool:
        """Whether the parser must return decimals instead of floats."""
        return False

    # MessagePack: in layout msgpack, where most values are strings with their text

    def decode_msgpack(self, values: Sequence[Any]) -> Sequence[Any]:
        """Read a column of unpacked values: at least one, none of them nil; errors are those of :meth:`decode`."""
        return self.decode_all(all_of(str, values))

    # JSON as Postgres prints it: in arrays

    def encode_element(self, value: Any) -> str:
        """Write an accepted value as an element; errors are those of :meth:`encode`."""
        return printing.in_json(value)

    def decode_element(self, value: Any) -> Any:
        """Read a parsed element that is not NULL; errors are those of :meth:`decode`."""
        return self.decode(as_text(value))


def is_null(value: Any) -> bool:
    """Tell whether a Python value stands for NULL."""
    is_nan = isinstance(value, float) and value != value  # noqa: PLR0124
    return value is None or is_nan or type(value).__name__ in NULL_TYPES


def as_text(value: Any) -> str:
    """Return the value, which must be a string.

    :raises TypeError: when it is not.
    """
    if type(value) is not str:
        raise TypeError(value)
    return value


def all_of(kind: type, values: Sequence[Any]) -> Sequence[Any]:
    """Return the values if all are exactly of this kind.

    :raises TypeError: when another is among them.
    """
    if set(map(type, values)) != {kind}:
        raise TypeError(values)
    return values


def made_of(characters: bytes, texts: Sequence[Any]) -> Sequence[Any]:
    """Return the texts if all their characters are among these.

    ``int()`` and ``float()`` also accept white space, underscores and digits of other scripts, which Postgres never
    writes; a whole column is validated at once, because that costs little.

    :raises ValueError: when others are among them.
    """
    joined = b"".join(texts) if isinstance(texts[0], bytes) else "".join(texts).encode()
    if joined.translate(None, characters):
        raise ValueError(texts)
    return texts
