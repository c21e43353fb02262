"""``@task.push_features``: what a function returns is pushed inside its own task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DecoratedOperator, determine_kwargs, task_decorator_factory

from online_features_provider.operators.push import PushOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator


class PushDecoratedOperator(DecoratedOperator, PushOperator):
    """Calls a function and pushes the rows that it returns; the counters, not the rows, are the task's XCom."""

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields, *(field for field in PushOperator.template_fields if field != "rows")
    )  # fmt: skip
    custom_operator_name = "@task.push_features"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(rows=(), **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function as ``@task`` does, and push what it returns."""
        arguments = determine_kwargs(self.python_callable, self.op_args, {**context, **self.op_kwargs})
        return self.push(self.python_callable(*self.op_args, **arguments), context)


def push_features_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Push the rows that a function returns; the decorator takes what :class:`PushOperator` takes, except ``rows``.

    :param python_callable: the function; it returns what :meth:`~online_features.OnlineStore.push` takes.
    """
    return task_decorator_factory(python_callable, decorated_operator_class=PushDecoratedOperator, **kwargs)
