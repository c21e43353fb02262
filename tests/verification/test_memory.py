"""Verifying more rows takes no more memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize, verify

from tests.conftest import at
from tests.support.servers.databases import Database

pytestmark = pytest.mark.slow

BATCH_ROWS = 10_000


def test_memory_is_flat(
    database: Database, offline: OfflineStore, online: OnlineStore, make_view: Callable[..., FeatureView]
) -> None:
    database("CREATE TABLE rows (id int, ts timestamptz, x int, y text)")
    peaks = []
    for first, last in ((1, 50_000), (50_001, 200_000)):
        database(
            "INSERT INTO rows SELECT i, %s, i, 'y of ' || i FROM generate_series(%s::int, %s::int) AS i",
            at(0), first, last,
        )  # fmt: skip
        view = make_view(layout="msgpack")
        materialize(view, offline, online, full=True)
        online._client.delete(
            *(key for key, _ in zip(online._client.scan_iter(f"{view.project}:*77}}"), range(100), strict=False))
        )
        tracemalloc.start()
        report = verify(view, offline, online, sample=None, batch_rows=BATCH_ROWS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report.rows_compared == last
    assert peaks[1] < 1.25 * peaks[0]
