from __future__ import annotations

from dataclasses import replace

from online_features.offline.relations import Relation, SourceRelations
from online_features.source_note import SourceNote

from tests.conftest import at

TABLE = Relation(
    oid=1, schema="public", name="rows", kind="r", version="1", size=0, inserted=10, updated=5, deleted=2, live=8,
    is_part=False, bound=None, is_readable=True, is_subscribed=False, is_source=True, is_by_entity=True,
)  # fmt: skip
PART = replace(TABLE, oid=2, name="part", is_part=True, is_source=False)


def seen(*relations: Relation, snapshot: str = "7:9:8") -> SourceRelations:
    return SourceRelations(relations=relations, snapshot=snapshot)


NOTE = seen(TABLE).note(at(1))


def test_a_note_survives_its_json() -> None:
    assert SourceNote.from_dict(NOTE.to_dict()) == NOTE


def test_until_statistics_report_a_change_the_earlier_snapshot_and_cursor_are_compared_with() -> None:
    unreported = seen(TABLE, snapshot="9:9:").note(at(2), NOTE)
    assert (unreported.snapshot, unreported.cursor) == ("7:9:8", at(1))
    for change in ({"inserted": 11}, {"updated": 6}):
        reported = seen(replace(TABLE, **change), snapshot="11:11:").note(at(3), unreported)
        assert (reported.snapshot, reported.cursor) == ("11:11:", at(3))


def test_rows_are_gone_where_both_statistics_say_so() -> None:
    assert seen(replace(TABLE, deleted=7, live=3)).gone_since(NOTE) == 5
    assert seen(replace(TABLE, deleted=7, live=8)).gone_since(NOTE) == 0  # rolled back
    assert seen(replace(TABLE, deleted=12, inserted=20, live=8)).gone_since(NOTE) == 0  # deleted and inserted again
    assert seen(replace(TABLE, live=3)).gone_since(NOTE) == 0  # an estimate made anew


def test_a_partition_that_is_dropped_hides_no_change_of_another() -> None:
    note = seen(TABLE, PART).note(at(1))
    assert seen(replace(TABLE, updated=6)).updated_since(note) == 1


def test_one_row_per_entity_is_told_by_every_table_of_the_source() -> None:
    assert seen(TABLE, PART).is_by_entity
    assert not seen(TABLE, replace(PART, is_by_entity=False)).is_by_entity
    assert not seen(TABLE, replace(TABLE, oid=2, kind="m", is_source=False)).is_by_entity


def test_a_foreign_table_shows_rows_late() -> None:
    assert seen(replace(TABLE, kind="f"), PART).late == ["foreign table public.rows"]


def test_a_new_partition_is_asked_by_its_own_name_or_by_way_of_its_table() -> None:
    refused = replace(PART, is_readable=False)
    assert seen(TABLE, refused).parts_since(NOTE) == [refused]
    in_a_view = replace(TABLE, oid=3, kind="v")
    note = seen(in_a_view, replace(TABLE, is_source=False)).note(at(1))
    source = (in_a_view, replace(TABLE, is_source=False))
    assert seen(*source, PART).parts_since(note) == [PART]
    assert "part is new or was replaced" in seen(*source, refused).replaced_since(note)
