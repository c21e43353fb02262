"""``@task.push_features``: push the rows that a function returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DecoratedOperator, determine_kwargs, task_decorator_factory

from online_features_provider.operators.push import PushOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator


class PushDecoratedOperator(DecoratedOperator, PushOperator):
    """Call a function, and push the rows that it returns; the XCom holds the counters, not the rows."""

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields, *(field for field in PushOperator.template_fields if field != "rows")
    )  # fmt: skip
    custom_operator_name = "@task.push_features"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(rows=(), **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function as ``@task`` does, and push its result."""
        arguments = determine_kwargs(self.python_callable, self.op_args, {**context, **self.op_kwargs})
        return self.push(self.python_callable(*self.op_args, **arguments), context)


def push_features_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a task that pushes the rows that a function returns.

    :param python_callable: returns rows as for :meth:`~online_features.OnlineStore.push`.
    :param kwargs: other arguments of :class:`.PushOperator`, except ``rows``.
    """
    return task_decorator_factory(python_callable, decorated_operator_class=PushDecoratedOperator, **kwargs)
