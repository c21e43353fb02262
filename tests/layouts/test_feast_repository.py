from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from online_features.errors import FeatureViewError, FeatureViewFileError
from online_features.feature_view import LONGEST, NAME
from online_features.layouts.feast import feast_export
from online_features.layouts.feast.feast_repository import load_feature_views
from online_features.layouts.feast.feast_types import KEY_NUMBER, FeastType

VIEW: dict[str, Any] = {
    "name": "view",
    "join_keys": {"id": "Int64"},
    "features": {"x": "Float32"},
    "source": {"table": "rows", "timestamp_field": "ts", "created_timestamp_column": None},
    "ttl_seconds": None,
}
DOCUMENT = {"format": 1, "project": "p", "key_ttl_seconds": None, "feature_views": [VIEW]}


def test_the_export_knows_what_we_know() -> None:
    assert {kind.value for kind in FeastType} == feast_export.FEATURE_TYPES
    assert {kind.value for kind in KEY_NUMBER} == feast_export.KEY_TYPES
    assert feast_export.NAME == NAME
    assert feast_export.LONGEST_TTL == LONGEST


@pytest.mark.parametrize("online_store", [None, SimpleNamespace(type="sqlite")])
def test_another_online_store_is_told(online_store: Any) -> None:
    reason = feast_export.obstacle_to_all(SimpleNamespace(online_store=online_store))
    assert reason is not None
    assert "not 'redis'" in reason


@pytest.mark.parametrize("table", ["trips", "public.trips", "_t1$", "a.b"])
def test_a_plain_table_is_one_to_both(table: str) -> None:
    assert feast_export.PLAIN_TABLE.fullmatch(table)


@pytest.mark.parametrize("table", ["Trips", '"Trips"', "db.public.trips", "trips t", "(SELECT 1)", "1st", "häuser"])
def test_another_table_is_sql(table: str) -> None:
    assert not feast_export.PLAIN_TABLE.fullmatch(table)


def test_a_file_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "views.json").write_text(json.dumps(DOCUMENT))
    (view,) = load_feature_views(tmp_path / "views.json").values()
    assert (view.name, view.project, view.layout, view.feast.types["x"]) == ("view", "p", "feast", "Float32")


@pytest.mark.parametrize(
    "text, message",
    [
        ("no json", "views.json is not JSON: .* -> write it again with feast_export.py"),
        ("[]", "views.json does not describe feature views"),
        ("{}", "views.json does not describe feature views"),
        (
            json.dumps({**DOCUMENT, "format": 2}),
            "has format 2, but this version of online-features reads formats up to 1 -> upgrade it",
        ),
        (json.dumps({"format": 1}), "views.json: KeyError: 'feature_views'"),
        (json.dumps({**DOCUMENT, "feature_views": [{"name": "view"}]}), "KeyError: 'join_keys'"),
        (json.dumps({**DOCUMENT, "feature_views": [{**VIEW, "source": {"path": "x"}}]}), "TypeError: .*'path'"),
        (json.dumps({**DOCUMENT, "feature_views": [{**VIEW, "join_keys": None}]}), "TypeError"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "views.json").write_text(text)
    with pytest.raises(FeatureViewFileError, match=message):
        load_feature_views(tmp_path / "views.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeatureViewFileError, match=r"views\.json cannot be read: No such file"):
        load_feature_views(str(tmp_path / "views.json"))


def test_a_definition_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "views.json").write_text(json.dumps({**DOCUMENT, "feature_views": [{**VIEW, "features": {}}]}))
    with pytest.raises(FeatureViewError, match="FeatureView 'view': features is empty"):
        load_feature_views(tmp_path / "views.json")
