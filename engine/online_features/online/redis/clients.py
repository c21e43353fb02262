"""Clients of redis-py that this package makes: bounded in time and connections, and never without TLS by mistake."""

from __future__ import annotations

import logging
from inspect import Parameter, signature
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import FullJitterBackoff
from redis.retry import Retry

from online_features.errors import OnlineAccessError
from online_features.online.redis.credentials import adapted

# For connecting, for the handshake of TLS, and for a reply: redis-py before 8 has no limit.
TIMEOUT_SECONDS = 5.0
CONNECTIONS = 100  # of one client to one server
# After errors that come at once, not after time-outs: redis-py retries those ten times, which takes a minute.
RETRIES = 3
BACKOFF = FullJitterBackoff(base=0.01, cap=1.0)  # seconds

# redis-py before 5.3 needs the name of a command to return a connection of a pool; later versions warn if one is given.
_PARAMETER = signature(redis.ConnectionPool.get_connection).parameters.get("command_name")
PURPOSE = ("HMGET",) if _PARAMETER is not None and _PARAMETER.default is Parameter.empty else ()

SCHEMES = ("redis", "rediss", "unix")

log = logging.getLogger(__name__)


def bounds(library: ModuleType, *, retries: int = RETRIES) -> dict[str, Any]:
    """Return options of redis-py that bound how long a client waits and how many connections it makes.

    :param library: ``redis`` or ``redis.asyncio``.
    """
    retry = AsyncRetry if library is redis.asyncio else Retry
    return {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "max_connections": CONNECTIONS,
        "retry": retry(BACKOFF, retries, (redis.ConnectionError,)),
    }


def handshake(library: ModuleType) -> dict[str, Any]:
    """Return options of redis-py by which a connection to a server is logged in or closed; not for a cluster's client.

    redis-py closes it after errors of its own alone. If a task is cancelled within the handshake, or a signal raises an
    error, the connection would stay in the pool, without a login and in database 0.

    :param library: ``redis`` or ``redis.asyncio``.
    """
    return {"redis_connect_func": _shake_hands_async if library is redis.asyncio else _shake_hands}


def _shake_hands(connection: Any) -> None:
    try:
        connection.on_connect()
    except BaseException:
        connection.disconnect()
        raise


async def _shake_hands_async(connection: Any) -> None:
    try:
        await connection.on_connect()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise


def client_of(url: str, credential_provider: redis.CredentialProvider | None = None) -> redis.Redis:
    """Make a client for a URL; it connects when it is first used.

    :param credential_provider: gives user and password for each login, in place of those in the URL.
    :raises OnlineAccessError: when the URL, an option in it, or the provider cannot be used.
    """
    return _client_of(url, credential_provider, redis)  # type: ignore[no-any-return]


def async_client_of(url: str, credential_provider: redis.CredentialProvider | None = None) -> redis.asyncio.Redis:
    """Make an asyncio client for a URL, as :func:`client_of` does."""
    return _client_of(url, credential_provider, redis.asyncio)  # type: ignore[no-any-return]


def check_client(client: Any) -> None:
    """Refuse anything but a client that :class:`~online_features.OnlineStore` can use.

    :raises OnlineAccessError: naming the store that takes such a client, if there is one.
    """
    _check_client("OnlineStore", client, redis)


def check_async_client(client: Any) -> None:
    """Refuse anything but a client that :class:`~online_features.AsyncOnlineStore` can use.

    :raises OnlineAccessError: naming the store that takes such a client, if there is one.
    """
    _check_client("AsyncOnlineStore", client, redis.asyncio)


