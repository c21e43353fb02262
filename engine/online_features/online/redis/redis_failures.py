"""Redis failures as our errors: the driver's exceptions are translated here and nowhere else."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import redis
import redis.asyncio
import redis.sentinel

from online_features.common.retry_budget import RetryBudget
from online_features.errors import (
    FeatureViewError,
    OnlineAccessError,
    OnlineDataError,
    OnlineFeaturesError,
    OnlineStoreFullError,
    OnlineStoreUnavailableError,
    TransientError,
)
from online_features.feature_view import FeatureView
from online_features.layouts.layout_registry import LAYOUTS
from online_features.online.redis.clients import uses_tls
from online_features.online.redis.scripts import sources_by_sha
from online_features.producers.producer_errors import is_producers

Client: TypeAlias = redis.Redis | redis.RedisCluster
AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster
AnyClient: TypeAlias = Client | AsyncClient
ResponseError: TypeAlias = redis.ResponseError  # an error that Redis has replied with
Decision: TypeAlias = tuple[type[OnlineFeaturesError], str]

# What redis-py raises: its exception for clusters has another base.
DriverError: TypeAlias = redis.RedisError | redis.exceptions.RedisClusterException
DRIVER_ERRORS = (redis.RedisError, redis.exceptions.RedisClusterException)


CLIENT_SHOWN = re.compile(r"<redis\.[^<]*<[^<]*<.*?(host=[^,]*,port=\d+).*?>+\)>\)>")  # only the address matters
TO_SOCKET = re.compile(r"connecting to (unix:)?/")

# The place in a script where an error was raised, which means nothing to users.
SCRIPT_SHOWN = re.compile(r",? ?script: [0-9a-f]{40}, on @user_script:\d+\.?")

# The words of a command that a server does not know, or an option that it refuses: of a login they are its secrets.
WORDS_SHOWN = re.compile(r",? with args beginning with:.*|(?<=HELLO option) '.*'", re.DOTALL)

# The key of a row in an error of one of our scripts (common.lua): it is data, and must not be taken for what happened.
ROW_SHOWN = re.compile(r" \(key .*\)$", re.DOTALL)

SHA = re.compile(r"[0-9a-f]{40}")
SCRIPT_LINE = re.compile(r"@user_script: ?(\d+)")
READ_OF_ROW = re.compile(r"of_row\(key, redis\.pcall\('(\w+)'")
BROKEN_OFF = re.compile(r"closed by server|reset by peer|Broken pipe")
CALL = re.compile(r"redis\.p?call\('(\w+)'")
TLS_ALERT = "\\x15"  # the first byte of a server's alert, as the parser of replies shows it


class PersistentReadOnlyError(redis.ReadOnlyError):
    """Redis has refused to write for longer than a failover takes."""


class NoConnectionFreeError(redis.ConnectionError):
    """All connections of a client were in use for too long."""


GRANT: Decision = (OnlineAccessError, "grant the Redis user the command and the keys: ACL LOG shows which")
UNKNOWN: Decision = (
    OnlineAccessError,
    "the server does not know this command (rename-command, or a proxy that leaves it out), which is needed: allow it",
)
NO_HELLO: Decision = (
    OnlineAccessError,
    "the server does not know this command, with which redis-py begins: add ?protocol=2 to the URL, or give the client "
    "protocol=2",
)
LOGIN: Decision = (
    OnlineAccessError,
    "check user and password of the Redis connection, or the identity that its credential provider logs in with",
)
NO_CREDENTIALS: Decision = (
    OnlineStoreUnavailableError,
    "check that the service of the identity can be reached, and that it knows the identity",
)
FULL: Decision = (OnlineStoreFullError, "raise maxmemory, or give the view a ttl")
DISK: Decision = (OnlineStoreFullError, "make room on the disk of Redis, or repair what else keeps it from saving")
AWAY: Decision = (OnlineStoreUnavailableError, "check host and port, and that Redis runs")
BUSY: Decision = (OnlineStoreUnavailableError, "run again; if it stays, look at the load of Redis")
BUSY_CLIENT: Decision = (
    OnlineStoreUnavailableError,
    "raise max_connections of the client (in a URL ?max_connections=200), or read and write less at once",
)
REPLICA: Decision = (OnlineStoreUnavailableError, "connect to the primary, or wait for the failover to end")
REPLICAS: Decision = (OnlineStoreUnavailableError, "bring the replicas back, or lower min-replicas-to-write")
CLUSTER: Decision = (
    OnlineStoreUnavailableError,
    "check the addresses of the cluster's nodes, and that they serve all slots",
)
NO_CLUSTER: Decision = (
    OnlineAccessError,
    "the server is part of a cluster: set cluster to true in the Airflow connection, or give the store a RedisCluster; "
    "a proxy that hides the nodes of a cluster has to show them (OSS Cluster API, OSS clustering policy)",
)
NO_DATABASE: Decision = (OnlineAccessError, "choose a number below that of `databases` in Redis's configuration (16)")
SENTINEL: Decision = (
    OnlineStoreUnavailableError,
    "check addresses and login of the Sentinels, and their primary's name",
)
TLS: Decision = (OnlineAccessError, "check host name, certificates and their authority in the Redis connection")
NO_TLS: Decision = (OnlineAccessError, "the server does not use TLS on this port: leave ssl (rediss://) out, or take "
                                       "the port that does")  # fmt: skip
ONLY_TLS: Decision = (OnlineAccessError, "the server uses TLS on this port: set ssl (in a URL rediss://)")
DATA: Decision = (OnlineDataError, "look at the key and the reply above")

# By name of the exception's class or of the nearest of its bases: not every version of redis-py has all of them.
DECISIONS: dict[str, Decision] = {
    "AuthenticationError": LOGIN,
    "AuthenticationWrongNumberOfArgsError": LOGIN,
    "AuthorizationError": LOGIN,
    "ExternalAuthProviderError": LOGIN,
    "NoCredentialsError": NO_CREDENTIALS,
    "NoPermissionError": GRANT,
    "OutOfMemoryError": FULL,
    "PersistentReadOnlyError": (OnlineAccessError, "connect to the primary: this server is a replica"),
    "ReadOnlyError": REPLICA,
    "MasterNotFoundError": SENTINEL,
    "SlaveNotFoundError": SENTINEL,
    "ConnectionError": AWAY,
    "MaxConnectionsError": BUSY_CLIENT,
    "NoConnectionFreeError": BUSY_CLIENT,
    "BusyLoadingError": BUSY,
    "TimeoutError": BUSY,
    # The connection was lost within a reply, so the rest cannot be parsed.
    "InvalidResponse": AWAY,
    "MasterDownError": REPLICA,
    "ClusterDownError": CLUSTER,
    "ClusterError": CLUSTER,
    "RedisClusterException": CLUSTER,
    "SlotNotCoveredError": CLUSTER,
    "TryAgainError": CLUSTER,
    "AskError": NO_CLUSTER,
    "MovedError": NO_CLUSTER,
    "ClusterCrossSlotError": NO_CLUSTER,
    "CrossSlotTransactionError": NO_CLUSTER,
    "NoScriptError": BUSY,
    # Raised only because of our own mistakes, or for commands that are never sent.
    "DataError": DATA,
    "ExecAbortError": DATA,
    "InvalidPipelineStack": DATA,
    "LockError": DATA,
    "LockNotOwnedError": DATA,
    "ModuleError": DATA,
    "NoSuchFieldsetError": DATA,
    "PubSubError": DATA,
    "WatchError": DATA,
    "ResponseError": DATA,
    "RedisError": BUSY,
}

# By the text of the error: redis-py has no class for these codes, nor for any code in a script's error on Redis 6.2.
# https://github.com/redis/redis/blob/7.0/src/server.c (shared.*err)
REPLIES: tuple[tuple[re.Pattern[str], Decision], ...] = tuple(
    (re.compile(pattern), decision)
    for pattern, decision in (
        (r"(?i)\bunknown command ['`]?HELLO", NO_HELLO),
        (r"(?i)\bunknown (sub)?command", UNKNOWN),
        (r"Unknown Redis command called from", UNKNOWN),
        (r"-?\bOOM command", FULL),
        (r"-?\bMISCONF\b", DISK),
        (r"-READONLY\b", REPLICA),
        (r"DB index is out of range|invalid DB index", NO_DATABASE),
        (r"^(MOVED|ASK|CROSSSLOT)\b|SELECT is not allowed in cluster mode", NO_CLUSTER),
        (r"^(CLUSTERDOWN|TRYAGAIN)\b", CLUSTER),
        (r"-?\bNOREPLICAS\b", REPLICAS),
        (r"^BUSY\b", BUSY),
        # What proxies and managed services say of their own trouble.
        (r"(?i)\binternal (server )?error", BUSY),
        (r"^UNKILLABLE\b", BUSY),
        (r"The user executing the script can't|ACL failure in script", GRANT),  # before and since Redis 7.2
        # A slot that is moving has rows on two nodes.
        (r"non local key in a cluster node", CLUSTER),
    )
)


@contextmanager
def translated(client: AnyClient, *views: FeatureView) -> Iterator[None]:
    """Raise our error for the views in place of redis-py's.

    :raises FeatureViewError: when the client would decode what is bytes.
    :raises OnlineFeaturesError: from the driver's exception.
    """
    for view in views:
        if LAYOUTS[view.layout].is_binary and client.get_encoder().decode_responses:
            raise FeatureViewError(
                f"feature view {view.name!r}: keys and values of layout {view.layout!r} are bytes; give the store a "
                "client with decode_responses=False"
            )
    try:
        yield
    except DRIVER_ERRORS as failure:
        if is_producers(failure):
            raise
        raise translation(failure, named(*views), tls=uses_tls(client)) from failure


def translation(failure: Exception, what: str, *, tls: bool | None = None) -> OnlineFeaturesError:
    """Return our error for one of redis-py.

    :param failure: one of ``DRIVER_ERRORS``.
    :param what: what failed, as the message begins.
    :param tls: whether the client uses TLS, if that is known.
    """
    _leave_words_out(failure)
    error, cure = decision(failure)
    command = _command_of_script(str(failure)) if cure in (UNKNOWN[1], GRANT[1]) else ""
    said = SCRIPT_SHOWN.sub("", CLIENT_SHOWN.sub(r"\1", " ".join(str(failure).split())))
    return error(f"{what}, Redis: {said}{command} -> {cure}{_tls_hint(failure, tls)}")


def _leave_words_out(failure: BaseException | None) -> None:
    """Take the words of commands out of a failure and of those that led to it: logs show all of them."""
    while failure is not None:
        failure.args = tuple(WORDS_SHOWN.sub("", word) if isinstance(word, str) else word for word in failure.args)
        failure = failure.__cause__ or failure.__context__


def _command_of_script(said: str) -> str:
    """Return the command that was refused in one of our scripts; Redis reports only its line."""
    sha = SHA.search(said)
    script = sources_by_sha().get(sha[0], "") if sha else ""
    lines = script.splitlines()
    # The last line has the command; the others have passed its error on.
    for number in reversed(SCRIPT_LINE.findall(said)):
        if called := CALL.search("".join(lines[int(number) - 1 : int(number)])):
            return f" ({called[1]})"
    # Redis 7 reports the line where the error was raised again with the row's key.
    read = READ_OF_ROW.search(script) if "(key " in said else None
    return f" ({read[1]})" if read else ""


def _tls_hint(failure: Exception, tls: bool | None) -> str:
    """Return a hint if perhaps only one side uses TLS, which neither side reports."""
    said = str(failure)
    if isinstance(failure, (redis.sentinel.MasterNotFoundError, redis.asyncio.sentinel.MasterNotFoundError)):
        # It names the class of each Sentinel's failure.
        broke_off, timed_out = "ConnectionError" in said, "TimeoutError" in said
    else:
        broke_off, timed_out = bool(BROKEN_OFF.search(said)), "Timeout connecting" in said
    if tls is False and broke_off:
        return "; if it uses TLS on this port, set ssl (in a URL rediss://)"
    if tls and timed_out:
        return "; if it does not use TLS on this port, leave ssl (rediss://) out"
    return ""


def decision(failure: Exception) -> Decision:
    """Return our error class for a failure, and the cure.

    :param failure: one of ``DRIVER_ERRORS``.
    """
    if _is_of_tls(failure):
        return NO_TLS if "WRONG_VERSION_NUMBER" in str(failure) else TLS
    if isinstance(failure, redis.exceptions.InvalidResponse) and TLS_ALERT in str(failure):
        return ONLY_TLS
    if type(failure) is redis.ResponseError:
        said = ROW_SHOWN.sub("", str(failure))
        for pattern, decided in REPLIES:
            if pattern.search(said):
                return decided
    return next(DECISIONS[kind.__name__] for kind in type(failure).__mro__ if kind.__name__ in DECISIONS)


def _is_of_tls(failure: Exception) -> bool:
    """Return whether TLS fails for good with this server: certificates do not change by themselves."""
    cause = failure.__context__
    broke_off = isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError))
    is_file_missing = isinstance(cause, FileNotFoundError) and not TO_SOCKET.search(str(failure))
    return (isinstance(cause, ssl.SSLError) and not broke_off) or is_file_missing


def is_refused(failure: BaseException) -> bool:
    """Return whether the user may not send this command, or the server lacks it."""
    return isinstance(failure, DRIVER_ERRORS) and decision(failure)[1] in (GRANT[1], UNKNOWN[1])


@contextmanager
def refusal_ignored() -> Iterator[None]:
    """Go on if the user may not send this command, or the server lacks it."""
    try:
        yield
    except redis.ResponseError as refusal:
        if not is_refused(refusal):
            raise


def is_passing(failure: BaseException) -> bool:
    """Return whether the same command may succeed later."""
    return isinstance(failure, DRIVER_ERRORS) and issubclass(decision(failure)[0], TransientError)


@contextmanager
def lasting(retry_budget: RetryBudget) -> Iterator[None]:
    """Turn a READONLY error that outlived the retry budget into a terminal one."""
    try:
        yield
    except redis.RedisError as failure:
        if retry_budget.is_given and decision(failure) is REPLICA:
            raise PersistentReadOnlyError(str(failure)) from failure
        raise


def named(*views: FeatureView) -> str:
    """Return the views by name, or the online store if there are none, as the beginning of a message."""
    if not views:
        return "the online store"
    return f"feature view{'s' if len(views) > 1 else ''} {', '.join(repr(view.name) for view in views)}"
