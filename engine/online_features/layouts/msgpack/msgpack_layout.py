"""Layout ``msgpack``: one MessagePack array per entity."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from online_features.common.instants import from_microseconds, to_microseconds
from online_features.errors import OnlineDataError
from online_features.layouts import keyspace
from online_features.layouts.layout import EARLIEST, Key, OwnKeyLayout
from online_features.layouts.msgpack.msgpack_format import MsgpackFormat
from online_features.layouts.row_format import RowFormat
from online_features.layouts.stamps import Stamps
from online_features.resp.commands import CommandForm
from online_features.schema import Column, RowSchema

if TYPE_CHECKING:
    from online_features.layouts.encoder import Encoder

# Bytes of a row: the stamps, and the flags.
TIMESTAMP_AT, CREATED_AT = slice(4, 12), slice(13, 21)
FLAGS_AT = 21
ROW_FLAGS = (b"\0", bytes([keyspace.PUSHED]))

STAMP_BYTES = 8


class MsgpackLayout(OwnKeyLayout):
    """Stores a row as one MessagePack array, with every feature by its place; NULL is nil."""

    name: ClassVar[str] = "msgpack"
    is_binary: ClassVar[bool] = True
    creates_first: ClassVar[bool] = True

    @property
    def read_presence(self) -> CommandForm:
        """The command that reads the flags."""
        return CommandForm("GETRANGE", (str(FLAGS_AT), str(FLAGS_AT)))

    def is_row(self, reply: Any) -> bool:
        """Return whether the flags are those of a row."""
        return reply in ROW_FLAGS

    def stamp(self, instant: datetime | None) -> Key:
        """Return the microseconds since the beginning of the year 1, plus 1, in eight bytes; 0 for ``None``."""
        return (0 if instant is None else to_microseconds(instant) + 1).to_bytes(STAMP_BYTES)

    def created(self, stamp: Key) -> datetime | None:
        """Return the instant of a created timestamp, which is 0 if a row has none."""
        return self.instant(stamp) if stamp != bytes(STAMP_BYTES) and stamp else None

    def instant(self, stamp: Key) -> datetime:
        """Return the instant of a stamp; the earliest one for a damaged stamp."""
        number = int.from_bytes(stamp) if isinstance(stamp, bytes) else 0
        try:
            return from_microseconds([number - 1])[0]
        except OverflowError:
            return EARLIEST

    def encoder(self, schema: RowSchema, *, is_pushed: bool = False) -> Encoder:
        """Return the encoder of rows."""
        from online_features.layouts.msgpack._msgpack_encoder import MsgpackEncoder

        return MsgpackEncoder(self, schema, is_pushed=is_pushed)

    def row_format(
        self, columns: Sequence[Column], features: Sequence[Column], *, numpy_arrays: bool = False
    ) -> RowFormat:
        """Return how rows are read."""
        return MsgpackFormat(features, columns, numpy_arrays=numpy_arrays)

    def stored_form(self, features: Sequence[Column]) -> CommandForm:  # noqa: ARG002
        """Return the command that reads a row."""
        return CommandForm("GET")

    def stamps(self, reply: Any) -> Stamps | None:
        """Return the stamps, which are at fixed places."""
        if reply is None:
            return None
        if len(reply) <= FLAGS_AT:
            raise OnlineDataError(f"{reply[:50]!r} is not a row of layout msgpack; materialize with full=True")
        (timestamp,) = from_microseconds([int.from_bytes(reply[TIMESTAMP_AT]) - 1])
        return Stamps(timestamp=timestamp, created=self.created(reply[CREATED_AT]), flags=reply[FLAGS_AT])
