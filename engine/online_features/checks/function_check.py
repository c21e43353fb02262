"""A check by a user's function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from online_features.checks.check import Check, CheckResult, DataSummary
from online_features.common.functions import is_of_module

CHARACTERS = 300  # of what a function says, which goes into tables and run records


@dataclass(frozen=True, kw_only=True)
class FunctionCheck(Check):
    """See :func:`.checks.holds`."""

    function: Callable[[Any, Any], str | None]

    name: ClassVar[str] = "holds"
    positional: ClassVar[tuple[str, ...]] = ("function",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_of_module(self.function):
            raise self._error("it must be a function of a module, so that every process can import it")
        try:
            inspect.signature(self.function).bind(None, None)
        except (TypeError, ValueError) as error:
            raise self._error("it must take two arguments: statistics, and published statistics or None") from error

    def judge(self, found: DataSummary, published: DataSummary | None) -> CheckResult:
        """Call the function."""
        wrong = self._wrong(found, published)
        return CheckResult(
            check=str(self),
            outcome=self._outcome([wrong is None]),
            expected="nothing wrong",
            found="nothing wrong" if wrong is None else wrong[:CHARACTERS],
        )

    def _wrong(self, found: DataSummary, published: DataSummary | None) -> str | None:
        """Return what is wrong by the function, or with it."""
        try:
            answer: Any = self.function(found.statistics, published.statistics if published is not None else None)
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises is a failed check
            return f"{type(error).__name__}: {error}"
        if answer is None or isinstance(answer, str):
            return answer
        return f"it returned {answer!r} -> return None, or a text that says what is wrong"
