"""Functions that users hand over."""

from __future__ import annotations

from typing import Any


def is_of_module(function: Any) -> bool:
    """Return whether this is a function of a module, which every process can import by its name."""
    return callable(function) and str(getattr(function, "__qualname__", "<")).isidentifier()
