"""Layout ``json``: one JSON object per entity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from online_features.layouts.layout import OwnKeyLayout
from online_features.layouts.row_formats import JsonFormat, RowFormat
from online_features.schema import Column, RowSchema

if TYPE_CHECKING:
    from online_features.layouts.encoder import Encoder
    from online_features.layouts.hash.packing import Packing


class JsonLayout(OwnKeyLayout):
    """Stores a row as one JSON object, with every feature; NULL is ``null``."""

    name: ClassVar[str] = "json"

    def encoder(self, schema: RowSchema, packing: Packing | None = None) -> Encoder:  # noqa: ARG002
        """Return the encoder of rows."""
        from online_features.layouts.json._json_encoder import JsonEncoder

        return JsonEncoder(self, schema)

    def row_format(self, columns: Sequence[Column]) -> RowFormat:
        """Return how rows are read."""
        return JsonFormat(self.view.name, columns)
