"""Layout ``hash``: one Redis hash per entity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from online_features.common.instants import from_text
from online_features.layouts import keyspace
from online_features.layouts.layout import OwnKeyLayout
from online_features.layouts.row_format import Decoder, RowFormat, column_decoders, each, timestamps
from online_features.layouts.stamps import Stamps
from online_features.resp.commands import CommandForm
from online_features.resp.replies import text
from online_features.schema import Column, RowSchema
from online_features.types import values
from online_features.types.registry import codec_of

if TYPE_CHECKING:
    from online_features.layouts.encoder import Encoder

STAMP_FIELDS = (keyspace.TIMESTAMP_FIELD, keyspace.CREATED_FIELD, keyspace.GONE_FIELD, keyspace.PUSHED_FIELD)


class HashLayout(OwnKeyLayout):
    """Stores a row as a hash, one field per feature that is not NULL."""

    name: ClassVar[str] = "hash"

    @property
    def read_presence(self) -> CommandForm:
        """The command that reads the field that a row has and a tombstone has not."""
        return CommandForm("HEXISTS", (keyspace.TIMESTAMP_FIELD,))

    def is_row(self, reply: Any) -> bool:
        """Return whether the field is there."""
        return reply == 1  # type: ignore[no-any-return]

    def encoder(self, schema: RowSchema, *, is_pushed: bool = False) -> Encoder:
        """Return the encoder of rows."""
        from online_features.layouts.hash._hash_encoder import HashEncoder

        return HashEncoder(self, schema, is_pushed=is_pushed)

    def row_format(
        self,
        columns: Sequence[Column],
        features: Sequence[Column],  # noqa: ARG002
        *,
        numpy_arrays: bool = False,
    ) -> RowFormat:
        """Return how rows are read."""
        return HashFormat(columns, numpy_arrays=numpy_arrays)

    def stored_form(self, features: Sequence[Column]) -> CommandForm:
        """Return the command that reads the fields of a row or a tombstone."""
        return CommandForm("HMGET", (*STAMP_FIELDS, *(feature.name for feature in features)))

    def stamps(self, reply: Any) -> Stamps | None:
        """Return the stamps; fields without a timestamp are not a row."""
        timestamp, created, gone, pushed = reply[: len(STAMP_FIELDS)]
        stored = gone if timestamp is None else timestamp
        if stored is None:
            return None
        flags = (keyspace.TOMBSTONE if timestamp is None else 0) + (keyspace.PUSHED if pushed else 0)
        return Stamps(
            timestamp=from_text(text(stored)), created=from_text(text(created)) if created else None, flags=flags
        )

    def features_in(self, reply: Any) -> Any:
        """Return the event timestamp and the features."""
        return [reply[0], *reply[len(STAMP_FIELDS) :]]


class HashFormat(RowFormat):
    """Reads a row by its fields."""

    def __init__(self, columns: Sequence[Column], *, numpy_arrays: bool) -> None:
        command = CommandForm("HMGET", (keyspace.TIMESTAMP_FIELD, *(column.name for column in columns)))
        timestamp = timestamps(each(lambda stored: from_text(text(stored))))
        features = column_decoders(columns, _decoder, values.damage, numpy_arrays=numpy_arrays)
        super().__init__(command, columns, [timestamp, *features])


def _decoder(column: Column) -> Decoder:
    """Return a decoder of texts, which are bytes, or ``str`` if the user's client has ``decode_responses``."""
    codec = codec_of(column)
    if codec.decodes_bytes:
        return codec.decode_all
    return lambda stored: codec.decode_all(list(map(bytes.decode, stored)) if isinstance(stored[0], bytes) else stored)
