"""One skewed row of each class among a million is told, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize, verify

from tests.conftest import at
from tests.support.online import key_of
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ENTITIES = 1_000_000


def test_one_of_each_class_in_a_million_is_told(
    database: Database, offline: OfflineStore, online: OnlineStore, make_view: Callable[..., FeatureView]
) -> None:
    database(
        "CREATE TABLE rows AS SELECT i AS id, %s::timestamptz AS ts, i * 7 AS x, 'y of ' || i AS y "
        "FROM generate_series(1, %s) AS i",
        at(0), ENTITIES,
    )  # fmt: skip
    view, client = make_view(layout="msgpack"), online._client
    materialize(view, offline, online, full=True)

    def key(entity: int) -> str:
        return str(key_of(online, view, id=entity))

    row = client.get(key(2))
    client.delete(key(1))
    client.set(key(2), row[:-1] + b"?")  # the text of y ends with another character
    client.set(key(3), row[:4] + (int.from_bytes(row[4:12]) - 1).to_bytes(8) + row[12:])
    client.set(key(4), row[:-1])
    client.set(key(ENTITIES + 1), row)
    report = verify(view, offline, online, sample=None)
    assert (report.missing, report.different, report.behind, report.unreadable, report.extra) == (1, 1, 1, 1, 1)
    assert (report.equal, report.ahead, report.skipped) == (ENTITIES - 4, 0, 0)
    assert {kind: [example.entity["id"] for example in examples] for kind, examples in report.examples.items()} == {
        "missing": [1], "different": [2], "behind": [3], "unreadable": [4], "extra": [ENTITIES + 1],
    }  # fmt: skip
    verify(view, offline, online, sample=None, repair=True)
    verify(view, offline, online, sample=None).require()
