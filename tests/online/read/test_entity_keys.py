"""The short way from an entity to its key ends at the same key, or at the same error."""

from __future__ import annotations

from collections import UserDict
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from online_features import FeatureView, PostgresSource
from online_features.errors import InvalidRowsError
from online_features.feature_view import Layout
from online_features.layouts.feast.feast_columns import KEY, feast_column
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.layouts.layout_registry import layout_of
from online_features.online.read.entity_keys import entity_key, entity_keys
from online_features.schema import Column, Encoding

COLUMNS = (Column("user", "character varying", Encoding.TEXT), Column("shop", "integer", Encoding.INTEGER))


def view(layout: Layout) -> FeatureView:
    return FeatureView(
        name="view", entities=["user", "shop"], layout=layout, source=PostgresSource(table="t", timestamp_field="ts")
    )


@pytest.mark.parametrize("layout", ["hash", "feast"])
@pytest.mark.parametrize("user", ["", "a", "a:b", "{%}", "grüß", "a\0b", 1, None, b"a"])
@pytest.mark.parametrize("shop", [0, -5, 2**31, 2**70, True, 1.0, "1", Decimal(1), np.int64(7), None])
@pytest.mark.parametrize("kind", [dict, UserDict])
def test_keys(layout: Layout, user: Any, shop: Any, kind: Any) -> None:
    columns = [feast_column(view(layout), KEY, column) for column in COLUMNS]
    entity = kind(shop=shop, user=user, other=object)

    def told(make: Any) -> Any:
        try:
            return make()
        except InvalidRowsError as error:
            return str(error)

    expected = told(lambda: entity_key(layout_of(view(layout), FIRST_GENERATION), columns, entity))
    assert told(lambda: entity_keys(layout_of(view(layout), FIRST_GENERATION), columns)([entity])[0]) == expected


@pytest.mark.parametrize("entity", [{}, {"user": "a"}, "user", None])
def test_what_is_no_entity_is_refused(entity: Any) -> None:
    with pytest.raises(InvalidRowsError, match="lacks join key|an entity must be a mapping"):
        entity_keys(layout_of(view("hash"), FIRST_GENERATION), COLUMNS)([entity])
