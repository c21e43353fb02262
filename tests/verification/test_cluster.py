"""A cluster is verified and repaired as one server is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize, verify
from online_features.verification import _comparison as comparison

from demo.workplace import workplace
from tests.conftest import at
from tests.support.online import key_of
from tests.support.servers.databases import Database
from tests.support.servers.redis_servers import STEADY, Cluster, cluster

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    with workplace("cluster") as folder, cluster(folder, *STEADY, replicas=0) as servers:
        yield servers


@pytest.mark.layouts
def test_a_cluster_is_verified_and_repaired(
    servers: Cluster,
    database: Database,
    offline: OfflineStore,
    make_view: Callable[..., FeatureView],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparison, "LOOK_AGAIN_SECONDS", 0.0)
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    database("INSERT INTO rows SELECT 'e' || i, %s, i FROM generate_series(1, 300) AS i", at(0))
    view = make_view()
    with servers.client() as client:
        online = OnlineStore(client)
        materialize(view, offline, online)
        database("UPDATE rows SET x = 0 WHERE x <= 20")
        database("DELETE FROM rows WHERE x > 290")
        client.delete(key_of(online, view, id="e100"))
        for sample, repair in ((300, False), (None, False), (None, True)):
            report = verify(view, offline, online, sample=sample, repair=repair)
            assert (report.equal, report.different, report.extra, report.missing) == (269, 20, 10, 1)
        assert (report.repaired, report.removed) == (21, 10)
        report = verify(view, offline, online, sample=None)
        assert report.rows_compared == report.equal == 290
