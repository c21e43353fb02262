"""Layout ``json``: one JSON object per entity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from online_features.common.instants import from_text
from online_features.errors import OnlineDataError
from online_features.layouts import keyspace
from online_features.layouts.layout import OwnKeyLayout
from online_features.layouts.row_format import Decoder, RowFormat, column_decoders, each, timestamps
from online_features.layouts.stamps import Stamps
from online_features.resp.commands import CommandForm
from online_features.resp.replies import text
from online_features.schema import Column, RowSchema
from online_features.types import values
from online_features.types.codec import EXACT_JSON
from online_features.types.registry import codec_of

if TYPE_CHECKING:
    from online_features.layouts.encoder import Encoder


# Characters of an object: the stamps, and the digit of the flags.
TIMESTAMP_AT, CREATED_AT = slice(8, 35), slice(60, 87)
FLAGS_AT = 46
HAS_CREATED = f',"{keyspace.CREATED_FIELD}":"'  # follows the flags
ROW_FLAGS = ("0", str(keyspace.PUSHED))


class JsonLayout(OwnKeyLayout):
    """Stores a row as one JSON object, with every feature; NULL is ``null``."""

    name: ClassVar[str] = "json"
    creates_first: ClassVar[bool] = True

    @property
    def read_presence(self) -> CommandForm:
        """The command that reads the flags."""
        return CommandForm("GETRANGE", (str(FLAGS_AT), str(FLAGS_AT)))

    def is_row(self, reply: Any) -> bool:
        """Return whether the flags are those of a row."""
        return text(reply) in ROW_FLAGS

    def encoder(self, schema: RowSchema, *, is_pushed: bool = False) -> Encoder:
        """Return the encoder of rows."""
        from online_features.layouts.json._json_encoder import JsonEncoder

        return JsonEncoder(self, schema, is_pushed=is_pushed)

    def row_format(
        self,
        columns: Sequence[Column],
        features: Sequence[Column],  # noqa: ARG002
        *,
        numpy_arrays: bool = False,
    ) -> RowFormat:
        """Return how rows are read."""
        return JsonFormat(columns, numpy_arrays=numpy_arrays)

    def stored_form(self, features: Sequence[Column]) -> CommandForm:  # noqa: ARG002
        """Return the command that reads a row."""
        return CommandForm("GET")

    def stamps(self, reply: Any) -> Stamps | None:
        """Return the stamps, which are at fixed places."""
        if reply is None:
            return None
        row = text(reply)
        created = from_text(row[CREATED_AT]) if row.startswith(HAS_CREATED, FLAGS_AT + 1) else None
        return Stamps(timestamp=from_text(row[TIMESTAMP_AT]), created=created, flags=int(row[FLAGS_AT]))


def _integer(digits: str) -> int | float:
    # -0 is a float: Python has no such integer.
    return -0.0 if digits == "-0" else int(digits)


ROW = json.JSONDecoder(parse_int=_integer)


def _parsed(decoder: json.JSONDecoder, document: str) -> Any:
    """Decode a document; search for white space around it, which takes time, only if there is some."""
    try:
        value, end = decoder.raw_decode(document)
    except ValueError:
        end = -1
    return value if end == len(document) else decoder.decode(document)


class JsonFormat(RowFormat):
    """Reads a row as one JSON document."""

    def __init__(self, columns: Sequence[Column], *, numpy_arrays: bool) -> None:
        features = column_decoders(columns, _decoder, values.damage, numpy_arrays=numpy_arrays)
        super().__init__(CommandForm("GET"), columns, [timestamps(each(from_text)), *features])
        self._names = [column.name for column in columns]
        self._exact = [column.name for column in columns if codec_of(column).needs_exact_json]
        self._nothing = [None] * len(self._decoders)

    def _parts(self, reply: Any) -> Sequence[Any]:
        if reply is None:
            return self._nothing
        try:
            document = text(reply)
            row = _parsed(ROW, document)
            if self._exact:
                exact = _parsed(EXACT_JSON, document)
                row |= {name: exact.get(name) for name in self._exact}
            if row.get(keyspace.FLAGS_FIELD, 0) & keyspace.TOMBSTONE:
                return self._nothing
            # A producer with an older definition leaves newer features out, which are NULL, as in the other layouts.
            return [row[keyspace.TIMESTAMP_FIELD], *map(row.get, self._names)]
        except values.DAMAGE as error:
            raise OnlineDataError(f"{reply[:50]!r} is not a row of layout json; materialize with full=True") from error

    def _is_absent(self, reply: Any) -> bool:
        return reply is None


def _decoder(column: Column) -> Decoder:
    return each(codec_of(column).decode_json)
