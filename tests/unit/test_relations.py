from __future__ import annotations

from dataclasses import replace

from online_features.offline.relations import Relation, SourceRelations

from tests.conftest import at

TABLE = Relation(
    oid=1, schema="public", name="rows", kind="r", version="1", size=0, changes=10, deletions=0, is_part=False,
    is_subscribed=False, is_source=True, is_by_entity=True,
)  # fmt: skip


def test_until_statistics_report_a_change_the_earlier_transaction_and_cursor_are_compared_with() -> None:
    before = SourceRelations(relations=[TABLE], xid="100").note(at(1))
    unreported = SourceRelations(relations=[TABLE], xid="200").note(at(2), before)
    assert (unreported.xid, unreported.cursor) == ("100", at(1))
    reported = SourceRelations(relations=[replace(TABLE, changes=11)], xid="300").note(at(3), unreported)
    assert (reported.xid, reported.cursor) == ("300", at(3))


def test_rows_deleted_count_only_where_each_was_the_only_one_of_its_entity() -> None:
    note = SourceRelations(relations=[TABLE], xid="100").note(at(1))
    fewer = replace(TABLE, deletions=5)
    assert SourceRelations(relations=[fewer], xid="1").deletions_since(note) == 5
    assert SourceRelations(relations=[replace(fewer, is_by_entity=False)], xid="1").deletions_since(note) == 0
    other = replace(TABLE, oid=2, kind="m", is_source=False)
    assert SourceRelations(relations=[fewer, other], xid="1").deletions_since(note) == 0


def test_a_foreign_table_shows_rows_late() -> None:
    foreign = SourceRelations(relations=[replace(TABLE, kind="f"), replace(TABLE, oid=2)], xid="1")
    assert foreign.late == ["foreign table public.rows"]
