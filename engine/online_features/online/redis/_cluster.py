"""Access to a Redis Cluster: writes to its nodes in parallel, and follows slots that move."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import redis
from redis.cluster import ClusterNode
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

from online_features.common.retry_budget import RetryBudget
from online_features.errors import OnlineAccessError
from online_features.layouts.layout import Key
from online_features.online.redis.deployment import Deployment, Session
from online_features.online.redis.redis_failures import DRIVER_ERRORS, is_passing, lasting
from online_features.online.redis.replication import Replication
from online_features.online.redis.scripts import Script
from online_features.online.redis.servers import Server, server
from online_features.resp.commands import Command, CommandForm, Word

if TYPE_CHECKING:
    import numpy as np

    from online_features.layouts.encoder import EncodedRows
    from online_features.online.redis._call_pipeline import CallPipeline
    from online_features.online.redis.row_calls import PackedCall

T = TypeVar("T")

# Rounds in which calls are sent. Each round sends the calls again that a node refused because their slot has moved.
MOST_MOVES = 16


class Cluster(Deployment):
    """The nodes of a cluster."""

    state_is_beside_rows: ClassVar[bool] = False

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands that are sent together to their nodes, errors among them."""
        with self.client.pipeline(transaction=False) as pipeline:
            for form, key in commands:
                pipeline.execute_command(*form.on(key), **_target(self.client, form))
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        return _answered(replies)

    @property
    def primaries(self) -> int:
        """How many nodes have keys of their own."""
        return len(self.client.get_primaries())

    def parts(self, keys: Sequence[Key]) -> list[list[int]]:
        """Return the indices of the keys of each slot."""
        by_slot: dict[int, list[int]] = defaultdict(list)
        for i, key in enumerate(keys):
            by_slot[key_slot(key if isinstance(key, bytes) else key.encode())].append(i)
        return [*by_slot.values()]

    def packed_calls(self, script: Script, rows: EncodedRows, own_words: Sequence[Word]) -> Iterator[PackedCall]:
        """Make calls of the rows of each slot."""
        from online_features.online.redis.row_calls import calls_by_slot

        return calls_by_slot(script, rows, own_words)

    def packed_creates(self, rows: EncodedRows, chosen: np.ndarray) -> Iterator[PackedCall]:
        """Make calls that create the rows of each node."""
        from online_features.online.redis.row_calls import creates_by_node

        return creates_by_node(rows, chosen, self._nodes_of_slots())

    def _nodes_of_slots(self) -> np.ndarray:
        """Return a number for the primary of each slot, the same for all of its slots."""
        import numpy as np

        from online_features.resp.slots import SLOTS

        numbers: dict[str, int] = defaultdict(lambda: len(numbers))
        owners = self.client.nodes_manager.slots_cache
        return np.array([numbers[owners[slot][0].name] if slot in owners else -1 for slot in range(SLOTS)])

    @contextmanager
    def session(self, retry_budget: RetryBudget, replication: Replication) -> Iterator[Session]:
        """Return a session on the pools of the nodes."""
        yield ClusterSession(self.client, retry_budget, self.may_pass, replication)


