"""A proxy in front of a Redis that answers some commands itself, as managed services and other proxies do."""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from socket import create_connection
from typing import BinaryIO, TypeAlias

from online_features.embedded import HOST
from redis.crc import key_slot

STRINGS = (b"$", b"=")  # by the first byte of a value
LISTS = {b"*": 1, b"~": 1, b">": 1, b"%": 2}  # to the number of values of an item

Words: TypeAlias = Sequence[bytes]  # of a command
Answer: TypeAlias = Callable[[Words], bytes | None]  # the reply to a command, or None to have the server reply


def unknown_scripts(words: Words) -> bytes | None:
    """Answer as many servers would of which each has a script cache of its own."""
    return b"-NOSCRIPT No matching script. Please use EVAL.\r\n" if words[0].upper() == b"EVALSHA" else None


def without(*commands: str) -> Answer:
    """Return what answers as a server that does not know these commands."""
    left_out = {command.encode() for command in commands}

    def answer(words: Words) -> bytes | None:
        return b"-ERR unknown command '%b'\r\n" % words[0] if words[0].upper() in left_out else None

    return answer


def failing_once(error: str) -> Answer:
    """Return what answers each command with this error when it comes for the first time, once connected."""
    met = {b"HELLO", b"AUTH", b"CLIENT", b"SELECT"}

    def answer(words: Words) -> bytes | None:
        name = words[0].upper()
        if name in met:
            return None
        met.add(name)
        return error.encode() + b"\r\n"

    return answer


def one_slot_only(words: Words) -> bytes | None:
    """Answer as a proxy that hides the nodes of a cluster: it takes calls whose keys have one slot."""
    if words[0].upper() not in {b"EVAL", b"EVALSHA"}:
        return None
    slots = {key_slot(key) for key in words[3 : 3 + int(words[2])]}
    return b"-CROSSSLOT Keys in request don't hash to the same slot\r\n" if len(slots) > 1 else None


class AnsweringProxy(socketserver.ThreadingTCPServer):
    """A proxy in front of the server.

    :ivar commands: how often each was sent, by its name.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, server: tuple[str, int], answer: Answer) -> None:
        super().__init__((HOST, 0), _Connection)
        self.server = server
        self.answer = answer
        self.commands: Counter[bytes] = Counter()

    @property
    def port(self) -> int:
        """The port to connect to."""
        return int(self.server_address[1])


class _Connection(socketserver.StreamRequestHandler):
    server: AnsweringProxy
    rfile: BinaryIO

    def handle(self) -> None:
        with create_connection(self.server.server) as upstream, upstream.makefile("rb") as replies:
            while command := _value(self.rfile):
                words = _words(command)
                self.server.commands[words[0].upper()] += 1
                reply = self.server.answer(words)
                if reply is None:
                    upstream.sendall(command)
                    reply = _value(replies)
                self.wfile.write(reply)


def _value(stream: BinaryIO) -> bytes:
    """Return one value of the protocol as it is; empty when the stream has ended."""
    line = stream.readline()
    kind, length = line[:1], line[1:].strip()
    if kind in STRINGS and length != b"-1":
        return line + stream.read(int(length) + 2)
    if kind in LISTS and length != b"-1":
        return line + b"".join(_value(stream) for _ in range(LISTS[kind] * int(length)))
    return line


def _words(command: bytes) -> list[bytes]:
    """Return the words of a command, which are strings in a list."""
    words, at = [], command.index(b"\n") + 1
    while at < len(command):
        begin = command.index(b"\n", at) + 1
        end = begin + int(command[at + 1 : begin])
        words.append(command[begin:end])
        at = end + 2
    return words


@contextmanager
def answering_proxy(host: str, port: int, answer: Answer) -> Iterator[AnsweringProxy]:
    """Run a proxy in front of the server."""
    with AnsweringProxy((host, port), answer) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, name="answering proxy")
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
