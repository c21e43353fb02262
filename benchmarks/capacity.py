"""How long full runs take on more machines: one formula, and what was measured beside it."""

from __future__ import annotations

from dataclasses import dataclass

MILLION = 1_000_000
NODE_BYTES = 0.8 * 64e9  # of rows in a node of Redis with 64 GB; builds stop where less than a twentieth is free
GENERATIONS = 3  # published, one to go back to, and the one that is being built


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Processor seconds of a million entities.

    :param encoding: of the processes that copy them.
    :param bytes: of an entity in Redis.
    """

    postgres: float
    encoding: float
    redis: float
    bytes: float

    def seconds(self, entities: int, *, workers: int, cores: int, nodes: int) -> float:
        """Return how long a full run takes, where Postgres, workers and nodes have processors of their own.

        :param workers: parts at work at the same time.
        :param cores: of Postgres; each part uses one.
        """
        slowest = max(self.postgres / min(workers, cores), self.encoding / workers, self.redis / nodes)
        return entities / MILLION * slowest

    def seconds_beside(self, entities: int, *, workers: int, cores: int) -> float:
        """Return how long it takes where all share the cores of one machine."""
        apart = self.seconds(entities, workers=workers, cores=cores, nodes=1)
        return max(apart, entities / MILLION * (self.postgres + self.encoding + self.redis) / cores)

    def nodes(self, entities: int) -> int:
        """Return how many nodes hold all generations."""
        return max(1, round(entities * self.bytes * GENERATIONS / NODE_BYTES + 0.5))


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What a full run may use.

    :param workers: parts at work at the same time.
    :param cores: of Postgres.
    """

    entities: int
    parts: int
    workers: int
    cores: int


DEPLOYMENTS = (
    Deployment(entities=1 * MILLION, parts=1, workers=1, cores=2),
    Deployment(entities=10 * MILLION, parts=1, workers=1, cores=2),
    Deployment(entities=100 * MILLION, parts=16, workers=8, cores=8),
    Deployment(entities=1_000 * MILLION, parts=64, workers=16, cores=16),
    Deployment(entities=10_000 * MILLION, parts=256, workers=64, cores=64),
)

HEAD = (
    "| entities | parts | at work at once | cores of Postgres | nodes of Redis, 64 GB each, a fifth free "
    "| in Redis, GB | minutes of a full run |"
)


def rows(costs: Costs) -> list[tuple[str, ...]]:
    """Return a row of the table for each deployment."""

    def row(plan: Deployment) -> tuple[str, ...]:
        nodes = costs.nodes(plan.entities)
        seconds = costs.seconds(plan.entities, workers=plan.workers, cores=plan.cores, nodes=nodes)
        gigabytes = plan.entities * costs.bytes * GENERATIONS / 1e9
        return (
            f"{plan.entities:,}", f"{plan.parts}", f"{plan.workers}", f"{plan.cores}", f"{nodes}", f"{gigabytes:,.1f}",
            f"{seconds / 60:,.1f}",
        )  # fmt: skip

    return [row(plan) for plan in DEPLOYMENTS]


def checked(costs: Costs, measured: dict[int, float], *, workers: int, cores: int) -> list[tuple[str, ...]]:
    """Return, for each size that was run, the seconds by the formula and those measured."""
    return [
        (f"{entities:,}", f"{costs.seconds_beside(entities, workers=workers, cores=cores):,.0f}", f"{seconds:,.0f}")
        for entities, seconds in measured.items()
    ]
