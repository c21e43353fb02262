"""Runs of a catch-up, several in flight at a time."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from online_features import OnlineStore
from online_features_provider.operators.materialize import MaterializeOperator

from tests.conftest import at
from tests.support.servers.databases import Database


def test_runs_of_a_catch_up_in_flight_together_end_with_the_newest_rows(
    connections: None,
    database: Database,
    make_view: Any,
    online: OnlineStore,
) -> None:
    database(
        "CREATE TABLE rows AS SELECT e::text AS id, timestamptz '2026-01-01 12:00Z' + day * interval '1 day' AS ts, "
        "day AS x FROM generate_series(0, 9) AS day, generate_series(1, 200) AS e WHERE e > day"
    )
    view = make_view()

    def run(day: int) -> Any:
        context: Any = {"data_interval_start": at(0, day=day + 1), "data_interval_end": at(0, day=day + 2)}
        return MaterializeOperator(task_id="m", feature_view=view, window="data_interval").execute(context)

    days = random.Random(7).sample(range(10), 10)
    with ThreadPoolExecutor(4) as threads:
        assert sum(result["rows_read"] for result in threads.map(run, days)) == sum(range(191, 201))
    rows = online.get_online_features(view, [{"id": str(e)} for e in range(1, 201)])
    assert [row.values["x"] for row in rows] == [min(e - 1, 9) for e in range(1, 201)]
    assert online.freshness(view).watermark == at(0, day=11)
