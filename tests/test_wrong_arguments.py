"""Every public function says what is wrong with a wrong argument, and is not broken by it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import online_features
import pytest
import redis
import redis.asyncio
from online_features import AsyncOnlineStore, FeatureView, OfflineStore, OnlineStore, errors, materialize, plan_build
from online_features.embedded import HOST
from online_features.errors import InvalidRowsError, OnlineAccessError, OnlineFeaturesError, OptionError
from online_features.online.read.view_freshness_check import ViewFreshnessCheck
from sqlalchemy.engine import make_url

from demo.workplace import workplace
from tests.conftest import at
from tests.support.servers.databases import Database
from tests.support.servers.redis_servers import cluster, running

WRONG = {"None": None, "0": 0, "text": "text", "[]": [], "object": object()}
SECRET = "canary"

# What is right after all, by the parameter's name, or by it in one function.
RIGHT = {
    "features": ["None"], "min_watermark": ["None"], "max_staleness": ["None"], "now": ["None"], "start": ["None"],
    "end": ["None"], "lookback": ["None"], "on_progress": ["None"], "wait_for_replicas": ["0"], "offline": [],
    "statement_timeout": ["None"], "origin": ["None"], "sample": ["None"],
    "ttl": ["None"], "transform": ["None"], "project": ["text"], "name": ["text"],
    "table": ["text"], "timestamp_field": ["text"], "created_timestamp_column": ["None", "text"],
    "deleted_field": ["None", "text"], "key_ttl": ["None"], "entity_rows": ["[]"],
    "get_online_features.features": ["None", "[]"], "at_generation": ["None"], "generations": ["None"],
    "keep_generations": ["0"], "checks": ["[]"], "generation": ["None", "text"],
    "push.offline": ["None"], "push.rows": ["[]"], "append.rows": ["[]"], "PostgresSource.query": ["None"],
    "credential_provider": ["None"], "credentials": ["None"],
}  # fmt: skip

# What only the engine, or the machinery of Python, calls.
ENGINE = {"aclose", "before_transform", "check_columns", "check_feature_names", "description"}

# Exports that users get, or that check their arguments in tests of their own.
OTHERS = {
    "AppendResult", "Column", "CommonValue", "EntityFreshnessCheck", "FeatureStatistics", "FeatureVector",
    "FeatureVectors", "Freshness", "FreshnessResult", "Histogram", "ViewStatistics", "MaterializationResult",
    "OnlineRow", "OnlineRows", "PartResult", "Progress", "PushResult", "RowSchema", "ViewFreshnessCheck",
    "ViewState", "Generation", "GenerationList", "GenerationState", "Hold", "Publication", "PublicationOutcome",
    "BuildPart", "BuildPlan", "FeatureSkew", "SkewClass", "SkewExample", "VerificationReport", "Condition",
    "StoredView", "ViewSummary",
    "drop_notification_sql", "load_feature_views", "notification_sql", *vars(errors),
}  # fmt: skip


def public(owner: type) -> Iterator[str]:
    """Names of the public methods of a class."""
    return (name for name, _ in inspect.getmembers(owner, callable) if not name.startswith("_") and name not in ENGINE)


@pytest.fixture
def view(make_view: Callable[..., FeatureView], database: Database) -> FeatureView:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    return make_view()


@pytest.fixture
def given(view: FeatureView, offline: OfflineStore, online: OnlineStore, redis_url: str, database: Database) -> Any:
    """Arguments that are right, by the parameter's name."""
    materialize(view, offline, online)
    plan = plan_build(view, offline, online)
    return {
        "plan": plan, "part": plan.parts[0],
        "view": view, "views": [view], "entity_rows": [{"id": "a"}], "rows": [{"id": "b", "ts": at(1), "x": 1}],
        "online": online, "offline": offline, "check": ViewFreshnessCheck(view=view, max_staleness=timedelta(1)),
        "url": redis_url,
        "uri": database.uri, "client": online._client, "name": "n", "entities": ["id"], "source": view.source,
        "table": "rows", "timestamp_field": "ts", "retry_for": timedelta(0),
    }  # fmt: skip


