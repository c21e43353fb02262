"""Failures of Redis as our errors: what the message tells, and which cure it names."""

from __future__ import annotations

import pytest
import redis
from online_features.errors import OnlineStoreUnavailableError
from online_features.online.redis.redis_failures import translated, translation
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.views import VIEW


def test_a_socket_that_is_not_there_is_no_matter_of_certificates() -> None:
    with pytest.raises(OnlineStoreUnavailableError, match="check host and port"), translated(VIEW):
        redis.Redis.from_url("unix:///nowhere/redis.sock", retry=Retry(NoBackoff(), 0)).ping()


def test_an_error_in_a_script_is_told_without_the_script() -> None:
    said = f"OOM command not allowed script: {'0a' * 20}, on @user_script:118."
    assert str(translation(redis.ResponseError(said), "view")).startswith("view, Redis: OOM command not allowed -> ")
