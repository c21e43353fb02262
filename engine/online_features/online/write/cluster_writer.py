"""Writes ready-made script calls to the nodes of a Redis Cluster, all at once, and follows slots that move."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import redis
from redis.cluster import ClusterNode
from redis.exceptions import AskError, MovedError

from online_features.common.retry_budget import NONE, RetryBudget
from online_features.counters import RowCounts
from online_features.errors import OnlineAccessError
from online_features.layouts.encoder import SlotCall
from online_features.online.redis.redis_failures import DRIVER_ERRORS, is_passing, lasting
from online_features.online.redis.replication import Replication
from online_features.online.redis.servers import Server, server
from online_features.online.write.writer import guarded_writer, row_counts

T = TypeVar("T")

# More than slots move while a batch is written. Each time, what was refused goes to where it was told to.
MOST_MOVES = 16


class ClusterWriter:
    """Writes rows by a guarded script, each where its slot is, and asks single commands.

    It has what a :class:`~online_features.online.redis.session.Session` has, and no connection of its own: those that a
    batch is written on come from the pools of the client's nodes.

    :param script: Lua source that returns the counts written, stale, expired, deleted.
    :param retry_budget: with interruptions.
    :param replication: what must be copied before a batch is acknowledged.
    """

    def __init__(
        self, client: redis.RedisCluster, script: str, retry_budget: RetryBudget, replication: Replication
    ) -> None:  # fmt: skip
        self.bytes_sent = 0
        self._client = client
        self._script = script
        self._retry_budget = retry_budget
        self._replication = replication

    def command(self, *words: str | bytes | int) -> Any:
        """The reply to one command, asked again after an interruption: it may have been carried out twice."""
        return self.steadily(partial(self.exchange, *words))

    def reply(self, *words: str | bytes | int) -> Any:
        """Likewise, or the error with which Redis refuses for good."""
        try:
            return self.command(*words)
        except redis.ResponseError as refusal:
            if is_passing(refusal):
                raise
            return refusal

    def exchange(self, *words: str | bytes | int) -> Any:
        """The reply to one command, asked once of the node that has its key."""
        return self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def steadily(self, do: Callable[[], T]) -> T:
        """What ``do`` returns, done again after an interruption, with a new look at the nodes.

        :raises redis.RedisError: when it cannot succeed, or patience is at an end.
        """

        def attempt() -> T:
            try:
                return do()
            except DRIVER_ERRORS as failure:
                # What lasts is told as it is, not as the nodes' refusal to tell of each other.
                if is_passing(failure):
                    self._client.nodes_manager.initialize()
                raise

        with lasting(self._retry_budget):
            return self._retry_budget.attempt(attempt, is_passing)

    def servers(self) -> frozenset[Server]:
        """The primaries of the cluster, as they are now; to be asked within :meth:`steadily`."""
        self._client.nodes_manager.initialize()
        nodes = self._client.get_primaries()  # type: ignore[no-untyped-call]
        return frozenset(self._server(node) for node in nodes)

    def _server(self, node: ClusterNode) -> Server:
        told = self._client.get_redis_connection(node).info()
        if "run_id" not in told:
            raise OnlineAccessError(
                f"node {node.name} of the cluster does not tell its run_id by INFO, so whether it has lost rows is "
                "unknown -> connect to the nodes themselves, not to a proxy"
            )
        return server(told, node.name)

    def await_replicas(self, key: str, replication: Replication) -> None:
        """Nothing is left to wait for: replicas have been waited for where rows were written, batch by batch."""

    def write(self, rows: int, calls: Sequence[SlotCall]) -> RowCounts:
        """Send the calls and wait until every one of them is acknowledged.

        :param rows: how many rows the calls write.
        :raises OnlineDataError: when the acknowledgements do not account for every row.
        :raises NotReplicatedError: when too few replicas have the rows in time.
        """
        acknowledged: dict[int, Any] = {}

        def go_on() -> None:
            for _ in range(MOST_MOVES):
                refused = self._round({i: call for i, call in enumerate(calls) if i not in acknowledged}, acknowledged)
                if refused is None:
                    return
                self._client.nodes_manager.initialize()
            raise redis.exceptions.ClusterError(f"slots have moved {MOST_MOVES} times while a batch was written")

        self.steadily(go_on)
        return row_counts(rows, acknowledged.values())

    def write_and_ask(
        self, rows: int, calls: Sequence[SlotCall], question: Sequence[str | int]
    ) -> tuple[RowCounts, Any]:
        """Likewise, with a command that follows when every row is written, and its reply."""
        return self.write(rows, calls), self.command(*question)

    def _round(self, waiting: Mapping[int, SlotCall], acknowledged: dict[int, Any]) -> MovedError | None:
        """Send the calls to where their slots are known to be, and keep the replies.

        :returns: a refusal of a node that no longer has a slot.
        """
        by_node: dict[str, dict[int, SlotCall]] = defaultdict(dict)
        for i, call in waiting.items():
            by_node[self._client.nodes_manager.get_node_from_slot(call.slot).name][i] = call
            self.bytes_sent += sum(map(len, call.buffers))
        if not by_node:
            return None
        with ThreadPoolExecutor(max_workers=len(by_node)) as threads:
            replies = [*threads.map(self._write_to, by_node.keys(), by_node.values())]
        failures = []
        for i, reply in chain.from_iterable(of_node.items() for of_node in replies):
            if isinstance(reply, Exception):
                failures.append(reply)
            else:
                acknowledged[i] = reply
        return _moved(failures)

    def _write_to(self, name: str, calls: Mapping[int, SlotCall]) -> dict[int, Any]:
        """What became of calls to a node: replies, errors among them, and where there are none, what broke them off."""
        replies: dict[int, Any] = {}
        node = self._client.get_node(node_name=name)  # type: ignore[no-untyped-call]
        try:
            with guarded_writer(self._client.get_redis_connection(node), self._script, NONE) as writer:
                replies.update(zip(calls, writer.replies(call.buffers for call in calls.values()), strict=True))
                self._replication.await_replicas(writer.exchange)
        except DRIVER_ERRORS as failure:
            # Of what was written on a connection that is lost, nobody can ask any more whether replicas have it.
            replies = {**dict.fromkeys(calls, failure), **({} if self._replication.replicas else replies)}
        return {i: self._asked(reply, calls[i]) if type(reply) is AskError else reply for i, reply in replies.items()}

    def _asked(self, redirection: AskError, call: SlotCall) -> Any:
        """The reply of the node that a slot is on its way to, or what broke it off."""
        host, port = redirection.node_addr
        # The client does not know a node that has joined and has no slot yet.
        node = self._client.get_node(host, port) or ClusterNode(host, port)  # type: ignore[no-untyped-call]
        try:
            with guarded_writer(self._client.get_redis_connection(node), self._script, NONE) as writer:
                reply = writer.asked(call.buffers)
                self._replication.await_replicas(writer.exchange)
        except DRIVER_ERRORS as failure:
            return failure
        return reply


def _moved(failures: Sequence[Exception]) -> MovedError | None:
    """The refusal to be followed at once, where there is nothing else.

    :raises Exception: the first failure that lasts, else the first that may pass.
    """
    others = [failure for failure in failures if not isinstance(failure, MovedError)]
    for failure in sorted(others, key=is_passing):
        raise failure
    return next(iter(failures), None)  # type: ignore[return-value]
