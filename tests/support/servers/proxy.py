"""A TCP proxy in front of a Postgres or Redis that makes connections fail in the ways that a test chooses."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from online_features.embedded import HOST

CHUNK_BYTES = 64 * 1024
QUIET_SECONDS = 0.05  # a server that sends nothing for so long has replied to all requests
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST, and unsent bytes are lost

Way = Literal["from_client", "from_server"]
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of a connection.

    :param after_client: bytes of the client that pass before the connection ends; ``None``: all.
    :param after_server: bytes of the server that pass before the connection ends, so that a reply may be truncated;
        ``None``: all.
    :param since: bytes that the client must send before ``after_server`` is counted; empty: count from the beginning.
    :param swallows: after ``after_server`` bytes, drop the rest of the server's reply before the connection ends: the
        request has been executed, and its reply is lost.
    :param ends: how the connection ends: ``close`` as when a process exits, ``reset`` as when a host has restarted, or
        ``stall``, when the network drops all packets, until the client gives up.
    :param delay: seconds by which all bytes are delayed, in both directions.
    """

    after_client: int | None = None
    after_server: int | None = None
    since: bytes = b""
    swallows: bool = False
    ends: Literal["close", "reset", "stall"] = "close"
    delay: float = 0.0


NO_FAULT = Fault()


@dataclass
class Traffic:
    """Counts the bytes that have passed on one connection, without those that were swallowed."""

    fault: Fault
    from_client: int = 0
    from_server: int = 0
    _last_sent: bytes = b""  # by the client
    _counted_from: int | None = None  # the server's byte from which on the fault counts

    def __post_init__(self) -> None:
        self.look_for_since(b"")

    @property
    def has_struck(self) -> bool:
        """Whether the fault has ended the connection, or is about to."""
        return 0 in (self.left("from_client"), self.left("from_server"))

    def left(self, way: Way) -> int | None:
        """Return how many more bytes may pass; ``None``: any number."""
        if way == "from_client":
            return None if self.fault.after_client is None else self.fault.after_client - self.from_client
        if self.fault.after_server is None or self._counted_from is None:
            return None
        return self._counted_from + self.fault.after_server - self.from_server

    def look_for_since(self, sent: bytes) -> None:
        """Count the server's bytes from now on if the client has sent the bytes that the fault starts with."""
        if self._counted_from is None:
            recent = self._last_sent + sent
            if self.fault.since in recent:
                self._counted_from = self.from_server
            self._last_sent = recent[-len(self.fault.since) :]


@dataclass
class Proxy:
    """A proxy that listens on ``port``.

    :ivar connections: all that were accepted, in order.
    :ivar usual: the fault of connections for which none is armed.
    """

    port: int
    server: tuple[str, int]
    connections: list[Traffic] = field(default_factory=list)
    usual: Fault = NO_FAULT
    _armed: deque[Fault | None] = field(default_factory=deque)
    _open: set[asyncio.Task[None]] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _listener: asyncio.Server | None = None

    def arm(self, *faults: Fault | None) -> None:
        """Set the faults of the next connections, one each; ``None`` is for a connection without a fault."""
        self._armed.extend(faults)

    def disarm(self) -> None:
        """Remove all faults of future connections."""
        self._armed.clear()
        self.usual = NO_FAULT

    def cut(self) -> None:
        """Reset all connections now."""
        self._do(self._cut())

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse new connections, as a closed port does; open ones stay."""
        self._do(self._ignore())
        try:
            yield
        finally:
            self._do(self._listen())

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, HOST, self.port, reuse_port=True)

    async def _ignore(self) -> None:
        assert self._listener is not None
        self._listener.close()

    async def _cut(self) -> None:
        for connection in self._open:
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        traffic = Traffic((self._armed.popleft() if self._armed else self.usual) or NO_FAULT)
        self.connections.append(traffic)
        try:
            await _relay(traffic, (reader, writer), await asyncio.open_connection(*self.server))
        except (OSError, asyncio.CancelledError):
            await _end("reset", writer)
        finally:
            self._open.discard(task)


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _relay(traffic: Traffic, client: Side, server: Side) -> None:
    """Relay bytes until a side closes, the fault strikes or the proxy cuts; then end both sides."""
    ends = "reset"
    try:
        ends = await _pass_until_ended(traffic, client, server)
        if ends == "stall":
            await _wait_in_vain(client[0])
    finally:
        for _, writer in (server, client):
            await _end(ends, writer)


async def _pass_until_ended(traffic: Traffic, client: Side, server: Side) -> str:
    ways = [
        asyncio.ensure_future(_pass_on(traffic, "from_client", client[0], server[1])),
        asyncio.ensure_future(_pass_on(traffic, "from_server", server[0], client[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        ended = await asyncio.gather(*ways, return_exceptions=True)
    return traffic.fault.ends if True in ended else "close"


async def _pass_on(
    traffic: Traffic, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:  # fmt: skip
    """Relay one direction; return whether the fault has struck, or ``False`` if the reader's side has closed."""
    rest = b""
    while traffic.left(way) != 0:
        chunk = await reader.read(CHUNK_BYTES)
        if not chunk:
            return False
        if traffic.fault.delay:
            await asyncio.sleep(traffic.fault.delay)
        if way == "from_client":
            traffic.look_for_since(chunk)
        left = traffic.left(way)
        passing, rest = (chunk, b"") if left is None else (chunk[:left], chunk[left:])
        # Counted first, since a test may look as soon as the bytes are there.
        setattr(traffic, way, getattr(traffic, way) + len(passing))
        writer.write(passing)
        await writer.drain()
    if traffic.fault.swallows and way == "from_server":
        await _swallow(reader, rest)
    return True


async def _swallow(reader: asyncio.StreamReader, swallowed: bytes) -> None:
    swallowed = swallowed or await reader.read(CHUNK_BYTES)
    while swallowed:
        try:
            swallowed = await asyncio.wait_for(reader.read(CHUNK_BYTES), QUIET_SECONDS)
        except TimeoutError:
            return


async def _wait_in_vain(reader: asyncio.StreamReader) -> None:
    while await reader.read(CHUNK_BYTES):
        pass


async def _end(how: str, writer: asyncio.StreamWriter) -> None:
    if how == "reset":
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
    writer.close()
    with suppress(OSError):  # the side has closed already
        await writer.wait_closed()


@contextmanager
def proxied(host: str, port: int) -> Iterator[Proxy]:
    """Run a proxy in front of the server."""
    with socket.socket() as reserved:
        # Bound for as long as the proxy runs, so that the port stays ours while it refuses connections.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((HOST, 0))
        proxy = Proxy(reserved.getsockname()[1], (host, port))
        thread = threading.Thread(target=proxy._loop.run_forever, name="proxy")
        thread.start()
        try:
            proxy._do(proxy._listen())
            yield proxy
        finally:
            proxy._do(proxy._ignore())
            proxy.cut()
            proxy._loop.call_soon_threadsafe(proxy._loop.stop)
            thread.join()
            proxy._loop.close()