def functions(given: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    """Every public function by name, called as users call it."""
    stores = {OnlineStore: given["online"], OfflineStore: given["offline"]}
    found: dict[str, Callable[..., Any]] = {
        name: getattr(online_features, name) for name in online_features.__all__ if name not in OTHERS
    }
    for owner, store in stores.items():
        found |= {f"{owner.__name__}.{name}": getattr(store, name) for name in public(owner)}
    for name in public(AsyncOnlineStore):
        found[f"AsyncOnlineStore.{name}"] = awaited(name, given["url"])
    return found


def awaited(name: str, url: str) -> Callable[..., Any]:
    """A method of the store on asyncio, which is awaited."""
    method = getattr(AsyncOnlineStore, name)
    if not inspect.iscoroutinefunction(method):
        return method  # type: ignore[no-any-return]

    def call(**arguments: Any) -> Any:
        async def act() -> Any:
            async with AsyncOnlineStore.from_url(url) as store:
                return await getattr(store, name)(**arguments)

        return asyncio.run(act())

    parameters = [*inspect.signature(method).parameters.values()][1:]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def needed(name: str, parameters: Any, given: dict[str, Any]) -> dict[str, Any]:
    arguments = {parameter: given[parameter] for parameter in parameters if parameter in given}
    if name == "OnlineStore.push":
        del arguments["offline"]
    if name == "AsyncOnlineStore":
        arguments["client"] = redis.asyncio.Redis()
    return arguments


def test_a_wrong_argument_is_named(given: dict[str, Any]) -> None:
    tried, taken = 0, []
    for name, function in functions(given).items():
        parameters = inspect.signature(function).parameters
        right = needed(name, parameters, given)
        for parameter in parameters:
            for label, value in WRONG.items():
                short = f"{name.rpartition('.')[2]}.{parameter}"
                if label in RIGHT.get(short, RIGHT.get(parameter, [])):
                    continue
                tried += 1
                try:
                    function(**{**right, parameter: value})
                except OnlineFeaturesError as error:
                    if parameter.rstrip("s") not in str(error).lower():
                        taken.append(f"{name}({parameter}={label}) says {error}")
                except Exception as error:  # noqa: BLE001 - that is what must not be
                    taken.append(f"{name}({parameter}={label}) raises {type(error).__name__}: {error}")
                else:
                    taken.append(f"{name}({parameter}={label}) is taken")
    assert not taken, "\n".join(taken)
    assert tried > 300


def test_urls_in_place_of_stores_are_not_repeated(view: FeatureView, offline: OfflineStore, redis_url: str) -> None:
    postgres, online = f"postgresql://u:{SECRET}@h/d", f"redis://:{SECRET}@h"
    with pytest.raises(OptionError, match=r"offline= must be an OfflineStore, such as .*, not a str") as raised:
        materialize(view, postgres, online)  # type: ignore[arg-type]
    assert SECRET not in str(raised.value)
    with pytest.raises(OptionError, match=r"online= must be an OnlineStore, such as .*, not a str") as raised:
        materialize(view, offline, online)  # type: ignore[arg-type]
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("store, client, cure", [
    (OnlineStore, redis.asyncio.Redis(), "give it to AsyncOnlineStore"),
    (AsyncOnlineStore, redis.Redis(), "give it to OnlineStore"),
    (OnlineStore, "redis://h", "OnlineStore.from_url takes a URL"),
    (AsyncOnlineStore, redis.ConnectionPool(), "AsyncOnlineStore.from_url takes a URL"),
])  # fmt: skip
def test_a_client_of_the_other_kind_is_told_where_it_belongs(store: Any, client: Any, cure: str) -> None:
    with pytest.raises(OnlineAccessError, match=f"client= of {store.__name__} must be .* -> {cure}"):
        store(client)


def test_a_number_that_no_database_has_is_named(view: FeatureView, redis_url: str) -> None:
    url = make_url(redis_url).set(database="4000").render_as_string(hide_password=False)
    with pytest.raises(OnlineAccessError, match="DB index is out of range -> choose a number below"):
        OnlineStore.from_url(url).freshness(view)

    async def awaited() -> None:
        async with AsyncOnlineStore.from_url(url) as store:
            await store.freshness(view)

    with pytest.raises(OnlineAccessError, match="DB index is out of range -> choose a number below"):
        asyncio.run(awaited())


def test_a_node_of_a_cluster_that_is_taken_for_a_server_is_named(
    view: FeatureView, offline: OfflineStore, database: Database
) -> None:
    database("INSERT INTO rows SELECT i::text, now(), 1 FROM generate_series(1, 20) i")
    cure = "is part of a cluster: set cluster to true in the Airflow connection, or give the store a RedisCluster"
    with workplace("taken_for_a_server") as folder, cluster(folder, masters=2, replicas=0) as nodes:
        for node in nodes.nodes:
            store = OnlineStore.from_url(node.url)
            for act in (
                lambda store=store: store.push(view, [{"id": i, "ts": at(1), "x": 1} for i in range(20)]),
                lambda store=store: materialize(view, offline, store),
            ):
                with pytest.raises(OnlineAccessError, match=cure):
                    act()
            with pytest.raises(OnlineAccessError, match=cure):
                OnlineStore.from_url(f"{node.url.rpartition('/')[0]}/1").freshness(view)


@pytest.mark.layouts
@pytest.mark.parametrize("kind", ["server", "cluster"])
def test_a_value_that_is_longer_than_redis_takes_is_named(
    database: Database, offline: OfflineStore, make_view: Callable[..., FeatureView], kind: str, layout: str
) -> None:
    database("CREATE TABLE rows AS SELECT i::text AS id, now() AS ts, "
             "CASE i WHEN 7 THEN repeat('x', 3000000) ELSE 'x' END AS x FROM generate_series(1, 20) i")  # fmt: skip
    view = make_view()
    with workplace("long_values") as folder, ExitStack() as stack:
        if kind == "server":
            server = stack.enter_context(running(folder / "server", "--proto-max-bulk-len", "1mb"))
            online = OnlineStore(stack.enter_context(redis.Redis(host=HOST, port=server.port)))
        else:
            nodes = stack.enter_context(cluster(folder, "--proto-max-bulk-len", "1mb", masters=1, replicas=0))
            online = OnlineStore(stack.enter_context(nodes.client()))
        message = r"a value of 3,0\d\d,\d\d\d bytes .* takes 1,048,576 .*proto-max-bulk-len.* -> "
        with pytest.raises(InvalidRowsError, match=message):
            materialize(view, offline, online)
        assert online.freshness(view).watermark is None
        with pytest.raises(InvalidRowsError, match=message):
            online.push(view, [{"id": "b", "ts": at(1), "x": "x" * 3_000_000}])
