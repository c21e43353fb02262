from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import timedelta

import pytest
from online_features import FeatureView, PostgresSource
from online_features.errors import FeatureViewError

from tests.support.views import SOURCE, VIEW


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": ""}, "name=''"),
        ({"name": "a:b"}, "name='a:b'"),
        ({"name": "a{b}"}, "letters, digits"),
        ({"name": "@online_features"}, "letters, digits"),
        ({"project": "p*"}, "project='p*'"),
        ({"entities": []}, "entities is empty"),
        ({"entities": "id"}, "entities must be a list"),
        ({"entities": ["id", "id"]}, "entities names 'id' twice"),
        ({"entities": [""]}, "entities must be a non-empty string"),
        ({"features": []}, "features is empty"),
        ({"features": ["a", "a"]}, "features names 'a' twice"),
        ({"features": ["_ts"]}, "'_ts' collides"),
        ({"features": ["a\0"]}, "NUL"),
        ({"source": "rows"}, "must be a PostgresSource"),
        ({"ttl": timedelta(0)}, "ttl"),
        ({"ttl": 60}, "ttl=60 must be a timedelta of at most 100 years"),
        ({"layout": "yaml"}, "layout='yaml' is unknown; choose one of msgpack, hash, json"),
    ],
)
def test_a_wrong_view_is_refused_by_field(change: dict[str, object], message: str) -> None:
    with pytest.raises(FeatureViewError, match=message.replace("*", r"\*").replace("{", r"\{")):
        replace(VIEW, **change)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"query": "select 1"}, "exactly one of table= and query="),
        ({"table": None}, "exactly one of table= and query="),
        ({"table": " "}, "table must be a non-empty string"),
        ({"timestamp_field": None}, "timestamp_field must be a non-empty string"),
        ({"created_timestamp_column": ""}, "created_timestamp_column must be"),
        ({"deleted_field": ""}, "deleted_field must be"),
        ({"timezone": "Mars/Olympus"}, "timezone='Mars/Olympus' is not an IANA time zone"),
        ({"timezone": "../../etc/passwd"}, "is not an IANA time zone"),
    ],
)
def test_a_wrong_source_is_refused_by_field(change: dict[str, object], message: str) -> None:
    with pytest.raises(FeatureViewError, match=message):
        replace(SOURCE, **change)


def test_a_view_is_frozen_and_hashable_and_takes_lists() -> None:
    view = replace(VIEW, features=["a", "b"])
    assert view.entities == ("id",)
    assert view.features == ("a", "b")
    assert view in {view}
    with pytest.raises(FrozenInstanceError):
        view.name = "other"  # type: ignore[misc]


def test_arguments_are_keyword_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        FeatureView("view", ["id"])  # type: ignore[misc, call-arg, arg-type]


def test_fields_of_a_row_are_reserved_where_a_row_has_them() -> None:
    source = PostgresSource(table="rows", timestamp_field="ts")
    FeatureView(name="view", entities=["id"], features=["_created"], source=source, layout="feast")
    with pytest.raises(FeatureViewError, match="'_created' collides with a reserved field"):
        FeatureView(name="view", entities=["id"], features=["_created"], source=source)
