"""How far a build in parts has come, as all its tasks tell Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from online_features.materialization.reporting.progress import Progress

if TYPE_CHECKING:
    from online_features.materialization.parts._kept_plan import KeptPlan


@dataclass(frozen=True, kw_only=True)
class PartProgress:
    """How far a part has come.

    :param rows: written so far.
    :param seconds: since it began.
    :param is_done: whether all its rows are written.
    """

    rows: int
    seconds: float
    is_done: bool


def in_words(plan: KeptPlan, stored: Sequence[Mapping[str, Any] | None], now: datetime | None = None) -> str:
    """Describe how far all parts have come, in one line.

    :param stored: of each part; ``None`` if nobody has begun it.
    """
    now = now or datetime.now(UTC)
    begun = {number: PartProgress(**progress) for number, progress in enumerate(stored) if progress is not None}
    rows, seconds = sum(part.rows for part in begun.values()), (now - plan.began).total_seconds()
    left = (plan.expected_rows - rows) * seconds / rows if 0 < rows < plan.expected_rows else None
    whole = Progress(rows=rows, expected_rows=plan.expected_rows, seconds=seconds, seconds_left=left)
    done = sum(part.is_done for part in begun.values())
    words = f"{done} of {len(plan.parts)} parts are written; {whole.in_words(now)}"
    if running := {number: part for number, part in begun.items() if not part.is_done}:
        number, slowest = min(running.items(), key=lambda item: item[1].rows / max(item[1].seconds, 1e-3))
        words += f"; part {number} is the slowest, with {slowest.rows:,} rows in {slowest.seconds:.0f} s"
    return words
