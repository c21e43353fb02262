"""Codecs of texts, of bytes, and of all types that are written as Postgres prints them."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network
from typing import TYPE_CHECKING, Any
from uuid import UUID

from online_features.schema import Encoding
from online_features.types import _printing as printing
from online_features.types.codec import Codec, all_of, as_text

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement

UUID_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class TextCodec(Codec):
    """Text as it is, or as Postgres prints a value.

    :param is_read_as_text: whether the driver returns the type as text without a cast.
    :param canonical: returns the text that Postgres prints, for a type whose values have several texts.
    """

    is_read_as_text: bool = False
    canonical: Callable[[str], str] | None = None

    encoding = Encoding.TEXT
    accepted = (str, UUID)

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        return value if self.is_read_as_text else super().selected(value)

    def encode(self, value: Any) -> str:
        text = printing.plain(value)
        return text if self.canonical is None else self.canonical(text)

    def decode(self, text: str) -> Any:
        return text

    def decode_all(self, texts: Sequence[str]) -> Sequence[Any]:
        return texts

    def decode_json(self, value: Any) -> Any:
        return as_text(value)

    def encode_element(self, value: Any) -> str:
        return printing.quoted(self.encode(value))


@dataclass(frozen=True, kw_only=True)
class CharacterCodec(TextCodec):
    """Text padded with spaces, which Postgres ignores when it compares."""

    def encode_key(self, value: Any) -> str:
        return self.encode(value).rstrip(" ")


@dataclass(frozen=True, kw_only=True)
class UuidCodec(TextCodec):
    """UUIDs, in lower case."""

    def decode_msgpack(self, values: Sequence[Any]) -> Sequence[Any]:
        return [_uuid(value) for value in all_of(bytes, values)]


@dataclass(frozen=True, kw_only=True)
class InetCodec(TextCodec):
    """Addresses of hosts."""

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        import sqlalchemy as sa

        return sa.func.abbrev(value)  # as Postgres prints it; the cast to text would add "/32"


@dataclass(frozen=True, kw_only=True)
class BytesCodec(Codec):
    """Base64 (RFC 4648) without line breaks."""

    encoding = Encoding.BASE64
    accepted = (bytes, bytearray, memoryview)

    def selected(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        import sqlalchemy as sa

        return sa.func.translate(sa.func.encode(value, "base64"), "\n", "")

    def encode(self, value: Any) -> str:
        return base64.b64encode(bytes(value)).decode()

    def decode(self, text: str) -> Any:
        return base64.b64decode(text, validate=True)

    def decode_msgpack(self, values: Sequence[Any]) -> Sequence[Any]:
        return all_of(bytes, values)

    def encode_element(self, value: Any) -> str:
        return printing.in_json(bytes(value))

    def decode_element(self, value: Any) -> Any:
        return bytes.fromhex(as_text(value).removeprefix("\\x"))


def _uuid(value: bytes) -> str:
    if len(value) != UUID_BYTES:
        raise ValueError(value)
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _inet(text: str) -> str:
    interface = ip_interface(_without_scope(text))
    length = interface.network.prefixlen
    return _address(interface.ip) + (f"/{length}" if length < interface.max_prefixlen else "")


def _cidr(text: str) -> str:
    network = ip_network(_without_scope(text))
    return f"{_address(network.network_address)}/{network.prefixlen}"


def _without_scope(text: str) -> str:
    if "%" in text:
        raise ValueError("Postgres cannot store the scope of an address")
    return text


def _address(address: IPv4Address | IPv6Address) -> str:
    """Print an address; Postgres prints an IPv4 address within an IPv6 one with dots."""
    number = int(address)
    if isinstance(address, IPv6Address) and number >> 16 and number >> 32 in (0, 0xFFFF):
        return f"::{'ffff:' if number >> 32 else ''}{IPv4Address(number & 0xFFFFFFFF)}"
    return str(address)


def _macaddr(text: str) -> str:
    digits = re.sub("[:.-]", "", text).lower()
    if not re.fullmatch("[0-9a-f]{12}", digits):
        raise ValueError(text)
    return _colons(digits)


def _macaddr8(text: str) -> str:
    digits = re.sub("[:.-]", "", text).lower()
    if not re.fullmatch("[0-9a-f]{12}|[0-9a-f]{16}", digits):
        raise ValueError(text)
    return _colons(digits if len(digits) == 16 else f"{digits[:6]}fffe{digits[6:]}")  # noqa: PLR2004


def _colons(digits: str) -> str:
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))


PRINTED = (
    "money", "tsvector", "tsquery", "int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange",
    "int4multirange", "int8multirange", "nummultirange", "tsmultirange", "tstzmultirange", "datemultirange",
    "regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator", "regproc",
    "regprocedure", "regrole", "regtype", "oidvector", "xid8", "tid", "pg_lsn",
)  # fmt: skip

# Postgres has no ORDER BY for these types.
PRINTED_UNORDERED = (
    "xml", "jsonpath", "point", "line", "lseg", "box", "path", "polygon", "circle", "int2vector", "xid", "cid",
    "pg_snapshot", "txid_snapshot", "refcursor", "aclitem",
)  # fmt: skip

TEXTS = (
    TextCodec(name="text", can_be_key=True, is_read_as_text=True),
    TextCodec(name="character varying", can_be_key=True, is_read_as_text=True),
    CharacterCodec(name="character", can_be_key=True, is_read_as_text=True),
    TextCodec(name="name", can_be_key=True),
    TextCodec(name='"char"', can_be_key=True),
    UuidCodec(name="uuid", can_be_key=True, canonical=lambda text: str(UUID(text))),
    InetCodec(name="inet", can_be_key=True, canonical=_inet),
    TextCodec(name="cidr", can_be_key=True, canonical=_cidr),
    TextCodec(name="macaddr", can_be_key=True, canonical=_macaddr),
    TextCodec(name="macaddr8", can_be_key=True, canonical=_macaddr8),
    TextCodec(name="bit", can_be_key=True),
    TextCodec(name="bit varying", can_be_key=True),
    *(TextCodec(name=name) for name in PRINTED),
    *(TextCodec(name=name, is_ordered=False) for name in PRINTED_UNORDERED),
    BytesCodec(name="bytea", can_be_key=True),
)
