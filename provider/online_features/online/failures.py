"""Redis failures as our errors: the driver's exceptions are translated here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import redis
import redis.asyncio

from online_features.drawing import is_producers
from online_features.errors import (
    FeatureViewError,
    OnlineAccessError,
    OnlineDataError,
    OnlineFeaturesError,
    OnlineStoreFullError,
    OnlineStoreUnavailableError,
)
from online_features.feature_view import FeatureView

AnyClient: TypeAlias = redis.Redis | redis.RedisCluster | redis.asyncio.Redis | redis.asyncio.RedisCluster

# What redis-py raises: of clusters, an exception that is none of its others.
DRIVER_ERRORS = (redis.RedisError, redis.exceptions.RedisClusterException)

# The first class that an exception belongs to counts, so subclasses stand before their bases.
ERRORS: tuple[tuple[type[Exception], type[OnlineFeaturesError], str], ...] = (
    (redis.AuthenticationError, OnlineAccessError, "check user and password of the Redis connection"),
    (redis.exceptions.AuthorizationError, OnlineAccessError, "check user and password of the Redis connection"),
    (redis.exceptions.NoPermissionError, OnlineAccessError, "grant the Redis user the command and the keys"),
    (redis.exceptions.OutOfMemoryError, OnlineStoreFullError, "raise maxmemory, or give the view a ttl"),
    (redis.ReadOnlyError, OnlineStoreUnavailableError, "connect to the primary, or wait for the failover to end"),
    *(
        (unknown, OnlineStoreUnavailableError, "check addresses and login of the Sentinels, and their primary's name")
        for unknown in (redis.sentinel.MasterNotFoundError, redis.asyncio.sentinel.MasterNotFoundError)
    ),
    (redis.ConnectionError, OnlineStoreUnavailableError, "check host and port, and that Redis runs"),
    (redis.TimeoutError, OnlineStoreUnavailableError, "run again; if it stays, look at the load of Redis"),
    (redis.ResponseError, OnlineDataError, "look at the key and the reply above"),
    (redis.RedisError, OnlineStoreUnavailableError, "run again; if it stays, look at the Redis server"),
    (
        redis.exceptions.RedisClusterException,
        OnlineStoreUnavailableError,
        "check the addresses of the cluster's nodes, and that they serve all slots",
    ),
)


@contextmanager
def translated(client: AnyClient, *views: FeatureView) -> Iterator[None]:
    """Raise our error for the views in place of redis-py's.

    :raises FeatureViewError: when the client would decode what is bytes.
    :raises OnlineFeaturesError: from the driver's exception.
    """
    for view in views:
        if view.layout == "feast" and client.get_encoder().decode_responses:
            raise FeatureViewError(
                f"feature view {view.name!r}: keys and values of layout 'feast' are bytes; give the store a client "
                "with decode_responses=False"
            )
    try:
        yield
    except DRIVER_ERRORS as failure:
        if is_producers(failure):
            raise
        raise translation(failure, named(*views)) from failure


def translation(failure: Exception, what: str) -> OnlineFeaturesError:
    """Our error for what redis-py or Redis said.

    :param failure: one of ``DRIVER_ERRORS``.
    :param what: of ours it happened to.
    """
    error, cure = next((ours, cure) for theirs, ours, cure in ERRORS if isinstance(failure, theirs))
    return error(f"{what}, Redis: {' '.join(str(failure).split())} -> {cure}")


def named(*views: FeatureView) -> str:
    """The views as messages begin."""
    return f"feature view{'s' if len(views) > 1 else ''} {', '.join(repr(view.name) for view in views)}"
