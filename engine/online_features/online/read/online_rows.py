"""The result of a read: one row per entity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from online_features.errors import AmbiguousNameError
from online_features.extras import needs_materialize
from online_features.online.read.freshness import Freshness

if TYPE_CHECKING:
    import pandas

Status = Literal["present", "not_found", "expired", "unreadable"]


class OnlineRow(NamedTuple):
    """The online row of one entity.

    :param entity: join keys, as given by the caller.
    :param status: ``expired``: the row is past its ttl, but Redis has not dropped it yet. ``unreadable``: the row is
        damaged, or was written before a column changed its type.
    :param event_timestamp: of the row; ``None`` unless present.
    :param values: feature name to value; all ``None`` unless present.
    :param reason: why the row is unreadable, and the cure; otherwise empty.
    """

    entity: Mapping[str, Any]
    status: Status
    event_timestamp: datetime | None
    values: Mapping[str, Any]
    reason: str = ""


class OnlineRows(list[OnlineRow]):
    """Rows, one per entity, in the caller's order.

    :param freshness: of their view. It is read before the rows, so they are at least as fresh.
    :param generation: of the view, from which all of them are.
    """

    def __init__(self, rows: Iterable[OnlineRow], *, freshness: Freshness, generation: str) -> None:
        super().__init__(rows)
        self.freshness = freshness
        self.generation = generation

    def to_pandas(self) -> pandas.DataFrame:
        """Return one line per row: join keys, ``event_timestamp``, ``status``, then features.

        :raises AmbiguousNameError: when a feature has the name of another column.
        """
        with needs_materialize("for to_pandas()"):
            import pandas

        for row in self:
            for name in {*row.entity, "event_timestamp", "status"}.intersection(row.values):
                raise AmbiguousNameError(
                    f"feature {name!r} has the name of another column; leave it out with features="
                )
        return pandas.DataFrame(
            [{**row.entity, "event_timestamp": row.event_timestamp, "status": row.status, **row.values} for row in self]
        )
