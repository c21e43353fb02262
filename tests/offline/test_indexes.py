from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from online_features.offline._indexes import Index, suitable_index
from online_features.offline.query_plan import is_by_index, rows_per_entity
from online_features.schema import Column, Encoding, RowSchema

SCHEMA = RowSchema(
    keys=(Column("id", "text", Encoding.TEXT), Column("k", "integer", Encoding.INTEGER)),
    event_timestamp=Column("ts", "timestamp with time zone", Encoding.INSTANT),
    created_timestamp=None,
    deleted=None,
    features=(),
)


def index(*columns: str | None, descending: str = "", nulls_first: str = "") -> Index:
    return Index(
        name="an_index",
        columns=columns,
        descending=tuple(column in descending.split() for column in columns),
        nulls_first=tuple(column in nulls_first.split() for column in columns),
    )


@pytest.mark.parametrize(
    "suitable",
    [
        index("id", "k", "ts"),
        index("k", "id", "ts"),
        index("id", "k", "ts", "x", None),
        index("id", "k", "ts", descending="ts", nulls_first="ts"),
        index("id", "k", "ts", descending="ts"),
        index("id", "k", "ts", descending="id k", nulls_first="k"),
    ],
)
def test_indexes_that_lead_to_the_newest_row_of_an_entity(suitable: Index) -> None:
    other = replace(index("k", "ts"), name="another")
    assert suitable_index(SCHEMA, [other, suitable, other]) == suitable


@pytest.mark.parametrize(
    "unsuitable",
    [
        index("id", "k"),
        index("id", "ts"),
        index("id", "ts", "k"),
        index("ts", "id", "k"),
        index("id", "x", "k", "ts"),
        index("id", None, "ts"),
        index("id", "k", None),
        index("id", "k", "ts", descending="k"),
    ],
)
def test_indexes_that_do_not(unsuitable: Index) -> None:
    assert suitable_index(SCHEMA, [unsuitable]) is None


def node(kind: str, *plans: dict[str, Any], rows: int = 1, **about: Any) -> dict[str, Any]:
    return {"Node Type": kind, "Plan Rows": rows, **({"Plans": list(plans)} if plans else {}), **about}


def test_history_is_as_deep_as_the_planner_expects() -> None:
    sorting = node("Sort", node("Seq Scan", rows=1000), rows=1000, **{"Parent Relationship": "Outer"})
    first = node("Result", **{"Parent Relationship": "InitPlan"})
    for unique in (node("Unique", sorting, rows=50), node("Unique", first, sorting, rows=50)):
        assert rows_per_entity(node("Subquery Scan", unique, rows=50)) == 20
    assert rows_per_entity(node("Limit", sorting)) == 1


BY_INDEX = {"Relation Name": "rows"}


def test_a_plan_is_by_index_if_all_its_scans_of_tables_are() -> None:
    walk = node("CTE Scan", Filter="an end is looked at")
    probe = node("Index Only Scan", **BY_INDEX)
    equals = node("Incremental Sort", node("Index Scan", **BY_INDEX))
    assert is_by_index(node("Nested Loop", walk, equals, node("Aggregate", probe)))
    for scan in (
        node("Seq Scan", **BY_INDEX),
        node("Index Scan", Filter="(id = 1)", **BY_INDEX),
        node("Bitmap Heap Scan", **BY_INDEX),
        node("Sort", probe),
    ):
        assert not is_by_index(node("Nested Loop", walk, equals, node("Limit", scan)))
