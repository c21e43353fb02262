from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from online_features import FeatureView
from online_features.materialization.reporting._definition_changes import describe_alternation, describe_changes
from online_features.online.generations.view_definition import definition, definition_fingerprint
from online_features.schema import Column, Encoding, RowSchema

from tests.materialization.test_plan import INSTANT, SCHEMA
from tests.support.views import VIEW

PRICE = Column("price", "numeric", Encoding.NUMERIC)
PRICED = replace(SCHEMA, features=(*SCHEMA.features, PRICE))
WEEK, DAY = (replace(VIEW, ttl=timedelta(days=days)) for days in (7, 1))


@pytest.mark.parametrize(
    "view, schema, expected",
    [
        (VIEW, PRICED, []),
        (WEEK, PRICED, ["ttl none → 7 days"]),
        (VIEW, SCHEMA, ["feature 'price' removed"]),
        (VIEW, replace(PRICED, features=(*PRICED.features, Column("y", "text", Encoding.TEXT))),
         ["feature 'y' added (text)"]),
        (VIEW, replace(PRICED, features=(*SCHEMA.features, Column("price", "double precision", Encoding.FLOAT))),
         ["feature 'price': numeric → double precision"]),
        (replace(VIEW, layout="json"), PRICED, ["layout msgpack → json"]),
        (replace(VIEW, source=replace(VIEW.source, table="other", timezone="Europe/Paris")), PRICED,
         ["table rows → other", "timezone UTC → Europe/Paris"]),
        (replace(VIEW, source=replace(VIEW.source, table=None, query="SELECT 'secret'")), PRICED,
         ["table rows → none", "query has changed"]),
        (VIEW, replace(PRICED, created_timestamp=None), ["column 'created' removed"]),
        (VIEW, replace(PRICED, event_timestamp=Column("at", INSTANT, Encoding.INSTANT)),
         ["column 'ts' removed", f"column 'at' added ({INSTANT})"]),
        (VIEW, replace(PRICED, keys=(Column("id", "bigint", Encoding.INTEGER),)), ["join key 'id': text → integer"]),
    ],
)  # fmt: skip
def test_each_change_is_told_by_column(view: FeatureView, schema: RowSchema, expected: list[str]) -> None:
    assert describe_changes(definition(VIEW, PRICED), definition(view, schema)) == expected


def test_the_order_of_join_keys_is_a_change() -> None:
    keys = tuple(Column(name, "text", Encoding.TEXT) for name in ("a", "b"))
    before, now = (definition(VIEW, replace(SCHEMA, keys=order)) for order in (keys, keys[::-1]))
    assert describe_changes(before, now) == ["order of entities: a, b → b, a"]


def test_definitions_that_take_turns_are_recognised() -> None:
    week, day = ((definition(view, SCHEMA), definition_fingerprint(view, SCHEMA)) for view in (WEEK, DAY))
    runs = [{"definition": week[1]}, {"definition": day[1]}, {}]
    told = describe_alternation(week[0], *day, runs)
    assert "another DAG or deployment" in told
    assert "ttl 7 days ↔ 1 day" in told
    assert told.endswith("-> give the view one definition")
    assert describe_alternation(week[0], *day, runs[:1]) == ""
