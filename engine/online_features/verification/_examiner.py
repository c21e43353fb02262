"""Rows of a view, as both stores hold them, put into classes. No I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

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

# The stamps of what is at a key, and of a row its features.
Online: TypeAlias = tuple[Stamps | None, Row | None]


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

    def source_rows(self, rows: pa.RecordBatch, stored: StoredRows) -> list[SourceRow]:
        """Return what rows of the source are judged by.

        :param stored: the same rows, as Redis would hold them.
        """
        keys, has_created = len(self._schema.keys), self._schema.created_timestamp is not None
        timestamps = rows.column(keys).to_pylist()
        created = rows.column(keys + 1).to_pylist() if has_created else [None] * len(timestamps)
        soon = time.time() * 1000 + EXPIRY_MARGIN
        may_be_gone = (stored.expiries > 0) & (stored.expiries <= soon)
        if self._layout.view.feast.key_ttl is not None:
            may_be_gone[:] = True
        columns = (timestamps, created, stored.deletes.tolist(), may_be_gone.tolist())
        return [
            SourceRow(timestamp=timestamp, created=written, is_deleted=is_deleted, is_expired=is_expired)
            for timestamp, written, is_deleted, is_expired in zip(*columns, strict=True)
        ]

    def examine(self, sources: Sequence[SourceRow], expected: Sequence[Any], replies: Sequence[Any]) -> list[Finding]:
        """Return what entities are that the source has.

        :param expected: the replies that their rows would give.
        :param replies: of Redis.
        """
        offline = self._offline_format.rows(list(map(self._layout.features_in, expected)))
        return list(map(self._finding, sources, offline, self._decoded(replies)))

    def examine_absent(self, replies: Sequence[Any], *, may_be_pushed: bool) -> list[Finding | None]:
        """Return what entities are that the source lacks; ``None`` for those that are rightly absent.

        :param may_be_pushed: whether a row without a mark may have been pushed.
        """
        findings: list[Finding | None] = []
        for online in self._decoded(replies):
            if isinstance(online, Exception):
                findings.append(Finding(kind=SkewClass.UNREADABLE, reason=str(online)))
            else:
                stamps, row = online
                kind = judge_absent(stamps, may_be_pushed=may_be_pushed)
                findings.append(None if kind is None else Finding(kind=kind, stamps=stamps, online=row))
        return findings

    def example(self, key: bytes, finding: Finding) -> SkewExample:
        """Return an entity with both of its rows, shortened."""
        return SkewExample(
            entity=self._entity(key),
            offline=self._shown(finding.offline),
            online=self._shown(finding.online),
            reason=shown(finding.reason),
        )

    def _finding(self, source: SourceRow, row: Row, online: Online | Exception) -> Finding:
        offline = None if source.is_deleted else row
        if isinstance(online, Exception):
            return Finding(kind=SkewClass.UNREADABLE, offline=offline, reason=str(online))
        stamps, held = online
        if stamps is not None and not (self._layout.holds_stamps or stamps.is_tombstone):
            stamps = replace(stamps, created=source.created)
        are_rows = offline is not None and held is not None
        distances = mismatches(self._schema.features, offline[1], held[1]) if offline and held else {}
        kind = judge(source, stamps, has_same_values=are_rows and not distances)
        return Finding(
            kind=kind,
            stamps=stamps,
            offline=offline,
            online=held,
            distances=distances if kind == SkewClass.DIFFERENT else {},
        )

    def _decoded(self, replies: Sequence[Any]) -> list[Online | Exception]:
        """Decode what is online, or return why that is not possible; all at once unless one is damaged."""
        try:
            rows = self._online_format.rows(list(map(self._layout.features_in, replies)))
            return [_online(self._layout.stamps(reply), row) for reply, row in zip(replies, rows, strict=True)]
        except DAMAGE:
            return list(map(self._decoded_alone, replies))

    def _decoded_alone(self, reply: Any) -> Online | Exception:
        if isinstance(reply, OnlineDataError):
            return reply
        try:
            stamps = self._layout.stamps(reply)
            return _online(stamps, self._online_format.row(self._layout.features_in(reply)))
        except DAMAGE as error:
            return error

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


def _online(stamps: Stamps | None, row: Row) -> Online:
    """Leave out the features of what is no row."""
    return stamps, None if stamps is None or stamps.is_tombstone else row
