"""Codecs of JSON, composites and arrays."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from online_features.common.instants import to_text
from online_features.schema import Encoding
from online_features.types import _printing as printing
from online_features.types.codec import EXACT_JSON, FLOATING_JSON, NULL_TYPES, PLAIN_JSON, Codec, MisfitError, all_of
from online_features.types.number_arrays import as_lists
from online_features.types.shortest import shortest

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement


@dataclass(frozen=True, kw_only=True)
class JsonCodec(Codec):
    """JSON that keeps the order of fields and the form of numbers."""

    encoding = Encoding.JSON
    is_json = True
    accepted = (object,)
    comma, colon = ", ", ": "

    def accepts(self, value: Any) -> bool:  # noqa: ARG002 - encode() raises for what JSON cannot hold
        return True

    def encode(self, value: Any) -> str:
        if type(value).__name__ in NULL_TYPES:
            return "null"  # before the match: NaT is a datetime
        value = value.tolist() if hasattr(value, "tolist") else value  # of NumPy
        if isinstance(value, Mapping):
            fields = self._ordered((str(name), self.encode(item)) for name, item in value.items())
            return "{" + self.comma.join(f"{printing.quoted(name)}{self.colon}{text}" for name, text in fields) + "}"
        if isinstance(value, (list, tuple)):
            return "[" + self.comma.join(map(self.encode, value)) + "]"
        return self._scalar(value)

    def decode(self, text: str) -> Any:
        return PLAIN_JSON.decode(text)

    def decode_json(self, value: Any) -> Any:
        return value

    def encode_element(self, value: Any) -> str:
        return self.encode(value)

    def decode_element(self, value: Any) -> Any:
        return value

    def _ordered(self, fields: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
        return fields

    def _scalar(self, value: Any) -> str:
        match value:
            case float() | Decimal():
                number = Decimal(float.__repr__(value)) if isinstance(value, float) else value
                if not number.is_finite():
                    raise ValueError(f"JSON has no number {value}")
                return self._number(value, number)
            case datetime():
                return printing.quoted(to_text(value) if printing.is_aware(value) else printing.naive(value))
        return printing.in_json(value)

    def _number(self, value: float | Decimal, number: Decimal) -> str:
        return float.__repr__(value) if isinstance(value, float) else format(number, "f")


@dataclass(frozen=True, kw_only=True)
class JsonbCodec(JsonCodec):
    """JSON with the shortest names first and numbers without exponents."""

    def _ordered(self, fields: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
        return sorted(fields, key=lambda field: (len(field[0].encode()), field[0].encode()))

    def _number(self, value: float | Decimal, number: Decimal) -> str:  # noqa: ARG002
        return format(number, "f")


@dataclass(frozen=True, kw_only=True)
class CompositeCodec(JsonCodec):
    """Composites, and elements of arrays of user-defined types: only their JSON form is known."""

    comma, colon = ",", ":"

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        return _to_json(value)

    def _scalar(self, value: Any) -> str:
        return printing.in_json(value)


@dataclass(frozen=True, kw_only=True)
class ArrayCodec(Codec):
    """Arrays of any number of dimensions, as Postgres prints them in JSON.

    :param element: codec of the elements.
    """

    element: Codec

    encoding = Encoding.JSON
    is_json = True
    accepted = (list, tuple)

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        return _to_json(value)

    def fitted(self, value: Any) -> Any:
        return [self._fitted_item(item) for item in value] if self.accepts(value) else super().fitted(value)

    def encode(self, value: Any) -> str:
        if self.element.encoding != Encoding.JSON and not _is_rectangular(value):
            raise MisfitError(self.name, value)
        return f"[{','.join(map(self._encoded_item, value))}]"

    def decode(self, text: str) -> Any:
        return self.decode_json(self.element.json_decoder.decode(text))

    def decode_json(self, value: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(value)
        return value if self.element.encoding == Encoding.JSON else self._decoded_item(value)

    def decode_msgpack(self, values: Sequence[Any]) -> Sequence[Any]:
        return _decoded_arrays(self, values)

    @property
    def needs_exact_json(self) -> bool:
        return self.element.json_decoder is EXACT_JSON

    def _fitted_item(self, item: Any) -> Any:
        item = item.tolist() if hasattr(item, "tolist") else item  # of NumPy
        if isinstance(item, (list, tuple)) and self.element.encoding != Encoding.JSON:
            return [self._fitted_item(inner) for inner in item]
        return self.element.fitted(item)

    def _encoded_item(self, item: Any) -> str:
        if item is None:
            return "null"
        if isinstance(item, (list, tuple)) and self.element.encoding != Encoding.JSON:
            return f"[{','.join(map(self._encoded_item, item))}]"
        if not self.element.accepts(item):
            raise MisfitError(self.element.name, item)
        try:
            return self.element.encode_element(item)
        except (ValueError, ArithmeticError, TypeError) as error:
            raise MisfitError(self.element.name, item) from error

    def _decoded_item(self, item: Any) -> Any:
        if isinstance(item, list):
            return [self._decoded_item(inner) for inner in item]
        return None if item is None else self.element.decode_element(item)


@dataclass(frozen=True, kw_only=True)
class VectorCodec(Codec):
    """Vectors of the extension pgvector, which prints them as JSON."""

    encoding = Encoding.VECTOR
    is_json = True
    accepted = (list, tuple)
    json_decoder = FLOATING_JSON

    def fitted(self, value: Any) -> Any:
        return value.tolist() if hasattr(value, "tolist") else super().fitted(value)  # of NumPy

    def encode(self, value: Any) -> str:
        return f"[{','.join(map(self._encoded_number, value))}]"

    def decode(self, text: str) -> Any:
        return self.decode_json(self.json_decoder.decode(text))

    def decode_json(self, value: Any) -> Any:
        if not isinstance(value, list) or not {float, int}.issuperset(map(type, value)):
            raise TypeError(value)
        return list(map(float, value))

    def decode_msgpack(self, values: Sequence[Any]) -> Sequence[Any]:
        return _decoded_arrays(self, values)

    def _encoded_number(self, number: Any) -> str:
        if isinstance(number, bool) or not isinstance(number, (float, int)) or not math.isfinite(number):
            raise MisfitError(self.name, number)
        narrow = f"<{self.number_format}"
        (held,) = struct.unpack(narrow, struct.pack(narrow, number))  # raises OverflowError when it does not fit
        return printing.in_json(shortest(held))


def _decoded_arrays(codec: Codec, values: Sequence[Any]) -> Sequence[Any]:
    """Read arrays as MessagePack holds them: as raw numbers where the codec says so, else as JSON."""
    if codec.number_format is None:
        return codec.decode_all(all_of(str, values))
    lists = iter(as_lists(codec.number_format, [value for value in values if type(value) is not str]))
    return [codec.decode(value) if type(value) is str else next(lists) for value in values]


def _is_rectangular(items: Sequence[Any]) -> bool:
    """Tell whether all lists at the same depth have the same length."""
    parts = [item for item in items if isinstance(item, (list, tuple))]
    if not parts:
        return True
    is_even = len(parts) == len(items) and len({len(part) for part in parts}) == 1
    return is_even and _is_rectangular([item for part in parts for item in part])


def _to_json(value: ColumnElement[Any]) -> ColumnElement[Any]:
    import sqlalchemy as sa

    return sa.cast(sa.func.to_json(value), sa.Text)


DOCUMENTS = (JsonCodec(name="json", is_ordered=False), JsonbCodec(name="jsonb"))
