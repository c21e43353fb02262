"""The Lua scripts of this package, kept as files beside it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def source(name: str) -> str:
    """Lua source of the script ``name``."""
    return files("online_features.online").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
