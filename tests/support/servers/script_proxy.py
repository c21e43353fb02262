"""A proxy in front of a Redis that sends each command to another server of many, which all have the same keys.

Each server has a script cache of its own, so a script that was loaded is unknown to the server that is to run it.
"""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from socket import create_connection
from typing import BinaryIO

from online_features.embedded import HOST

STRINGS = (b"$", b"=")  # by the first byte of a value
LISTS = {b"*": 1, b"~": 1, b">": 1, b"%": 2}  # to the number of values of an item

NO_SCRIPT = b"-NOSCRIPT No matching script. Please use EVAL.\r\n"


class ScriptProxy(socketserver.ThreadingTCPServer):
    """A proxy in front of the server.

    :ivar commands: how often each was sent, by its name.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, server: tuple[str, int]) -> None:
        super().__init__((HOST, 0), _Connection)
        self.server = server
        self.commands: Counter[bytes] = Counter()

    @property
    def port(self) -> int:
        """The port to connect to."""
        return int(self.server_address[1])


class _Connection(socketserver.StreamRequestHandler):
    server: ScriptProxy
    rfile: BinaryIO

    def handle(self) -> None:
        with create_connection(self.server.server) as upstream, upstream.makefile("rb") as replies:
            while command := _value(self.rfile):
                name = command.split(b"\r\n")[2].upper()
                self.server.commands[name] += 1
                if name == b"EVALSHA":
                    self.wfile.write(NO_SCRIPT)
                else:
                    upstream.sendall(command)
                    self.wfile.write(_value(replies))


def _value(stream: BinaryIO) -> bytes:
    """Return one value of the protocol as it is; empty when the stream has ended."""
    line = stream.readline()
    kind, length = line[:1], line[1:].strip()
    if kind in STRINGS and length != b"-1":
        return line + stream.read(int(length) + 2)
    if kind in LISTS and length != b"-1":
        return line + b"".join(_value(stream) for _ in range(LISTS[kind] * int(length)))
    return line


@contextmanager
def script_proxy(host: str, port: int) -> Iterator[ScriptProxy]:
    """Run a proxy in front of the server."""
    with ScriptProxy((host, port)) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, name="script proxy")
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
