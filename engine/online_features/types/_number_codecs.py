"""Codecs of booleans and numbers."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from online_features.schema import Encoding
from online_features.types import _printing as printing
from online_features.types.codec import EXACT_JSON, FLOATING_JSON, Codec, all_of, as_text, made_of

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement

INTEGER_CHARACTERS, FLOAT_CHARACTERS = b"-0123456789", b"+-.0123456789aefin"
EXACT_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?|NaN|-?Infinity")
EXACT_NUMBERS = re.compile(f"(?:(?:{EXACT_NUMBER.pattern}),)*")
INFINITE = ("inf", "-inf", b"inf", b"-inf")

BOOLEANS: dict[str | bytes, bool] = {"true": True, "false": False, b"true": True, b"false": False}


@dataclass(frozen=True, kw_only=True)
class BooleanCodec(Codec):
    """``true`` and ``false``."""

    encoding = Encoding.BOOLEAN
    decodes_bytes = True
    is_json = True
    accepted = (bool,)

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        return value

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)

    def encode(self, value: Any) -> str:
        return "true" if value else "false"

    def decode(self, text: str) -> Any:
        return BOOLEANS[text]

    def decode_all(self, texts: Sequence[Any]) -> Sequence[Any]:
        return list(map(BOOLEANS.__getitem__, texts))

    def decode_json(self, value: Any) -> Any:
        if type(value) is not bool:
            raise TypeError(value)
        return value

    def decode_msgpack(self, values: Sequence[Any]) -> Sequence[Any]:
        return all_of(bool, values)

    decode_element = decode_json


@dataclass(frozen=True, kw_only=True)
class IntegerCodec(Codec):
    """Decimal integers.

    :param bounds: all values of the type.
    """

    bounds: range

    encoding = Encoding.INTEGER
    decodes_bytes = True
    is_json = True
    accepted = (int,)

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        return value

    def fitted(self, value: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
            return int(value)
        return super().fitted(value)

    def encode(self, value: Any) -> str:
        return int.__repr__(value)

    def decode(self, text: str) -> Any:
        return self.decode_all([text])[0]

    def decode_all(self, texts: Sequence[Any]) -> Sequence[Any]:
        return self._bounded(list(map(int, made_of(INTEGER_CHARACTERS, texts))))

    def decode_json(self, value: Any) -> Any:
        if type(value) is not int or value not in self.bounds:
            raise ValueError(value)
        return value

    def decode_msgpack(self, values: Sequence[Any]) -> Sequence[Any]:
        return self._bounded(all_of(int, values))

    def encode_element(self, value: Any) -> str:
        # int() first: for a subclass of int, such as IntEnum, `in` iterates over the range.
        if int(value) not in self.bounds:
            raise ValueError(value)
        return self.encode(value)

    decode_element = decode_json

    def _bounded(self, numbers: Sequence[int]) -> Sequence[int]:
        if min(numbers) not in self.bounds or max(numbers) not in self.bounds:
            raise ValueError(numbers)
        return numbers


@dataclass(frozen=True, kw_only=True)
class OidCodec(IntegerCodec):
    """Unsigned integers, which Postgres writes as strings in JSON."""

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        import sqlalchemy as sa

        return sa.cast(value, sa.BigInteger)

    def encode_element(self, value: Any) -> str:
        return printing.quoted(super().encode_element(value))

    def decode_element(self, value: Any) -> Any:
        return self.decode(as_text(value))


@dataclass(frozen=True, kw_only=True)
class FloatCodec(Codec):
    """Shortest decimals that read back the same; ``nan``, ``inf``, ``-inf``.

    :param is_single: whether it has 32 bits instead of 64.
    """

    is_single: bool

    encoding = Encoding.FLOAT
    decodes_bytes = True
    accepted = (float, int)
    json_decoder = FLOATING_JSON

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        return value

    def fitted(self, value: Any) -> Any:
        # NaN is a value here, not NULL.
        return _rounded(value) if isinstance(value, (Decimal, int)) and not isinstance(value, bool) else value

    def encode(self, value: Any) -> str:
        return repr(float(value))

    def decode(self, text: str) -> Any:
        return self.decode_all([text])[0]

    def decode_all(self, texts: Sequence[Any]) -> Sequence[Any]:
        numbers = list(map(float, made_of(FLOAT_CHARACTERS, texts)))
        if not math.isfinite(sum(numbers)):
            for number, text in zip(numbers, texts, strict=True):
                if math.isinf(number) and text not in INFINITE:
                    raise ValueError(text)
        return numbers

    def decode_json(self, value: Any) -> Any:
        if type(value) is float:
            return value
        return self.decode(repr(value) if type(value) is int else as_text(value))

    def decode_msgpack(self, values: Sequence[Any]) -> Sequence[Any]:
        return all_of(float, values)

    def encode_element(self, value: Any) -> str:
        if not self.is_single:
            return printing.float_in_json(float(value))
        struct.pack("<f", value)  # raises OverflowError when it does not fit
        return printing.float_in_json(float(value), printing.LEAST_SINGLE_WITH_EXPONENT)

    def decode_element(self, value: Any) -> Any:
        return float(value)


@dataclass(frozen=True, kw_only=True)
class NumericCodec(Codec):
    """Exact decimals."""

    encoding = Encoding.NUMERIC
    accepted = (Decimal, int)
    json_decoder = EXACT_JSON

    def fitted(self, value: Any) -> Any:
        return Decimal(float.__repr__(value)) if isinstance(value, float) else super().fitted(value)

    def encode(self, value: Any) -> str:
        return printing.exact(value)

    def encode_key(self, value: Any) -> str:
        trimmed = printing.without_zeros(self.encode(value))  # as trim_scale() does
        return "0" if trimmed == "-0" else trimmed

    def decode(self, text: str) -> Any:
        if EXACT_NUMBER.fullmatch(text) is None:
            raise ValueError(text)
        return Decimal(text)

    def decode_all(self, texts: Sequence[Any]) -> Sequence[Any]:
        if EXACT_NUMBERS.fullmatch(",".join([*texts, ""])) is None:
            raise ValueError(texts)
        return list(map(Decimal, texts))

    def decode_json(self, value: Any) -> Any:
        return self.decode(repr(value) if type(value) in (int, float) else as_text(value))

    def decode_element(self, value: Any) -> Any:
        # JSON has no number for NaN and infinity: they are strings.
        return Decimal(value) if type(value) in (int, Decimal) else self.decode(as_text(value))


def _rounded(value: Decimal | int) -> Any:
    """Round to float; return the value unchanged if it would overflow."""
    try:
        number = float(value)
    except (OverflowError, ValueError):  # a signaling NaN raises ValueError
        return value
    return value if math.isinf(number) and Decimal(value).is_finite() else number


NUMBERS = (
    BooleanCodec(name="boolean", can_be_key=True),
    IntegerCodec(name="smallint", can_be_key=True, bounds=range(-(2**15), 2**15), number_format="h"),
    IntegerCodec(name="integer", can_be_key=True, bounds=range(-(2**31), 2**31), number_format="i"),
    IntegerCodec(name="bigint", can_be_key=True, bounds=range(-(2**63), 2**63), number_format="q"),
    OidCodec(name="oid", can_be_key=True, bounds=range(2**32)),
    FloatCodec(name="real", is_single=True, number_format="f"),
    FloatCodec(name="double precision", is_single=False, number_format="d"),
    NumericCodec(name="numeric", can_be_key=True),
)
