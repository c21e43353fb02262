"""How tasks fail: the log says what is wrong and what to do, with no driver's traceback below."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException
from online_features.common.log_lines import in_two_lines, say
from online_features.errors import OnlineFeaturesError, TerminalError


def failure(log: Any, message: str) -> AirflowFailException:
    """Log what is wrong and what to do, and return the exception that fails the task without retries.

    Raise it ``from None``: Airflow logs the tracebacks of all exceptions behind it.

    :param log: of the task.
    """
    say(log.error, message)
    return AirflowFailException(in_two_lines(message))


@contextmanager
def ending_in_words(log: Any, **conn_ids: str) -> Iterator[None]:
    """End the log of a task that fails by what is wrong and what to do.

    :param log: of the task.
    :param conn_ids: of the task, which errors about connections name.
    :raises AirflowFailException: in place of a terminal error.
    :raises TransientError: the same, without the driver's exceptions, which are logged above it.
    """
    try:
        yield
    except OnlineFeaturesError as error:
        # Imported here: parsing a DAG file needs none of it.
        from online_features_provider.hooks.connections import named

        told = named(error, **conn_ids)
        if isinstance(told, TerminalError):
            log.debug("Traceback", exc_info=error)
            raise failure(log, str(told)) from None
        log.warning("Traceback", exc_info=error)
        say(log.error, str(told))
        # A new one: a context manager that raises what it was thrown leaves the traceback as it was.
        raise type(told)(in_two_lines(str(told))) from None
