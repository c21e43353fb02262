"""The processes of the parts of a run, as the process of the run sees them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from online_features.errors import OptionError, PartLostError
from online_features.materialization.parallel.messages import PartDone, PartTask

# Not multiprocessing's own processes: those cannot be started by a daemonic one, such as a worker of Celery, and they
# would run the user's script again. What is imported stays, so no garbage is looked for in it.
CODE = """
import gc
import sys
gc.disable()
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
sys.path[:] = connection.recv()
from online_features.materialization.parallel.part_process import run
run(connection)
"""

# The threads that NumPy starts as it is imported spin, on cores that other processes of the run need.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}

STDIN, STDERR = 0, 2


class PartProcesses:
    """Starts processes beside the one of the run, which copy a part each; leaving the context ends them.

    :param count: how many to start.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[Connection] = []
        self._copying: dict[int, Connection] = {}

    def __enter__(self) -> PartProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Kill the processes that are left: they hold nothing that has to be given back."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        for connection in self._connections:
            connection.close()
        self._processes, self._connections, self._copying = [], [], {}

    def start(self) -> None:
        """Start the processes, unless they are there already: they import what they need while the run is planned."""
        while len(self._processes) < self.count:
            with _standard_streams_open():
                ours, theirs = multiprocessing.Pipe()
                self._connections.append(ours)
                with theirs:
                    process = subprocess.Popen(  # noqa: S603 - our own interpreter
                        [sys.executable, "-c", CODE, str(theirs.fileno())],
                        pass_fds=[theirs.fileno()],
                        env=ONE_THREAD | os.environ,
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,  # Ctrl-C reaches the process of the run, which ends the others
                    )
            self._processes.append(process)
            ours.send(sys.path)

    def hand_out(self, tasks: Sequence[PartTask]) -> None:
        """Let each process copy a part.

        :raises OptionError: when a task cannot be passed to another process.
        """
        self.start()
        for connection, task in zip(self._connections, tasks, strict=False):
            with suppress(BrokenPipeError):  # the process was killed, which is noticed when nothing comes from it
                connection.send_bytes(_pickled(task))
        self._copying = dict(enumerate(self._connections[: len(tasks)]))

    @property
    def are_done(self) -> bool:
        """Whether all parts are done that were handed out."""
        return not self._copying

    def messages(self, *, waits: bool) -> Iterator[tuple[int, Any]]:
        """Yield what has come from the processes: the number of the task, and the message.

        :param waits: whether to wait for a message, if none has come.
        :raises PartLostError: when a process was killed.
        """
        ready = wait(self._copying.values(), timeout=None if waits else 0)
        for number, connection in [*self._copying.items()]:
            if connection in ready:
                try:
                    message = connection.recv()
                except (EOFError, OSError) as error:
                    raise self._lost(number) from error
                if isinstance(message, PartDone):
                    del self._copying[number]
                yield number, message

    def _lost(self, number: int) -> PartLostError:
        status = self._processes[number].wait()
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"has ended with status {status}"
        return PartLostError(
            f"one of the run's processes {how} before its part was written; the watermark has not moved -> run again; "
            "if it was killed for its memory, with a smaller parallel= or batch_rows="
        )


def _pickled(task: PartTask) -> bytes:
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise OptionError(
            f"feature view {task.view.name!r}: parallel= starts processes, to which the view or a store cannot be "
            f"passed: {error} -> define its functions in modules, or leave parallel= out"
        ) from error


@contextmanager
def _standard_streams_open() -> Iterator[None]:
    """Open the standard streams that are closed: a connection with the number of one would get what is printed."""
    with ExitStack() as opened:
        number = STDIN
        while number <= STDERR:
            number = os.open(os.devnull, os.O_RDWR)
            opened.callback(os.close, number)
            os.set_inheritable(number, number <= STDERR)
        yield
