"""A check of how fresh the rows of entities are, by the rows themselves."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from online_features.common.batches import batched
from online_features.common.instants import to_text
from online_features.errors import InvalidRowsError
from online_features.feature_view import FeatureView
from online_features.online.read._entity_sample import sample_online
from online_features.online.read._row_query import RowQuery, read_rows
from online_features.online.read._view_cache import ViewCache
from online_features.online.read.entity_keys import Entity
from online_features.online.read.freshness import FreshnessBounds
from online_features.online.read.online_rows import OnlineRow
from online_features.online.read.view_freshness_check import (
    FreshnessResult,
    ViewFreshnessCheck,
    check_staleness,
    in_words,
)
from online_features.online.redis.conversation import Conversation
from online_features.online.redis.deployment import KEYS_PER_CALL
from online_features.window import FUTURE_TOLERANCE

ENTITIES_SHOWN = 5  # of each kind, in a message


@dataclass(frozen=True, kw_only=True)
class EntityFreshnessCheck:
    """How many entities must be present online, and how fresh their rows must be.

    :param entities: one mapping per entity, from join key to value; ``None`` checks entities that are online.
    :param sample: check a random sample of this size, of ``entities`` or of the entities online.
    :param share: the share of the checked entities that must pass: above 0, at most 1.
    :param max_staleness: the greatest age of a row, now minus its event timestamp; ``None`` checks only that there is
        a row. A row in the future counts as stale.
    :raises InvalidRowsError: when no entities are given, or the sample or the share is invalid.
    :raises WindowError: when ``max_staleness`` is not a duration.
    """

    view: FeatureView
    entities: Sequence[Entity] | None = None
    sample: int | None = None
    share: float = 1.0
    max_staleness: timedelta | None = None

    def __post_init__(self) -> None:
        check_staleness(self.max_staleness)
        name = f"feature view {self.view.name!r}"
        if self.entities is None and self.sample is None:
            raise InvalidRowsError(f"{name}: a check of entities needs entities=, sample= or both")
        if self.entities is not None and (isinstance(self.entities, str | Mapping) or not self.entities):
            raise InvalidRowsError(f"{name}: entities={self.entities!r} must be a list of mappings that is not empty")
        if self.sample is not None and not (isinstance(self.sample, int) and self.sample > 0):
            raise InvalidRowsError(f"{name}: sample={self.sample!r} must be a number of entities")
        if not 0 < self.share <= 1:
            raise InvalidRowsError(f"{name}: share={self.share!r} must be above 0 and at most 1, such as 0.95")

    def ask(self, views: ViewCache, now: datetime, primaries: int) -> Conversation[FreshnessResult]:
        """Read the entities, and compare them with what is required.

        :param primaries: number of nodes to sample entities from.
        """
        # An unknown view has no entities; this result has the cure.
        of_view = yield from ViewFreshnessCheck(
            view=self.view, max_staleness=timedelta.max, measure="event_timestamp"
        ).ask(views, now, primaries)
        if of_view.kind == "absent":
            return of_view
        entities = yield from self._entities(primaries)
        tally = _Tally(self.view, now, self.max_staleness)
        for some in batched(entities, KEYS_PER_CALL):
            rows = yield from read_rows(RowQuery(self.view, some, (), FreshnessBounds(), now), views)
            # A sampled entity that has been removed since is not missing.
            tally.add(rows if self.entities is not None else [row for row in rows if row.status != "not_found"])
        return tally.result(self.share)

    def _entities(self, primaries: int) -> Conversation[Sequence[Entity]]:
        if self.entities is None:
            assert self.sample is not None
            return (yield from sample_online(self.view, self.sample, primaries))
        if self.sample is None or self.sample >= len(self.entities):
            return self.entities
        return random.sample(self.entities, self.sample)


@dataclass
class _Tally:
    """The checked entities, by status."""

    view: FeatureView
    now: datetime
    max_staleness: timedelta | None
    present: list[OnlineRow] = field(default_factory=list)
    expired: list[Entity] = field(default_factory=list)
    missing: list[Entity] = field(default_factory=list)
    unreadable: list[Entity] = field(default_factory=list)

    def add(self, rows: Sequence[OnlineRow]) -> None:
        for row in rows:
            match row.status:
                case "present":
                    self.present.append(row)
                case "expired":
                    self.expired.append(row.entity)
                case "not_found":
                    self.missing.append(row.entity)
                case "unreadable":
                    self.unreadable.append(row.entity)

    def result(self, share: float) -> FreshnessResult:
        checked = len(self.present) + len(self.expired) + len(self.missing) + len(self.unreadable)
        stale = [row for row in self.present if self._is_stale(row)]
        fresh = len(self.present) - len(stale)
        # By Decimal: in floating point, 7% of 100 is more than 7.
        required = math.ceil(Decimal(str(share)) * checked)
        is_fresh = checked > 0 and fresh >= required
        kind: Literal["fresh", "stale"] = "fresh" if is_fresh else "stale"
        age = "" if self.max_staleness is None else f" and no older than {in_words(self.max_staleness)}"
        message = (
            f"feature view {self.view.name!r}: {fresh:,} of {checked:,} entities are present{age}; needed: "
            f"{required:,}{self._in_words(stale)}"
        )
        if not checked:
            message = f"feature view {self.view.name!r}: none of its entities is online"
        return FreshnessResult(kind=kind, message=message, measured=self._measured(checked, fresh, len(stale)))

    def _in_words(self, stale: Sequence[OnlineRow]) -> str:
        """Name some entities that did not pass, the stalest first."""
        stalest = sorted(stale, key=self._age, reverse=True)
        examples = {
            "stale": [f"{dict(row.entity)!r} ({self._age_in_words(row)})" for row in stalest[:ENTITIES_SHOWN]],
            "missing": [repr(dict(entity)) for entity in self.missing[:ENTITIES_SHOWN]],
            "expired": [repr(dict(entity)) for entity in self.expired[:ENTITIES_SHOWN]],
            "unreadable": [repr(dict(entity)) for entity in self.unreadable[:ENTITIES_SHOWN]],
        }
        numbers = {
            "stale": len(stale), "missing": len(self.missing), "expired": len(self.expired),
            "unreadable": len(self.unreadable),
        }  # fmt: skip
        return "".join(f"; {numbers[kind]:,} {kind}: {', '.join(some)}" for kind, some in examples.items() if some)

    def _measured(self, checked: int, fresh: int, stale: int) -> dict[str, Any]:
        measured: dict[str, Any] = {
            "entities_checked": checked,
            "entities_fresh": fresh,
            "entities_stale": stale,
            "entities_missing": len(self.missing),
            "entities_expired": len(self.expired),
            **({"entities_unreadable": len(self.unreadable)} if self.unreadable else {}),
        }
        if self.present:
            oldest = max(self.present, key=self._age)
            assert oldest.event_timestamp is not None
            measured["oldest_event_timestamp"] = to_text(oldest.event_timestamp)
            measured["oldest_entity_age_seconds"] = self._age(oldest).total_seconds()
        return measured

    def _is_stale(self, row: OnlineRow) -> bool:
        """Return whether the row is too old, or too far in the future."""
        return self.max_staleness is not None and not -FUTURE_TOLERANCE <= self._age(row) <= self.max_staleness

    def _age_in_words(self, row: OnlineRow) -> str:
        age = self._age(row)
        return f"{in_words(age)} old" if age >= timedelta(0) else f"{in_words(-age)} in the future"

    def _age(self, row: OnlineRow) -> timedelta:
        assert row.event_timestamp is not None
        return self.now - row.event_timestamp
