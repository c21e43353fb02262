"""Layout ``feast``: a row is some fields of the hash that Feast's own online store has for an entity."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from online_features.common.instants import from_text
from online_features.errors import UnsupportedTypeError
from online_features.feature_view import FeatureView
from online_features.layouts.feast import feast_format, feast_values
from online_features.layouts.feast.feast_types import FeastType
from online_features.layouts.keyspace import TOMBSTONE
from online_features.layouts.layout import Key, Keys, RowLayout
from online_features.layouts.row_format import RowFormat, column_decoders, each, timestamps
from online_features.layouts.stamps import Stamps
from online_features.resp.commands import CommandForm
from online_features.resp.replies import text
from online_features.schema import Column, RowSchema

if TYPE_CHECKING:
    from online_features.layouts.encoder import Encoder

GLOB = re.compile(rb"[*?\[\]\\]")


class FeastLayout(RowLayout):
    """Stores a row as Feast does: a key holds the rows that all views of a project have of an entity."""

    name: ClassVar[str] = "feast"
    expires_rows: ClassVar[bool] = False  # Feast's reader decides how long a row may be served
    is_binary: ClassVar[bool] = True
    has_generations: ClassVar[bool] = False
    holds_stamps: ClassVar[bool] = False
    records_features: ClassVar[bool] = True

    def __init__(self, view: FeatureView, generation: str) -> None:
        super().__init__(view, generation)
        self._project = view.project.encode()

    def keys(self, columns: Sequence[Column]) -> Keys:
        """Return the function from the texts of join keys to keys."""
        key_of, project = feast_format.entity_key(columns), self._project
        return lambda texts: [key_of(entity) + project for entity in zip(*texts, strict=True)]

    def pattern(self, columns: Sequence[Column]) -> Key:
        """Return a glob that the keys of all entities match, and some others."""
        prefix = feast_format.key_prefix([column.name for column in columns])
        return GLOB.sub(rb"\\\g<0>", prefix) + b"*" + self._project

    def texts(self, columns: Sequence[Column], key: Key) -> list[str] | None:
        """Return the texts of the join keys in a key."""
        try:
            texts, project = feast_format.entity_texts(columns, key if isinstance(key, bytes) else key.encode())
        except ValueError:
            return None
        return texts if project == self._project else None

    def check_prunable(self, keys: Sequence[Column]) -> None:
        """Refuse times: Feast's keys hold whole seconds only."""
        for key in keys:
            if key.feast == FeastType.UNIX_TIMESTAMP:
                raise UnsupportedTypeError(
                    f"feature view {self.view.name!r}: join key {key.name!r} is a time, of which Feast's keys hold "
                    "whole seconds only, so entities cannot be compared with the source; leave prune=True out"
                )

    @property
    def read_presence(self) -> CommandForm:
        """The command that checks whether a key holds a row of this view beside those of others."""
        return CommandForm("HEXISTS", (feast_format.timestamp_field(self.view.name),))

    def is_row(self, reply: Any) -> bool:
        """Return whether the field is there."""
        return reply == 1  # type: ignore[no-any-return]

    def script_words(self, features: Sequence[str], left: Iterable[str] = ()) -> list[Key]:
        """Return the key's ttl in seconds (0: none), how many fields a row has, and their names; see ``feast.lua``."""
        ttl = self.view.feast.key_ttl
        fields = (feast_format.feature_field(self.view.name, feature) for feature in (*features, *sorted(left)))
        words: list[Key] = [
            str(int(ttl.total_seconds())) if ttl else "0",
            str(len(features) + 1),
            feast_format.tombstone_field(self.view.name),
            feast_format.timestamp_field(self.view.name),
            *fields,
        ]
        return [str(len(words)), *words]

    def encoder(self, schema: RowSchema, *, is_pushed: bool = False) -> Encoder:  # noqa: ARG002
        """Return the encoder of rows; Feast's format has no mark for those pushed."""
        from online_features.layouts.feast._feast_encoder import FeastEncoder

        return FeastEncoder(self, schema)

    def row_format(
        self,
        columns: Sequence[Column],
        features: Sequence[Column],  # noqa: ARG002
        *,
        numpy_arrays: bool = False,
    ) -> RowFormat:
        """Return how rows are read."""
        return FeastFormat(self.view.name, columns, numpy_arrays=numpy_arrays)

    def stored_form(self, features: Sequence[Column]) -> CommandForm:
        """Return the command that reads the fields of this view's row or tombstone."""
        name = self.view.name
        fields = (feast_format.feature_field(name, feature.name) for feature in features)
        return CommandForm("HMGET", (feast_format.timestamp_field(name), feast_format.tombstone_field(name), *fields))

    def stamps(self, reply: Any) -> Stamps | None:
        """Return the stamps; a row has no created timestamp, and nothing marks what was pushed."""
        timestamp, tombstone, *_ = reply
        if timestamp is not None:
            return Stamps(timestamp=feast_values.decode_timestamp(timestamp), created=None)
        if tombstone is None:
            return None
        stamp, _, created = text(tombstone).partition(" ")
        return Stamps(timestamp=from_text(stamp), created=from_text(created) if created else None, flags=TOMBSTONE)

    def features_in(self, reply: Any) -> Any:
        """Return the event timestamp and the features."""
        timestamp, _, *features = reply
        return [timestamp, *features]


class FeastFormat(RowFormat):
    """Reads a row by Feast's fields."""

    def __init__(self, view_name: str, columns: Sequence[Column], *, numpy_arrays: bool) -> None:
        fields = (feast_format.feature_field(view_name, column.name) for column in columns)
        command = CommandForm("HMGET", (feast_format.timestamp_field(view_name), *fields))
        features = column_decoders(columns, feast_values.decoder, feast_values.damage, numpy_arrays=numpy_arrays)
        super().__init__(command, columns, [timestamps(each(feast_values.decode_timestamp)), *features])
