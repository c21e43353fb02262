"""The codec of every Postgres type; adding a type is adding its codec.

Every type of ``pg_catalog`` is served or refused here by name: a test walks ``pg_type`` and fails for a type that is
neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from online_features.schema import ARRAY_SUFFIX, Column, Encoding
from online_features.types._json_codecs import DOCUMENTS, ArrayCodec, CompositeCodec, VectorCodec
from online_features.types._number_codecs import NUMBERS
from online_features.types._text_codecs import TEXTS, TextCodec
from online_features.types._time_codecs import TIMES
from online_features.types.codec import Codec

CODECS = {codec.name: codec for codec in (*NUMBERS, *TIMES, *TEXTS, *DOCUMENTS)}

# Internal types of Postgres, which no feature has.
REFUSED = frozenset({
    "gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
})  # fmt: skip

# Vector types of the extension pgvector, and the format of their numbers, as module struct writes it.
VECTOR_FORMATS = {"vector": "f", "halfvec": "e"}

# Types of event and created timestamps.
TIMESTAMP_TYPES = frozenset(
    codec.name for codec in TIMES if codec.encoding in (Encoding.DATE, Encoding.TIMESTAMP, Encoding.INSTANT)
)


def codec_of(column: Column) -> Codec:
    """Return the codec of a column's type."""
    return _codec(column.type, column.encoding)


def typed_column(name: str, type_name: str) -> Column:
    """Return a column of a type that comes with Postgres, or of an array of such a type."""
    is_array = type_name.endswith(ARRAY_SUFFIX)
    return Column(name, type_name, Encoding.JSON if is_array else _codec(type_name, Encoding.TEXT).encoding)


def element_of(column: Column) -> Column:
    """Return a column for the elements of an array."""
    element = column.type.removesuffix(ARRAY_SUFFIX)
    feast = column.feast.element if column.feast else None
    return Column(column.name, element, _codec(element, Encoding.JSON).encoding, feast)


@lru_cache(maxsize=1024)  # more types than a database has; bounded, because names come from outside
def _codec(name: str, encoding: Encoding) -> Codec:
    """Return the codec of a type; for types of users and extensions, the encoding decides."""
    if name in CODECS:
        return CODECS[name]
    if name.endswith(ARRAY_SUFFIX):
        element = _codec(name.removesuffix(ARRAY_SUFFIX), Encoding.JSON)
        return ArrayCodec(name=name, element=element, is_ordered=False, number_format=element.number_format)
    if encoding == Encoding.VECTOR:
        return VectorCodec(name=name, number_format=VECTOR_FORMATS[_without_schema(name)])
    codec = CompositeCodec if encoding == Encoding.JSON else TextCodec
    return codec(name=name, is_ordered=False)


def _without_schema(name: str) -> str:
    return name.rpartition(".")[2]


@dataclass(frozen=True)
class PostgresType:
    """A type, as ``pg_type`` describes it.

    :param name: as ``format_type`` prints it without a modifier.
    :param typtype: ``b`` base, ``c`` composite, ``d`` domain, ``e`` enum, ``m`` multirange, ``p`` pseudo, ``r`` range.
    :param is_array: whether it is an array type.
    :param is_built_in: whether it comes with Postgres, not with an extension or a user.
    """

    name: str
    typtype: str
    is_array: bool
    is_built_in: bool

    @property
    def encoding(self) -> Encoding | None:
        """How values are written as text; ``None`` when they cannot go online."""
        if self.name in CODECS:
            return CODECS[self.name].encoding
        if self.name in REFUSED or self.typtype == "p":
            return None
        if self.is_array or self.typtype == "c":
            return Encoding.JSON
        if self.typtype == "b" and not self.is_built_in and _without_schema(self.name) in VECTOR_FORMATS:
            return Encoding.VECTOR
        return None if self.is_built_in else Encoding.TEXT

    @property
    def can_be_key(self) -> bool:
        """Whether a column of the type can be a join key."""
        return self.typtype == "e" or (self.name in CODECS and CODECS[self.name].can_be_key)
