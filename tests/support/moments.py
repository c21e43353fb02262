"""Moments of a call at which a test lets something else happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def just_before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[], object]) -> None:
    """Let something happen once, just before the next call of a method or function."""
    original = getattr(owner, name)
    left = [act]

    def call(*args: Any, **options: Any) -> Any:
        while left:
            left.pop()()
        return original(*args, **options)

    monkeypatch.setattr(owner, name, call)
