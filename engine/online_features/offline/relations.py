"""The relations behind a source, and changes of them that increments would miss.

An increment finds rows by their timestamps. Some changes leave no timestamp: a table is truncated and loaded again, a
materialized view is refreshed, a partition is attached, a row is updated in place. The catalog and the statistics of
Postgres show them, so each run notes those and the next one compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from online_features.source_note import RelationNote, SourceNote

KINDS = {"r": "table", "p": "table", "m": "materialized view", "f": "foreign table", "v": "view"}
REPLACED = {"m": "refreshed", "v": "redefined"}  # how rows of that kind are replaced as a whole; of others, below


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A table, materialized view, foreign table or view; see ``relations.sql``."""

    oid: int
    schema: str
    name: str
    kind: str
    version: str
    size: int
    inserted: int
    updated: int
    deleted: int
    live: int
    is_part: bool
    bound: str | None
    is_readable: bool
    is_subscribed: bool
    is_source: bool
    is_by_entity: bool

    def __str__(self) -> str:
        return f"{KINDS[self.kind]} {self.schema}.{self.name}"

    @property
    def shows_rows_late(self) -> bool:
        """Whether its rows become visible later than they were created, through transactions that we cannot see."""
        return self.kind in "mf" or self.is_subscribed

    @property
    def note(self) -> RelationNote:
        """The facts that the next run compares with what it finds."""
        return RelationNote(
            version=self.version, inserted=self.inserted, updated=self.updated, deleted=self.deleted, live=self.live
        )


@dataclass(frozen=True, kw_only=True)
class SourceRelations:
    """The relations that a source reads, as one transaction sees them.

    :param snapshot: of the transaction, as ``pg_current_snapshot()`` prints it.
    """

    relations: Sequence[Relation]
    snapshot: str

    @property
    def late(self) -> list[str]:
        """Relations whose rows become visible later than they were created, in words."""
        return [
            f"{relation}, which logical replication writes" if relation.is_subscribed else str(relation)
            for relation in self.relations
            if relation.shows_rows_late
        ]

    @property
    def is_one_table(self) -> bool:
        """Whether the source is one table, with its partitions and children."""
        return all(relation.kind in "rp" for relation in self.relations) and any(
            relation.is_source for relation in self.relations
        )

    @property
    def is_by_entity(self) -> bool:
        """Whether a unique index proves that the source has at most one row per entity."""
        holding = [relation for relation in self.relations if relation.kind in "rm"]
        is_alone = self.is_one_table or len(self.relations) == 1
        return is_alone and all(relation.is_by_entity for relation in holding)

    @property
    def size(self) -> int:
        """Bytes of all tables."""
        return sum(relation.size for relation in self.relations)

    def replaced_since(self, note: SourceNote) -> str:
        """Return why rows may have been replaced without new timestamps, or an empty text."""
        for relation, before in self._known(note):
            if before.version != relation.version:
                return f"{relation} was {REPLACED.get(relation.kind, 'truncated or rewritten')}"
        added = [relation for relation in self._added_since(note) if not self._is_selectable(relation)]
        return f"{added[0]} is new or was replaced" if added else ""

    def parts_since(self, note: SourceNote) -> list[Relation]:
        """Return partitions and children that are new since the last run: they may have been attached with old rows."""
        return [relation for relation in self._added_since(note) if self._is_selectable(relation)]

    def inserted_since(self, note: SourceNote) -> int:
        """Return how many rows were inserted, according to the statistics so far."""
        return sum(max(0, relation.inserted - before.inserted) for relation, before in self._known(note))

    def updated_since(self, note: SourceNote) -> int:
        """Return how many rows were updated, according to the statistics so far."""
        return sum(max(0, relation.updated - before.updated) for relation, before in self._known(note))

    def gone_since(self, note: SourceNote) -> int:
        """Return the least number of rows that were deleted and not inserted again.

        Of two statistics it is the smaller: one also counts rolled-back transactions, the other is an estimate.
        """
        counted = sum(
            (relation.deleted - before.deleted) - (relation.inserted - before.inserted)
            for relation, before in self._known(note)
        )
        estimated = sum(before.live - relation.live for relation, before in self._known(note))
        return max(0, min(counted, estimated))

    def note(self, cursor: datetime, before: SourceNote | None = None) -> SourceNote:
        """Return the note for the next run.

        :param cursor: where the next run begins to read.
        :param before: the note of the last run. While statistics report no change, its snapshot and cursor stay, so
            that a change that they report late is found by a later run.
        """
        is_unchanged = before is not None and not self.inserted_since(before) and not self.updated_since(before)
        return SourceNote(
            relations={str(relation.oid): relation.note for relation in self.relations},
            snapshot=before.snapshot if before is not None and is_unchanged else self.snapshot,
            cursor=before.cursor if before is not None and is_unchanged else cursor,
        )

    def _known(self, note: SourceNote) -> Iterator[tuple[Relation, RelationNote]]:
        for relation in self.relations:
            if before := note.relations.get(str(relation.oid)):
                yield relation, before

    def _added_since(self, note: SourceNote) -> Iterator[Relation]:
        return (relation for relation in self.relations if str(relation.oid) not in note.relations)

    def _is_selectable(self, relation: Relation) -> bool:
        """Return whether a query can select the rows of a new relation: by its own name, or through the source."""
        return relation.is_part and (relation.is_readable or self.is_one_table)
