"""Rows of a view, as both stores hold them, put into classes. No I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from online_features.errors import OnlineDataError
from online_features.layouts.layout import RowLayout
from online_features.layouts.row_format import DAMAGE, Row
from online_features.layouts.stamps import Stamps
from online_features.schema import RowSchema
from online_features.types import values
from online_features.verification._judgement import SourceRow, judge, judge_absent
from online_features.verification._values import mismatches
from online_features.verification.report import SkewClass, SkewExample, shown

if TYPE_CHECKING:
    import pyarrow as pa

    from online_features.layouts.encoder import StoredRows

# A row that expires within so many milliseconds may be gone: the clocks of Redis and of this process differ.
EXPIRY_MARGIN = 60_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an entity was found to be.

    :param stamps: of the row online, if there is one that can be read.
    :param offline: the row of the source.
    :param online: the row online.
    :param distances: of the features that differ in a row of class ``different``.
    :param reason: why the row online cannot be read.
    """

    kind: SkewClass
    stamps: Stamps | None = None
    offline: Row | None = None
    online: Row | None = None
    distances: Mapping[str, float | None] = field(default_factory=dict)
    reason: str = ""


class RowExaminer:
    """Decodes rows and compares them.

    :param schema: of the rows of the source, after the transform.
    :param online: the schema of the rows online, whose features may be in another order.
    """

    def __init__(self, layout: RowLayout, schema: RowSchema, *, online: RowSchema) -> None:
        self._layout = layout
        self._schema = schema
        self._offline_format = layout.row_format(schema.features, schema.features)
        self._online_format = layout.row_format(schema.features, online.features)

    def source_rows(self, some: pa.RecordBatch, stored: StoredRows, suspects: Sequence[int]) -> list[SourceRow]:
        """Return what rows of the source are judged by.

        :param some: of the rows that are stored.
        :param suspects: their places among these.
        """
        keys, has_created = len(self._schema.keys), self._schema.created_timestamp is not None
        timestamps = some.column(keys).to_pylist()
        created = some.column(keys + 1).to_pylist() if has_created else [None] * len(timestamps)
        soon = time.time() * 1000 + EXPIRY_MARGIN
        may_be_gone = self._layout.view.feast.key_ttl is not None
        return [
            SourceRow(
                timestamp=timestamp,
                created=written,
                is_deleted=bool(stored.deletes[i]),
                is_expired=may_be_gone or 0 < stored.expiries[i] <= soon,
            )
            for i, timestamp, written in zip(suspects, timestamps, created, strict=True)
        ]

    def examine(self, source: SourceRow, expected: Any, reply: Any) -> Finding:
        """Return what an entity is that the source has.

        :param expected: the reply that its row would give.
        :param reply: of Redis.
        """
        offline = None if source.is_deleted else self._offline_format.row(self._layout.features_in(expected))
        try:
            stamps, online = self._online(reply)
        except DAMAGE as error:
            return Finding(kind=SkewClass.UNREADABLE, offline=offline, reason=str(error))
        if stamps is not None and not (self._layout.holds_stamps or stamps.is_tombstone):
            stamps = replace(stamps, created=source.created)
        are_rows = offline is not None and online is not None
        distances = mismatches(self._schema.features, offline[1], online[1]) if offline and online else {}
        kind = judge(source, stamps, has_same_values=are_rows and not distances)
        return Finding(
            kind=kind,
            stamps=stamps,
            offline=offline,
            online=online,
            distances=distances if kind == SkewClass.DIFFERENT else {},
        )

    def examine_absent(self, reply: Any, *, may_be_pushed: bool) -> Finding | None:
        """Return what an entity is that the source lacks; ``None`` if it is rightly absent.

        :param may_be_pushed: whether a row without a mark may have been pushed.
        """
        try:
            stamps, online = self._online(reply)
        except DAMAGE as error:
            return Finding(kind=SkewClass.UNREADABLE, reason=str(error))
        kind = judge_absent(stamps, may_be_pushed=may_be_pushed)
        return None if kind is None else Finding(kind=kind, stamps=stamps, online=online)

    def example(self, key: bytes, finding: Finding) -> SkewExample:
        """Return an entity with both of its rows, shortened."""
        return SkewExample(
            entity=self._entity(key),
            offline=self._shown(finding.offline),
            online=self._shown(finding.online),
            reason=shown(finding.reason),
        )

    def _online(self, reply: Any) -> tuple[Stamps | None, Row | None]:
        """Return stamps and features of a row; no features of a tombstone.

        :raises Exception: one of :data:`DAMAGE`.
        """
        if isinstance(reply, OnlineDataError):
            raise reply
        stamps = self._layout.stamps(reply)
        if stamps is None or stamps.is_tombstone:
            return stamps, None
        return stamps, self._online_format.row(self._layout.features_in(reply))

    def _entity(self, key: bytes) -> dict[str, Any]:
        texts = self._layout.texts(self._schema.keys, key) or []
        return {
            column.name: shown(values.decode(column, text) if values.is_value(column, text) else text)
            for column, text in zip(self._schema.keys, texts, strict=False)
        }

    def _shown(self, row: Row | None) -> dict[str, Any] | None:
        if row is None:
            return None
        timestamp, features = row
        by_name = {self._layout.view.source.timestamp_field: timestamp, **features}
        return {name: shown(value) for name, value in by_name.items()}
