"""The Lua scripts of this package, kept as files beside it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def source(name: str) -> str:
    """Lua source of the script ``name``."""
    return files("online_features.online").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


@cache
def guarded(name: str, layout: str) -> str:
    """Lua source of the script ``name`` for rows of a layout."""
    return "\n".join(map(source, ("common", layout, name)))
