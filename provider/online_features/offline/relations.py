"""The relations behind a source, and what of their rows increments would miss.

An increment finds rows by their timestamps. Rows can come, change and go without a timestamp that tells: a table is
truncated and loaded again, a materialized view is refreshed, a partition is attached, a row is updated in place. The
catalog and the statistics of Postgres tell, so a run notes what they say and the next one compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from online_features.source_note import SourceNote

KINDS = {"r": "table", "p": "table", "m": "materialized view", "f": "foreign table", "v": "view"}


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A table, materialized view, foreign table or view; see ``relations.sql``."""

    oid: int
    schema: str
    name: str
    kind: str
    version: str
    size: int
    changes: int
    deletions: int
    is_part: bool
    is_subscribed: bool
    is_source: bool
    is_by_entity: bool

    def __str__(self) -> str:
        return f"{KINDS[self.kind]} {self.schema}.{self.name}"

    @property
    def shows_rows_late(self) -> bool:
        """Whether its rows become visible later than they were created, by transactions that cannot be seen here."""
        return self.kind in "mf" or self.is_subscribed


@dataclass(frozen=True, kw_only=True)
class SourceRelations:
    """The relations that a source reads, as one transaction sees them.

    :param xid: of the oldest transaction in flight, as text.
    """

    relations: Sequence[Relation]
    xid: str

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
        """Whether the source is a table, with its partitions and children, and nothing else is read."""
        return all(relation.kind in "rp" for relation in self.relations) and any(
            relation.is_source for relation in self.relations
        )

    def replaced_since(self, note: SourceNote) -> str:
        """Return why rows may have been replaced that no timestamp tells of; empty when they were not."""
        for relation in self.relations:
            if note.versions.get(str(relation.oid), relation.version) != relation.version:
                return f"{relation} was {_REPLACED.get(relation.kind, 'truncated or rewritten')}"
        added = [relation for relation in self._added_since(note) if not (self.is_one_table and relation.is_part)]
        return f"{added[0]} is new or was replaced" if added else ""

    def parts_since(self, note: SourceNote) -> list[Relation]:
        """Return partitions and children that the last run did not see: whole ones may have been attached."""
        return [relation for relation in self._added_since(note) if self.is_one_table and relation.is_part]

    def deletions_since(self, note: SourceNote) -> int:
        """Return how many rows were deleted that were the only one of their entity, as far as an index tells."""
        holding = [relation for relation in self.relations if relation.kind in "rm"]
        is_by_entity = all(relation.is_by_entity for relation in holding)
        is_alone = self.is_one_table or len(self.relations) == 1
        return max(0, self.deletions - note.deletions) if is_by_entity and is_alone else 0

    @property
    def changes(self) -> int:
        """Rows inserted and updated, of all relations."""
        return sum(relation.changes for relation in self.relations)

    @property
    def size(self) -> int:
        """Bytes of all tables."""
        return sum(relation.size for relation in self.relations)

    @property
    def deletions(self) -> int:
        """Rows deleted, of all relations."""
        return sum(relation.deletions for relation in self.relations)

    def note(self, cursor: datetime, before: SourceNote | None = None) -> SourceNote:
        """Return what the next run needs to know.

        :param cursor: where it begins to read.
        :param before: what the last run noted. While statistics report no change, its transaction and cursor hold:
            a change that is not reported yet is looked for when it is.
        """
        is_unchanged = before is not None and before.changes == self.changes
        return SourceNote(
            versions={str(relation.oid): relation.version for relation in self.relations},
            changes=self.changes,
            deletions=self.deletions,
            xid=before.xid if before is not None and is_unchanged else self.xid,
            cursor=before.cursor if before is not None and is_unchanged else cursor,
        )

    def _added_since(self, note: SourceNote) -> Iterator[Relation]:
        return (relation for relation in self.relations if str(relation.oid) not in note.versions)


_REPLACED = {"m": "refreshed", "v": "redefined"}
