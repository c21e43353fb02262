"""Lineage of what the acceptance test does not run: pushes, transforms, a Redis that does not answer."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowFailException
from online_features import FeatureView, OnlineStore
from online_features.embedded import reserved_port
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.push import PushOperator

from tests.conftest import at
from tests.support.servers.databases import Database

pytestmark = pytest.mark.usefixtures("connections")


@pytest.fixture
def view(database: Database, make_view: Any) -> FeatureView:
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    return make_view()  # type: ignore[no-any-return]


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(twice=frame["x"] * 2)


@pytest.mark.parametrize("mode, schemes, rows", [
    ("online", ["redis"], [1]), ("offline", ["postgres"], [1]), ("online_and_offline", ["postgres", "redis"], [1, 1])
])  # fmt: skip
def test_a_push_reads_nothing_and_writes_where_its_mode_says(
    view: FeatureView, mode: str, schemes: list[str], rows: list[int]
) -> None:
    operator = PushOperator(task_id="push", feature_view=view, rows=[{"id": "a", "ts": at(1), "x": 1}], mode=mode)
    operator.execute({})
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    assert lineage.inputs == []
    assert [output.namespace.partition(":")[0] for output in lineage.outputs] == schemes
    assert [output.outputFacets["outputStatistics"].rowCount for output in lineage.outputs] == rows


def test_what_a_transform_makes_has_no_origin(view: FeatureView, make_view: Any, database: Database) -> None:
    database("INSERT INTO rows VALUES ('a', now(), 1)")
    operator = MaterializeOperator(
        task_id="t", feature_view=make_view(name="made", features=["x", "twice"], transform=doubled)
    )
    operator.execute({})
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    (output,) = lineage.outputs
    assert [field.name for field in output.facets["schema"].fields] == ["id", "ts", "x", "twice"]
    assert set(output.facets["columnLineage"].fields) == {"id", "ts"}


def test_a_failed_run_tells_what_it_meant_to_do(make_view: Any) -> None:
    operator = MaterializeOperator(task_id="t", feature_view=make_view(source={"table": "nothing"}))
    assert operator.get_openlineage_facets_on_failure(None) is None
    with pytest.raises(AirflowFailException):
        operator.execute({})
    lineage = operator.get_openlineage_facets_on_failure(None)
    assert lineage is not None
    (source,), (output,) = lineage.inputs, lineage.outputs
    assert source.name.endswith(".public.nothing")
    assert set(output.facets) == {"symlinks"}
    assert [inlet.uri for inlet in operator.inlets] == [f"{source.namespace}/{source.name.replace('.', '/')}"]


def test_a_redis_that_does_not_answer_costs_the_columns_only(view: FeatureView, database: Database) -> None:
    database("INSERT INTO rows VALUES ('a', now(), 1)")
    operator = MaterializeOperator(task_id="t", feature_view=view)
    operator.execute({})
    assert operator._lineage is not None
    with reserved_port() as nobodys:
        operator._lineage.store = OnlineStore.from_url(f"redis://127.0.0.1:{nobodys}")
        lineage = operator.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    assert set(lineage.outputs[0].facets) == {"symlinks"}
