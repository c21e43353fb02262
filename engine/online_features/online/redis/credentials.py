"""Credentials that redis-py asks for at each login, such as tokens that expire, in place of a user and a password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis
from redis import credentials

from online_features.errors import OnlineAccessError, OnlineFeaturesError

# redis-py before 5.3 has no credentials that are renewed on open connections.
Streaming: Any = getattr(credentials, "StreamingCredentialProvider", None)


class NoCredentialsError(redis.ConnectionError):
    """A credential provider has failed, so there is nothing to log in with."""


def adapted(provider: Any) -> redis.CredentialProvider:
    """Return a credential provider whose failures are errors of redis-py, and which does not block an event loop.

    :raises OnlineAccessError: when it is not a credential provider.
    """
    if not isinstance(provider, redis.CredentialProvider):
        raise OnlineAccessError(
            f"credential_provider= must be a redis.CredentialProvider, not a {type(provider).__name__} -> give an "
            "instance of a subclass with get_credentials()"
        )
    is_streaming = Streaming is not None and isinstance(provider, Streaming)
    return _AdaptedStreaming(provider) if is_streaming else _Adapted(provider)


class _Adapted(redis.CredentialProvider):
    """Credentials of another provider."""

    def __init__(self, provider: redis.CredentialProvider) -> None:
        self._provider: Any = provider

    def get_credentials(self) -> Any:
        with _translated(self._provider):
            return _checked(self._provider.get_credentials())

    async def get_credentials_async(self) -> Any:
        provider = self._provider
        with _translated(provider):
            if type(provider).get_credentials_async is redis.CredentialProvider.get_credentials_async:
                return _checked(await asyncio.to_thread(provider.get_credentials))
            return _checked(await provider.get_credentials_async())


class _AdaptedStreaming(_Adapted, Streaming or redis.CredentialProvider):  # type: ignore[misc]
    """Credentials of another provider, which renews them on open connections."""

    def on_next(self, callback: Callable[[Any], None]) -> None:
        self._provider.on_next(callback)

    def on_error(self, callback: Callable[[Exception], None]) -> None:
        self._provider.on_error(callback)

    def is_streaming(self) -> bool:
        return bool(self._provider.is_streaming())


def _checked(credentials: Any) -> Any:
    """Return credentials that Redis can be sent.

    :raises OnlineAccessError: naming their type alone, because they are secret.
    """
    match credentials:
        case [*words] if len(words) in (1, 2) and all(map(_is_word, words)):
            return tuple(words)
        case [*words]:
            found = f"({', '.join(type(word).__name__ for word in words)})"
        case _:
            found = type(credentials).__name__
    raise OnlineAccessError(
        f"a credential provider has returned {found} -> return (user, password) or (password,), texts in UTF-8"
    )


def _is_word(word: Any) -> bool:
    if isinstance(word, str):
        with suppress(UnicodeEncodeError):
            word = word.encode()
    return isinstance(word, bytes)


@contextmanager
def _translated(provider: object) -> Iterator[None]:
    """Raise an error of redis-py in place of whatever a provider raises: redis-py closes its connection after those."""
    try:
        yield
    except (OnlineFeaturesError, redis.RedisError):
        raise
    except Exception as failure:
        kind = type(provider)
        raise NoCredentialsError(
            f"{kind.__module__}.{kind.__qualname__} gives no credentials: {type(failure).__name__}: {failure}"
        ) from failure