def _client_of(url: str, credential_provider: Any, library: ModuleType) -> Any:
    """Make a client of a library.

    :raises OnlineAccessError: when the URL, an option in it, or the provider cannot be used.
    """
    given = _checked(url)
    login = {} if credential_provider is None else {"credential_provider": adapted(credential_provider)}
    if login and ("@" in urlsplit(url).netloc or {"username", "password"} & given.keys()):
        raise OnlineAccessError(
            "the URL of Redis has a user or a password, and credential_provider= gives both -> leave them out there"
        )
    checks_certificate = given.get("ssl_cert_reqs") != ["none"]
    # redis-py before 6 does not check the host's name unless it is set.
    of_tls = {"ssl_check_hostname": checks_certificate} if url.startswith("rediss:") else {}
    try:
        pool = library.ConnectionPool.from_url(url, **bounds(library), **handshake(library), **of_tls, **login)
        # As Redis.from_url does, which would not let a provider renew the credentials of open connections.
        client = library.Redis(connection_pool=pool, **login)
        client.auto_close_connection_pool = True
        made = pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, redis.RedisError) as error:
        # Without the URL: it may hold a password.
        raise OnlineAccessError(f"the URL of Redis cannot be used: {error} -> correct it") from error
    if isinstance(made, (redis.SSLConnection, redis.asyncio.SSLConnection)):
        options = pool.connection_kwargs
        if options["ssl_check_hostname"] and not checks_certificate:
            raise OnlineAccessError(
                "the URL of Redis: ssl_check_hostname has no effect with ssl_cert_reqs=none -> leave one of them out"
            )
        warn_of_unchecked("the URL of Redis", certificate=checks_certificate, host_name=options["ssl_check_hostname"])
    return client


def _check_client(store: str, client: Any, library: ModuleType) -> None:
    if isinstance(client, (library.Redis, library.RedisCluster)):
        return
    other, its = ("AsyncOnlineStore", redis.asyncio) if library is redis else ("OnlineStore", redis)
    cure = (
        f"give it to {other}" if isinstance(client, (its.Redis, its.RedisCluster)) else f"{store}.from_url takes a URL"
    )
    raise OnlineAccessError(
        f"client= of {store} must be a Redis or RedisCluster of {library.__name__}, not a {type(client).__module__}."
        f"{type(client).__qualname__} -> {cure}"
    )


def _checked(url: Any) -> dict[str, list[str]]:
    """Return the options in a URL.

    :raises OnlineAccessError: when redis-py would silently ignore one of them, or the URL cannot be used.
    """
    scheme, _, _ = url.partition("://") if isinstance(url, str) else ("", "", "")
    if scheme not in SCHEMES:
        raise OnlineAccessError(
            "the URL of Redis must be a text that begins with redis://, rediss:// (TLS) or unix:// -> for example "
            "redis://localhost:6379/0"
        )
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # Without the reason, which may repeat a part of the password.
        raise OnlineAccessError(
            "host or port in the URL of Redis cannot be read -> correct them, and percent-encode special characters in "
            "user and password"
        ) from None
    given = parse_qs(parts.query, keep_blank_values=True)
    of_tls = sorted(name for name in given if name.startswith("ssl"))
    if scheme != "rediss" and of_tls:
        raise OnlineAccessError(
            f"option {of_tls[0]!r} in the URL of Redis is for TLS, which {scheme}:// does not use -> write rediss://, "
            "or leave it out"
        )
    database = parts.path.strip("/")
    if scheme != "unix" and database and not database.isdecimal():
        raise OnlineAccessError("the path in the URL of Redis is not the number of a database -> write for example /0")
    return given


def warn_of_unchecked(what: str, *, certificate: bool, host_name: bool) -> None:
    """Log which checks of TLS are switched off.

    :param what: the connection, as the message begins.
    """
    if not certificate:
        cure = "set ssl_cert_reqs to required, and ssl_ca_certs to the authority's file"
        log.warning("%s: TLS does not check the server's certificate (ssl_cert_reqs) -> %s", what, cure)
    elif not host_name:
        cure = "set ssl_check_hostname to true; Airflow's form saves false unasked"
        log.warning("%s: TLS does not check the server's name (ssl_check_hostname) -> %s", what, cure)


def uses_tls(client: Any) -> bool:
    """Return whether connections of a client use TLS."""
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        kind = pool.connection_class
    else:
        # redis-py's clients of a cluster: the one for asyncio keeps the class, the other one a flag.
        options = _connection_options(client)
        kind = options.get("connection_class", redis.SSLConnection if options.get("ssl") else None)
    return isinstance(kind, type) and issubclass(kind, (redis.SSLConnection, redis.asyncio.SSLConnection))


def renews_login(client: Any) -> bool:
    """Return whether each login of a client gets credentials of its own, so that one may succeed after a refusal."""
    return _connection_options(client).get("credential_provider") is not None


def _connection_options(client: Any) -> dict[str, Any]:
    """Return the options of redis-py with which a client makes connections."""
    # A client of a cluster has no pool: it has them itself, or its list of nodes does.
    holders = (getattr(client, "connection_pool", None), getattr(client, "nodes_manager", None), client)
    return {name: value for holder in holders for name, value in getattr(holder, "connection_kwargs", {}).items()}
