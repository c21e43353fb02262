from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
from online_features import FeatureView
from online_features.online.redis import deployment_of
from online_features.online.redis.deployment import Deployment


@pytest.fixture(params=[False, True], ids=["bytes", "decoded"])
def deployment(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Deployment]:
    """A server, by a client that leaves replies as bytes, and by one that decodes them."""
    with redis.Redis.from_url(redis_url, decode_responses=request.param) as client:
        yield deployment_of(client)


@pytest.fixture
def trips(make_view: Callable[..., FeatureView]) -> FeatureView:
    return make_view(name="trips", layout="json")


@pytest.fixture
def weather(make_view: Callable[..., FeatureView]) -> FeatureView:
    return make_view(name="weather", layout="json")
