from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, OptionError
from redis.backoff import ConstantBackoff
from redis.retry import Retry

pytestmark = pytest.mark.oldest


class Connection(redis.Connection):
    """Of a user's own class."""


def copied(client: Any) -> Any:
    return pickle.loads(pickle.dumps(OnlineStore(client, pointer_max_age=timedelta(seconds=3))))


def test_a_copy_connects_as_the_client_does(redis_url: str) -> None:
    pool = redis.ConnectionPool.from_url(
        redis_url, connection_class=Connection, max_connections=7, socket_timeout=3.5, client_name="me",
        decode_responses=True, retry=Retry(ConstantBackoff(0.25), 2),
    )  # fmt: skip
    with redis.Redis.from_pool(pool) as client:
        store = copied(client)
    copy = store._client
    assert copy.ping()
    assert (copy.client_getname(), store._pointer_max_age) == ("me", timedelta(seconds=3))
    options = copy.connection_pool.connection_kwargs
    assert (type(copy.connection_pool.make_connection()), copy.connection_pool.max_connections) == (Connection, 7)
    assert (options["socket_timeout"], options["decode_responses"]) == (3.5, True)
    assert copied(copy)._client.ping()
    copy.close()


def test_what_cannot_be_copied_is_named(redis_url: str) -> None:
    def connect(connection: Any) -> None:
        connection.on_connect()

    client = redis.Redis(redis_connect_func=connect)
    with pytest.raises(OptionError, match="to which option 'redis_connect_func' of the client of Redis cannot"):
        copied(client)


def test_a_copy_of_an_offline_store_reads_with_its_options(
    postgres_uri: str, make_view: Callable[..., FeatureView]
) -> None:
    copy = pickle.loads(pickle.dumps(OfflineStore(postgres_uri, statement_timeout=timedelta(seconds=7))))
    copy.ping()
    with copy._transactions.reading(make_view()) as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "7s"