class ClusterSession(Session):
    """Writes to nodes in parallel, each time on connections from the pools of the nodes.

    :param replication: what must be copied before a call is acknowledged.
    """

    def __init__(
        self,
        client: redis.RedisCluster,
        retry_budget: RetryBudget,
        may_pass: Callable[[BaseException], bool],
        replication: Replication,
    ) -> None:
        super().__init__(retry_budget, may_pass)
        self._client = client
        self._replication = replication
        self._bytes_sent = 0

    @property
    def bytes_sent(self) -> int:
        """Bytes of calls sent so far."""
        return self._bytes_sent

    def exchange(self, *words: Word | int) -> Any:
        """Return the reply to a command that is sent once, to the node that has its key."""
        return self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def steadily(self, do: Callable[[], T]) -> T:
        """Return what ``do`` returns; do it again after an interruption, with a new list of the nodes."""

        def attempt() -> T:
            try:
                return do()
            except DRIVER_ERRORS as failure:
                # Not after a lasting failure: initialize() would fail, too, and its error would hide the first.
                if self._may_pass(failure):
                    self._client.nodes_manager.initialize()
                raise

        with lasting(self._retry_budget):
            return self._retry_budget.attempt(attempt, self._may_pass)

    def servers(self) -> frozenset[Server]:
        """Return the primaries of the cluster, as they are now."""
        self._client.nodes_manager.initialize()
        nodes = self._client.get_primaries()  # type: ignore[no-untyped-call]
        return frozenset(self._server(node) for node in nodes)

    def await_replicas(self, key: str, replication: Replication) -> None:
        """Do nothing: every batch of calls has already waited for the replicas of its node."""

    def send(self, calls: Sequence[PackedCall], then: Sequence[Word | int] = ()) -> list[Any]:
        """Send calls to the nodes of their slots, at once, then a command."""
        acknowledged: dict[int, Any] = {}

        def go_on() -> None:
            for _ in range(MOST_MOVES):
                refused = self._round({i: call for i, call in enumerate(calls) if i not in acknowledged}, acknowledged)
                if refused is None:
                    return
                self._client.nodes_manager.initialize()
            raise redis.exceptions.ClusterError(f"slots have moved {MOST_MOVES} times while a batch was written")

        self.steadily(go_on)
        replies = [acknowledged[i] for i in range(len(calls))]
        return [*replies, self.command(*then)] if then else replies

    def _server(self, node: ClusterNode) -> Server:
        info = self._client.get_redis_connection(node).info()
        if "run_id" not in info:
            raise OnlineAccessError(
                f"INFO of node {node.name} of the cluster has no run_id, so a loss of its rows would go unnoticed "
                "-> connect to the nodes themselves, not to a proxy"
            )
        return server(info, node.name)

    def _round(self, waiting: Mapping[int, PackedCall], acknowledged: dict[int, Any]) -> MovedError | None:
        """Send each call to the node that had its slot last, and keep the replies.

        :returns: an error of a node that no longer has a slot, if there is one.
        """
        by_node: dict[str, dict[int, PackedCall]] = defaultdict(dict)
        for i, call in waiting.items():
            by_node[self._client.nodes_manager.get_node_from_slot(call.slot).name][i] = call
            self._bytes_sent += sum(map(len, call.buffers))
        if not by_node:
            return None
        with ThreadPoolExecutor(max_workers=len(by_node)) as threads:
            replies = [*threads.map(self._send_to, by_node.keys(), by_node.values())]
        failures = []
        for i, reply in chain.from_iterable(of_node.items() for of_node in replies):
            if isinstance(reply, Exception):
                failures.append(reply)
            else:
                acknowledged[i] = reply
        return _moved(failures)

    def _send_to(self, name: str, calls: Mapping[int, PackedCall]) -> dict[int, Any]:
        """Return the reply of a node to each call, or what interrupted the call; errors are among the replies."""
        replies: dict[int, Any] = {}
        try:
            with self._pipeline(self._client.get_node(node_name=name)) as pipeline:  # type: ignore[no-untyped-call]
                replies.update(zip(calls, pipeline.replies(iter(calls.values())), strict=True))
                self._replication.await_replicas(pipeline.exchange)
        except DRIVER_ERRORS as failure:
            # WAIT covers writes of its own connection, so after a failure it is unknown what the replicas have.
            replies = {**dict.fromkeys(calls, failure), **({} if self._replication.replicas else replies)}
        return {i: self._asked(reply, calls[i]) if type(reply) is AskError else reply for i, reply in replies.items()}

    def _asked(self, redirection: AskError, call: PackedCall) -> Any:
        """Return the reply of the node that a slot is moving to, or what interrupted the call."""
        host, port = redirection.node_addr
        # The client's list lacks a node that has joined and has no slot yet.
        node = self._client.get_node(host, port) or ClusterNode(host, port)  # type: ignore[no-untyped-call]
        try:
            with self._pipeline(node) as pipeline:
                reply = pipeline.asked(call)
                self._replication.await_replicas(pipeline.exchange)
        except DRIVER_ERRORS as failure:
            return failure
        return reply

    @contextmanager
    def _pipeline(self, node: ClusterNode) -> Iterator[CallPipeline]:
        from online_features.online.redis._call_pipeline import call_pipeline

        with call_pipeline(self._client.get_redis_connection(node)) as pipeline:
            yield pipeline


class AsyncCluster:
    """The nodes of a cluster, for readers on asyncio."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands that are sent together to their nodes, errors among them."""
        replies = await self._replies(commands)
        if any(isinstance(reply, redis.ConnectionError) for reply in replies):
            # A server may close connections that are old or idle. redis-py notices that when it uses one, for that one.
            for node in self.client.get_nodes():
                if hasattr(node, "disconnect_free_connections"):  # redis-py before 7 lacks it
                    await node.disconnect_free_connections()
            replies = await self._replies(commands)
        return _answered(replies)

    async def _replies(self, commands: Sequence[Command]) -> list[Any]:
        await self.client.initialize()  # so that its primaries are known
        async with self.client.pipeline(transaction=False) as pipeline:
            for form, key in commands:
                pipeline.execute_command(*form.on(key), **_target(self.client, form))
            return await pipeline.execute(raise_on_error=False)  # type: ignore[no-any-return]

    async def primaries(self) -> int:
        """Return how many nodes have keys of their own."""
        await self.client.initialize()  # so that its primaries are known
        return len(self.client.get_primaries())


def _answered(replies: list[Any]) -> list[Any]:
    """Return the replies, refusals of a node among them.

    :raises redis.RedisError: when a node did not answer, which redis-py returns among the replies.
    """
    for reply in replies:
        if isinstance(reply, Exception) and not isinstance(reply, redis.ResponseError):
            raise reply
    return replies


def _target(client: Any, form: CommandForm) -> dict[str, Any]:
    if form.primary is None:
        return {}
    nodes = client.get_primaries()
    # There may be fewer by now; sending the command to one of them twice does no harm.
    return {"target_nodes": nodes[form.primary % len(nodes)]}


def _moved(failures: Sequence[Exception]) -> MovedError | None:
    """Return the first failure if all are caused by slots that have moved; ``None`` if there is no failure.

    :raises Exception: any other failure: the first that lasts, else the first that may pass.
    """
    others = [failure for failure in failures if not isinstance(failure, MovedError)]
    for failure in sorted(others, key=is_passing):
        raise failure
    return next(iter(failures), None)  # type: ignore[return-value]
