"""The code that removes keys of a former version removes them, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable

import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize

from demo.workplace import PROJECT
from tests.support.servers.databases import Database

PAGE = (PROJECT / "docs" / "upgrading.md").read_text()
ROW, VIEW = "flights:plane_trips", "{flights:plane_trips}"
FORMER = {
    f"{ROW}:N14228", f"{ROW}:7:a%3Ab", f"@online_features:gone:{{{ROW}:N1}}", f"@online_features:view:{VIEW}",
    f"@online_features:runs:{VIEW}", f"@online_features:run:{VIEW}:x", f"@online_features:features:{VIEW}",
}  # fmt: skip
OTHERS = {"flights:plane_trips_too:N1", "flights:plane:trips", "@online_features:view:{flights:plane_trips_too}"}


def test_only_former_keys_of_the_view_are_removed(
    database: Database,
    online: OnlineStore,
    client: redis.Redis,
    make_view: Callable[..., FeatureView],
    project: str,
) -> None:
    database("CREATE TABLE rows AS SELECT 1 AS id, now() AS ts, 2 AS fare")
    view = make_view(name="plane_trips", layout="msgpack")
    materialize(view, OfflineStore(database.uri), online)
    online.delete(view, [{"id": 3}])

    def named(keys: set[str]) -> set[str]:
        return {key.replace("flights", project) for key in keys}

    def keys() -> set[str]:
        return set(client.scan_iter(f"*{project}*", count=10_000))

    kept = keys() | named(OTHERS)
    for key in named(FORMER | OTHERS):
        client.set(key, "")
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    address = client.connection_pool.connection_kwargs
    code = code.replace("localhost:6379/0", f"{address['host']}:{address['port']}/{address['db']}")
    exec(code.replace("flights", project), {})
    assert keys() == kept
