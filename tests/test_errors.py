from __future__ import annotations

import importlib
import pickle
import pkgutil
import traceback
from contextlib import suppress

import pytest
import redis
from online_features import errors
from online_features.errors import OnlineFeaturesError, TerminalError, TransientError
from online_features.offline.postgres.postgres_failures import translation
from online_features.online.redis import redis_failures
from online_features.online.redis.redis_failures import DECISIONS, DRIVER_ERRORS, decision
from redis.connection import DefaultParser

pytestmark = pytest.mark.oldest

ALL = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, Exception)]
LEAVES = [error for error in ALL if not error.__subclasses__()]


def test_the_tree_in_the_docstring_names_every_error() -> None:
    assert errors.__doc__ is not None
    assert not [error.__name__ for error in ALL if error.__name__ not in errors.__doc__]


@pytest.mark.parametrize("error", LEAVES)
def test_every_error_is_either_transient_or_terminal(error: type[OnlineFeaturesError]) -> None:
    assert issubclass(error, TransientError) != issubclass(error, TerminalError)


@pytest.mark.parametrize("error", ALL)
def test_every_error_survives_pickling(error: type[OnlineFeaturesError]) -> None:
    copy = pickle.loads(pickle.dumps(error("what -> cure")))
    assert type(copy) is error
    assert str(copy) == "what -> cure"


def redis_errors() -> set[type[Exception]]:
    """Every exception that a module of redis-py defines for what Redis, or the way to it, does."""
    for module in pkgutil.walk_packages(redis.__path__, "redis."):
        with suppress(ImportError):  # of what is optional
            importlib.import_module(module.name)
    found, bases = set(DRIVER_ERRORS), list(DRIVER_ERRORS)
    while bases:
        derived = {error for error in bases.pop().__subclasses__() if error.__module__.startswith("redis.")}
        bases += derived - found
        found |= derived
    return found


def test_it_is_decided_of_every_redis_error_by_itself_whether_it_passes() -> None:
    errors_of_redis = redis_errors()
    assert len(errors_of_redis) > 30
    assert not [error for error in errors_of_redis if error.__name__ not in DECISIONS]


def test_decisions_are_about_errors_that_some_version_of_redis_py_has() -> None:
    ours = {"PersistentReadOnlyError", "NoConnectionFreeError", "NoCredentialsError"}
    newer = {"ExternalAuthProviderError", "NoSuchFieldsetError", "InvalidPipelineStack", "CrossSlotTransactionError"}
    assert DECISIONS.keys() - {error.__name__ for error in redis_errors()} <= ours | newer


SAID = [
    ("OOM command not allowed when used memory > 'maxmemory'.", errors.OnlineStoreFullError, "maxmemory"),
    ("MISCONF Redis is configured to save RDB snapshots, but", errors.OnlineStoreFullError, "disk"),
    ("NOREPLICAS Not enough good replicas to write.", errors.OnlineStoreUnavailableError, "replicas"),
    ("READONLY You can't write against a read only replica.", errors.OnlineStoreUnavailableError, "primary"),
    ("The user executing the script can't run this command", errors.OnlineAccessError, "grant"),
    ("Script attempted to access a non local key in a cluster node", errors.OnlineStoreUnavailableError, "slots"),
    ("unknown command 'HELLO', with args beginning with: '3' 'AUTH'", errors.OnlineAccessError, "protocol=2"),
    ("Internal error", errors.OnlineStoreUnavailableError, "load"),
    ("ERR unknown command 'WAIT' (key p:v:g:{internal error})", errors.OnlineAccessError, "does not know"),
    ("WRONGTYPE not right (key p:v:g:{OOM command, internal error, MISCONF})", errors.OnlineDataError, "key"),
    ("WRONGTYPE Operation against a key holding the wrong kind of value", errors.OnlineDataError, "key"),
]
IN_SCRIPT = "Error running script (call to f_0): @user_script:1: @user_script: 1: -{}"


@pytest.mark.parametrize(
    "said, expected, cure",
    [
        *SAID,
        *((IN_SCRIPT.format(said), expected, cure) for said, expected, cure in SAID),
        ("BUSY Redis is busy running a script.", errors.OnlineStoreUnavailableError, "load"),
    ],
)
def test_what_redis_says_is_told_apart_within_scripts_too(
    said: str, expected: type[OnlineFeaturesError], cure: str
) -> None:
    parsed = DefaultParser.parse_error(said)
    error, told = decision(parsed)
    assert error is expected
    assert cure in told


@pytest.mark.parametrize("said", [
    "unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'user' 'canary' ",
    "Unknown command `AUTH`, with args beginning with: `canary`, ",
    "Syntax error in HELLO option 'canary'",
])  # fmt: skip
def test_the_words_of_a_login_are_in_no_error(said: str) -> None:
    failure = redis.ConnectionError(f"the first command failed: {said}")
    failure.__cause__ = DefaultParser.parse_error(f"ERR {said}")
    told = redis_failures.translation(failure, "the online store")
    assert "canary" not in "".join(traceback.format_exception(failure)) + str(told)


@pytest.mark.parametrize(
    "sqlstate, message, expected",
    [
        ("42P01", 'relation "x" does not exist', errors.SourceNotFoundError),
        ("42703", 'column "x" does not exist', errors.ColumnNotFoundError),
        ("42501", "permission denied for table x", errors.OfflineAccessError),
        ("42601", "syntax error", errors.SourceError),
        ("22012", "division by zero", errors.SourceError),
        ("28P01", "password authentication failed", errors.OfflineAccessError),
        (None, 'FATAL:  password authentication failed for user "u"', errors.OfflineAccessError),
        (None, 'FATAL:  database "x" does not exist', errors.OfflineAccessError),
        (None, "could not connect: Connection refused", errors.OfflineStoreUnavailableError),
        ("57P01", "terminating connection due to administrator command", errors.OfflineStoreUnavailableError),
        ("40001", "conflict with recovery", errors.OfflineStoreUnavailableError),
    ],
)
def test_postgres_failures_are_told_apart(
    sqlstate: str | None, message: str, expected: type[OnlineFeaturesError]
) -> None:
    from tests.support.views import VIEW

    error = translation(VIEW, sqlstate, message)
    assert type(error) is expected
    assert "'view'" in str(error)
    assert " -> " in str(error)
