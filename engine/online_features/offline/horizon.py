"""How far a snapshot of the source is complete."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from online_features.common.log_lines import say
from online_features.feature_view import FeatureView

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OpenTransaction:
    """A transaction that holds back what runs may claim.

    :param since: when it began, or was prepared.
    :param age: time since then, by the source's clock.
    :param user: whose it is.
    :param pid: of its session; ``None`` of a prepared one.
    :param application: ``application_name`` of its session.
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
    """How far a snapshot is complete, by the source's clock.

    :param claim: no transaction in flight can still commit rows stamped earlier, as far as can be seen.
    :param cursor: where the next incremental run may begin; ``None`` while there is a prepared transaction, because
        Postgres does not show when it began.
    :param is_blind: whether transactions in flight cannot be seen, so that runs must look back.
    :param oldest: the transaction whose beginning is the claim; ``None`` when the claim is the present.
    :param prepared: the oldest prepared transaction; it holds back the cursor.
    """

    claim: datetime
    cursor: datetime | None
    is_blind: bool
    oldest: OpenTransaction | None = None
    prepared: OpenTransaction | None = None

    @classmethod
    def of(
        cls, now: datetime, session: Mapping[str, Any] | None, prepared: Mapping[str, Any] | None, is_blind: bool
    ) -> Horizon:
        """Make the horizon from the row that ``horizon.sql`` selects."""
        open_session, open_prepared = (
            _open_transaction(now, found) if found is not None else None for found in (session, prepared)
        )
        transactions = [found for found in (open_prepared, open_session) if found is not None]
        oldest = min(transactions, key=lambda transaction: transaction.since, default=None)
        claim = now if oldest is None else min(now, oldest.since)
        return cls(
            claim=claim,
            cursor=claim if open_prepared is None else None,
            is_blind=is_blind,
            oldest=oldest,
            prepared=open_prepared,
        )

    def warn(self, view: FeatureView) -> None:
        """Log what holds back the runs of the view."""
        if self.is_blind:
            say(
                log.warning,
                f"Feature view {view.name!r}: the Postgres role may not see other sessions, or the server is a "
                "standby, so late rows are found by reading back over the last run "
                "-> GRANT pg_read_all_stats to the role",
            )
        if self.prepared is not None:
            log.warning("Feature view %r: a prepared transaction holds back the cursor of incremental runs", view.name)
            since = self.prepared.since.isoformat(timespec="seconds")
            say(log.warning, f"It is {self.prepared}, of {since} -> COMMIT PREPARED it, or ROLLBACK PREPARED")


def _open_transaction(now: datetime, found: Mapping[str, Any]) -> OpenTransaction:
    since = datetime.fromisoformat(found["since"])
    return OpenTransaction(**{**found, "since": since, "age": max(now - since, timedelta(0))})
