"""Layout ``hash``: one Redis hash per entity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from online_features.layouts import keyspace
from online_features.layouts.layout import OwnKeyLayout
from online_features.layouts.row_formats import HashFormat, RowFormat
from online_features.schema import Column, RowSchema

if TYPE_CHECKING:
    from online_features.layouts.encoder import Encoder
    from online_features.layouts.hash.packing import Packing


class HashLayout(OwnKeyLayout):
    """Stores a row as a hash, one field per feature that is not NULL."""

    name: ClassVar[str] = "hash"

    def encoder(self, schema: RowSchema, packing: Packing | None = None) -> Encoder:
        """Return the encoder of rows, which are packed if there is a packing."""
        from online_features.layouts.hash._hash_encoder import HashEncoder

        return HashEncoder(self, schema, packing)

    def packing(self, reply: Callable[..., Any]) -> Packing | None:
        """Return the packing of small hashes that the server takes."""
        from online_features.layouts.hash.packing import packing

        return packing(reply, keyspace.packing_key(self.view))

    def row_format(self, columns: Sequence[Column]) -> RowFormat:
        """Return how rows are read."""
        return HashFormat(self.view.name, columns)
