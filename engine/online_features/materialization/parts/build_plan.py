"""The plan of a build in parts, as tasks hand it on: what names the build, and how many parts it has.

All else is in Redis, beside the generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from online_features.counters import RowCounts
from online_features.errors import OptionError
from online_features.feature_view import FeatureView


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """A build in parts.

    :param run_id: of the run that the parts are of.
    :param generation: that they build.
    :param count: how many parts there are.
    """

    view: FeatureView
    run_id: str
    generation: str
    count: int

    @property
    def parts(self) -> tuple[BuildPart, ...]:
        """The parts, each for one call of :func:`~online_features.materialize_part`."""
        return tuple(BuildPart(plan=self, number=number) for number in range(self.count))


@dataclass(frozen=True, kw_only=True)
class BuildPart:
    """One part of a build.

    :param number: from 0 on.
    """

    plan: BuildPlan
    number: int

    def to_dict(self) -> dict[str, Any]:
        """Return what names the part, but for the view, as JSON-serializable values."""
        return {
            "run_id": self.plan.run_id, "generation": self.plan.generation, "parts": self.plan.count,
            "number": self.number,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, view: FeatureView, given: Mapping[str, Any]) -> BuildPart:
        """Return the part of which :meth:`to_dict` has returned this.

        :raises OptionError: when it has not.
        """
        match given:
            case {"run_id": str(run_id), "generation": str(generation), "parts": int(count), "number": int(number)} if (
                0 <= number < count
            ):
                plan = BuildPlan(view=view, run_id=run_id, generation=generation, count=count)
                return cls(plan=plan, number=number)
        raise OptionError(
            f"feature view {view.name!r}: {given!r} is not a part of a build -> hand on what part.to_dict() returns"
        )


@dataclass(frozen=True, kw_only=True)
class PartResult(RowCounts):
    """What became of the rows of a part.

    :param number: of the part.
    :param seconds: wall time.
    :param bytes_sent: of commands to Redis.
    :param skipped: why nothing was done; else empty.
    """

    number: int
    seconds: float
    bytes_sent: int = 0
    skipped: str = ""
