"""The command on a Redis Cluster, which the connection of Airflow names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.cli import options

from demo.workplace import workplace
from tests.cli.conftest import Run
from tests.support.servers.redis_servers import cluster

pytestmark = pytest.mark.servers


def test_a_cluster(
    trips: FeatureView, make_view: Callable[..., FeatureView], offline: OfflineStore, run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with (
        workplace("command_on_a_cluster") as folder,
        cluster(folder, masters=2, replicas=0) as nodes,
        nodes.client() as client,
    ):
        monkeypatch.setattr(options, "_registered", lambda *_: client)
        online = OnlineStore(client)
        first = materialize(trips, offline, online).generation
        materialize(trips, offline, online, full=True)

        status = run("status", "--conn-id", "cluster", "--json")
        assert (status.code, [each["state"] for each in status.json["views"]]) == (0, ["fresh"])
        assert run("count", "trips", "--conn-id", "cluster", "--json").json["rows"] == 20
        assert run("get", "trips", "id=7", "--conn-id", "cluster", "--json").json["status"] == "present"
        assert run("rollback", "trips", "--yes", "--conn-id", "cluster").code == 0
        assert online.generations(trips).published == first
        checked = run("check", "--for", "materializing", "--conn-id", "cluster", "--json")
        assert checked.code == 0, checked.out

        refused = run("status", "--redis", nodes.nodes[0].url)
        assert refused.code == 2
        assert "is part of a cluster: set cluster to true in the Airflow connection" in refused.err
