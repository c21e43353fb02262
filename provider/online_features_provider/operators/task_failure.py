"""How tasks fail: the log ends with what is wrong and what to do, without a driver's traceback below."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import BaseOperator
from online_features.common.log_lines import in_two_lines, say
from online_features.errors import OnlineFeaturesError, TerminalError


class TaskKilled(SystemExit):
    """Airflow has killed the task; it may have retries left."""


class KillableOperator(BaseOperator):
    """Base of operators whose work ends when Airflow kills the task."""

    _work = ""  # what the task is doing

    @contextmanager
    def doing(self, work: str) -> Iterator[None]:
        """Let a kill end what is done in this context.

        :param work: what the task is doing, in words, such as "wrote …".
        """
        self._work = work
        try:
            yield
        finally:
            self._work = ""

    def on_kill(self) -> None:
        """End the work by an exception.

        Airflow calls this from a signal handler, in the thread that works. It also calls it after a time-out, when its
        own exception has already ended the work.

        :raises TaskKilled: while there is work.
        """
        if work := self._work:
            self._work = ""  # a second signal must not interrupt the clean-up
            raise TaskKilled(f"the task was killed while it {work}")


def task_failure(log: Any, message: str) -> AirflowFailException:
    """Log what is wrong and what to do, and return the exception that fails the task without retries.

    Raise it ``from None``: Airflow logs the tracebacks of all chained exceptions.

    :param log: of the task.
    """
    say(log.error, message)
    return AirflowFailException(in_two_lines(message))


@contextmanager
def readable_errors(log: Any, **conn_ids: str) -> Iterator[None]:
    """End the log of a failing task with what is wrong and what to do.

    :param log: of the task.
    :param conn_ids: of the task, by parameter; an error about a connection names it.
    :raises AirflowFailException: in place of a terminal error.
    :raises TransientError: the same error, without the driver's exceptions, which are logged above it.
    """
    try:
        yield
    except OnlineFeaturesError as error:
        # Imported here: parsing a DAG file needs none of it.
        from online_features_provider.hooks.connections import with_connection

        shown = with_connection(error, **conn_ids)
        if isinstance(shown, TerminalError):
            log.debug("Traceback", exc_info=error)
            raise task_failure(log, str(shown)) from None
        log.warning("Traceback", exc_info=error)
        say(log.error, str(shown))
        # A new exception: one that is raised again keeps its traceback.
        raise type(shown)(in_two_lines(str(shown))) from None
