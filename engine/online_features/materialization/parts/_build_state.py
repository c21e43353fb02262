"""Looks up a build in parts, before one of its tasks goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from online_features.errors import GenerationError, OnlineDataLostError
from online_features.materialization.parts._kept_plan import KeptPlan
from online_features.materialization.parts.build_plan import BuildPlan
from online_features.online.generations.generation_list import Generation, GenerationState
from online_features.online.generations.view_definition import definition_fingerprint
from online_features.online.generations.view_state import named
from online_features.schema import RowSchema

if TYPE_CHECKING:
    from online_features.online.store import OnlineStore


def listed(plan: BuildPlan, online: OnlineStore) -> Generation:
    """Return the generation of a build as it is listed.

    :raises GenerationError: when another build has taken its place, or it was removed.
    """
    known = online.generations(plan.view).get(plan.generation)
    if known is None or known.run_id != plan.run_id:
        raise _given_up(plan, "is no longer there")
    # Also after its removal has begun.
    if known.state == GenerationState.FAILED or (known.state == GenerationState.RETIRED and known.ready is None):
        raise _given_up(plan, f"was given up: {known.failure}")
    return known


def kept_plan(plan: BuildPlan, online: OnlineStore) -> KeptPlan:
    """Read what the tasks of a build share.

    :raises GenerationError: when Redis has lost it.
    :raises OnlineDataError: when this package has not written it.
    """
    with online._part_ledger(plan.view, plan.generation) as ledger:
        stored = ledger.plan()
    if stored is None:
        raise _given_up(plan, "has lost its plan in Redis")
    with named(ledger.key):
        return KeptPlan.from_dict(stored)


@contextmanager
def only_planning_heals(plan: BuildPlan) -> Iterator[None]:
    """Raise lost data as a lasting error: rows of parts that were copied before may be lost, too.

    :raises GenerationError: in place of :class:`OnlineDataLostError`, after which a run in one task begins again.
    """
    try:
        yield
    except OnlineDataLostError as error:
        raise _given_up(plan, "may lack rows: Redis restarted, failed over or lost data since the plan") from error


def check_definition(plan: BuildPlan, known: Generation, schema: RowSchema) -> None:
    """Refuse to go on with another definition of the view.

    :raises GenerationError: when the view, or a column of its source, has changed since the plan.
    """
    if known.fingerprint != definition_fingerprint(plan.view, schema):
        raise _given_up(plan, "was planned for another definition of the view, or with other columns of its source")


def _given_up(plan: BuildPlan, why: str) -> GenerationError:
    return GenerationError(
        f"feature view {plan.view.name!r}: generation {plan.generation}, which is built in parts, {why} "
        "-> plan again, and run all parts of the new plan"
    )
