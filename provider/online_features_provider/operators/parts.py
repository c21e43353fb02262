"""The operators that build a generation in parts: one plans, mapped tasks copy a part each, and one finishes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf
from online_features.errors import OptionError

from online_features_provider.operators._copy_operator import CopyOperator, ReplicatedCopyOperator, RunEndingOperator
from online_features_provider.operators.rendered_fields import count, given_options, is_template, parse_bool
from online_features_provider.view_reference import short_name

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg
    from online_features.feature_view import FeatureView
    from online_features.materialization.parts.build_plan import BuildPlan


class PlanBuildOperator(CopyOperator):
    """Begin a full run of a feature view that mapped tasks go on with, each with a part of the source.

    It registers a new generation and divides the source. The build of an earlier run of the DAG is given up, if it is
    unfinished. So a retry is safe, and so is clearing the task together with those behind it.

    All parameters are templated.

    :param feature_view: the view, or its import path, such as ``"features.views.plane_trips"``, which is imported when
        the task runs.
    :param postgres_conn_id: Airflow connection of the offline store.
    :param redis_conn_id: Airflow connection of the online store.
    :param parts: into how many parts to divide the source, at most Airflow's ``[core] max_map_length``; default 16.
        There are fewer where the source has fewer entities.
    :param prune: leave out pushed rows with an event timestamp before the beginning of the run.
    :param ignore_memory: build although Redis may have too little memory.
    :param retry_for: how long to retry within one attempt of the task when a store cannot be reached; default one
        minute.
    :param statement_timeout: how long each statement may take in Postgres; default: the setting of connection, role or
        server.
    :returns: the parts, to map a :class:`.MaterializePartOperator` over.
    :raises OptionError: when the number of parts is out of its range.
    """

    template_fields: Sequence[str] = (*CopyOperator.template_fields, "parts", "prune", "ignore_memory")

    def __init__(
        self,
        *,
        parts: int | str | None = None,
        prune: bool | str = False,
        ignore_memory: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not is_template(parts):
            _number_of_parts(parts)
        self.parts = parts
        self.prune = prune
        self.ignore_memory = ignore_memory

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Plan the build; return its parts."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.materialization.parts.plan_build import plan_build

        with self.working() as view:
            plan = plan_build(
                view,
                *self.stores(view),
                prune=parse_bool("prune", self.prune),
                ignore_memory=parse_bool("ignore_memory", self.ignore_memory),
                origin=self.origin(context),
                **self.options(),
            )
        return [part.to_dict() for part in plan.parts]

    def options(self) -> dict[str, Any]:
        """Return the options that were given, as arguments of :func:`~online_features.plan_build`."""
        return super().options() | given_options(parts=_number_of_parts(self.parts))


class MaterializePartOperator(ReplicatedCopyOperator):
    """Copy one part of a build; mapped over what a :class:`.PlanBuildOperator` returns.

    Retries are safe, and so is the same part in two tasks at once. If the build is complete already, the task does
    nothing and succeeds. If it was given up for another, the task fails at once.

    All parameters are templated.

    :param feature_view: the view, as for :class:`.PlanBuildOperator`.
    :param postgres_conn_id: Airflow connection of the offline store.
    :param redis_conn_id: Airflow connection of the online store.
    :param part: one of the parts.
    :param retry_for: as for :class:`.PlanBuildOperator`.
    :param wait_for_replicas: how many replicas of each node of a cluster must have the rows before the part counts;
        default none. For those of a single server, the last task waits.
    :param replica_timeout: how long to wait for them; default ten seconds.
    :param statement_timeout: as for :class:`.PlanBuildOperator`.
    :returns: the :class:`~online_features.PartResult` as a dictionary.
    """

    template_fields: Sequence[str] = (*ReplicatedCopyOperator.template_fields, "part")
    mapped_name: ClassVar[str] = "{{ task.view_name }} part {{ task.part.number }}"

    def __init__(self, *, part: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.part = part

    @property
    def view_name(self) -> str:
        """The name of the view, for that of the mapped task."""
        return short_name(self.feature_view)

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Copy the part; return its counters."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.materialization.parts.build_plan import BuildPart
        from online_features.materialization.parts.materialize_part import materialize_part

        with self.working() as view:
            part = BuildPart.from_dict(view, self.part)
            result = materialize_part(part, *self.stores(view), **self.options())
        return {"feature_view": str(view), **result.to_dict()}


class FinishBuildOperator(RunEndingOperator):
    """Judge a build of which all parts are written, catch up with the source, and publish it.

    A retry is safe: what is published stays so. All parameters but ``emit`` are templated.

    :param feature_view: the view, as for :class:`.PlanBuildOperator`.
    :param postgres_conn_id: Airflow connection of the offline store.
    :param redis_conn_id: Airflow connection of the online store.
    :param parts: what the :class:`.PlanBuildOperator` has returned.
    :param publish: let readers see the new generation; otherwise it is left to a :class:`.PublishOperator` downstream.
    :param allow_empty: let a generation without rows replace one with rows.
    :param ignore_checks: publish although rows have failed checks of the view.
    :param keep_generations: how many generations to keep to roll back to; default one.
    :param retry_for: as for :class:`.PlanBuildOperator`.
    :param wait_for_replicas: how many replicas of Redis must have the rows before the watermark moves; default none.
    :param replica_timeout: how long to wait for them; default ten seconds.
    :param statement_timeout: as for :class:`.PlanBuildOperator`.
    :param emit: when a successful task emits an event of the view's asset: ``"changed"``, the default, and
        ``"always"`` are the same here; or ``"never"``. A build that is not published emits none.
    :returns: the :class:`~online_features.MaterializationResult` of the whole run as a dictionary, as
        :class:`.MaterializeOperator` does. A task whose rows fail checks of the view fails at once; their results are
        its XCom with key ``checks``.
    """

    template_fields: Sequence[str] = (*RunEndingOperator.template_fields, "parts")

    def __init__(self, *, parts: Sequence[Mapping[str, Any]] | XComArg, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = parts

    def execute(self, context: Context) -> dict[str, Any]:
        """Finish the build; return the result of the whole run."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.materialization.parts.finish_build import finish_build

        with self.working() as view:
            plan = self._plan(view)
            with self.reporting_checks(context, view):
                result = finish_build(plan, *self.stores(view), origin=self.origin(context), **self.options())
        return self.report(context, view, result, is_switched=True)

    def _plan(self, view: FeatureView) -> BuildPlan:
        """Return the plan that the parts are of.

        :raises OptionError: when they are not what a plan returns.
        """
        from online_features.materialization.parts.build_plan import BuildPart

        match self.parts:
            case [first, *_]:
                return BuildPart.from_dict(view, first).plan
        raise OptionError(f"parts={self.parts!r} are not those of a build -> give the output of a PlanBuildOperator")


def _number_of_parts(parts: int | str | None) -> int | None:
    """Parse the number of parts; each is a mapped task.

    :raises OptionError: when it is out of its range.
    """
    number = count("parts", parts)
    most = conf.getint("core", "max_map_length", fallback=1_024)
    if number is not None and not 1 <= number <= most:
        raise OptionError(
            f"parts={number} is out of its range -> give 1 to {most:,}, the most tasks that Airflow maps "
            "([core] max_map_length)"
        )
    return number
