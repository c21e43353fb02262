"""How far a snapshot of the source is complete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, kw_only=True)
class OpenTransaction:
    """A transaction that holds back what runs may claim.

    :param since: when it began, or was prepared.
    :param age: how long before the horizon was taken, by the source's clock.
    :param user: whose it is.
    :param pid: of its session; ``None`` of a prepared one.
    :param application: the name that its session goes by.
    :param prepared: the identifier of a prepared one.
    """

    since: datetime
    age: timedelta
    user: str | None
    pid: int | None = None
    application: str | None = None
    prepared: str | None = None

    def __str__(self) -> str:
        if self.prepared is not None:
            return f"prepared transaction {self.prepared!r} of user {self.user!r}"
        return f"session {self.pid} of user {self.user!r}, application {self.application!r}"


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """How far a snapshot can be trusted to be complete, by the source's clock.

    :param claim: no transaction in flight can still commit rows stamped earlier, as far as can be seen.
    :param cursor: where the next incremental run may begin; ``None`` when a prepared transaction, whose beginning
        Postgres does not tell, forbids to move on.
    :param is_blind: whether transactions in flight cannot be seen, so that runs have to look back.
    :param oldest: the transaction whose beginning is the claim; ``None`` when the claim is the present.
    """

    claim: datetime
    cursor: datetime | None
    is_blind: bool
    oldest: OpenTransaction | None = None
