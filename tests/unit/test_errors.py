from __future__ import annotations

import pickle

import pytest
import redis
from online_features import errors
from online_features.errors import OnlineFeaturesError, TerminalError, TransientError
from online_features.offline.failures import translation
from online_features.online.failures import ERRORS

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


def test_every_redis_error_has_a_translation() -> None:
    theirs = [error for error in vars(redis.exceptions).values() if isinstance(error, type)]
    for error in theirs:
        if issubclass(error, redis.RedisError):
            assert any(issubclass(error, known) for known, _, _ in ERRORS), error


def test_a_translation_of_a_base_class_does_not_hide_one_of_its_subclasses() -> None:
    order = [theirs for theirs, _, _ in ERRORS]
    for i, later in enumerate(order):
        assert not any(issubclass(later, earlier) for earlier in order[:i]), later


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
    from tests.unit.test_feature_view import VIEW

    error = translation(VIEW, sqlstate, message)
    assert type(error) is expected
    assert "'view'" in str(error)
    assert " -> " in str(error)
