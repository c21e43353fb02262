"""The Lua scripts of this package, kept as files beside it."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from itertools import product

from online_features.feature_view import LAYOUTS


@cache
def source(name: str) -> str:
    """Lua source of the script ``name``."""
    return files("online_features.online.redis").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


@cache
def layout_source(layout: str) -> str:
    """Lua source of a layout's part of guarded scripts."""
    return files("online_features.layouts").joinpath(layout, f"{layout}.lua").read_text(encoding="utf-8")


@cache
def ending(name: str) -> str:
    """Lua source of the script ``name``, which ends a run and tells it in the history."""
    return "\n".join(map(source, ("history", name)))


@cache
def guarded(name: str, layout: str, *, in_cluster: bool = False) -> str:
    """Lua source of the script ``name`` for rows of a layout.

    :param in_cluster: whether calls name the keys of tombstones, too: see :func:`keys_per_row`.
    """
    told = f"local in_cluster, keys_per_row = {str(in_cluster).lower()}, {keys_per_row(layout, in_cluster=in_cluster)}"
    return "\n".join([told, source("common"), layout_source(layout), source(name)])


@cache
def by_sha() -> dict[str, str]:
    """All scripts, by the name by which Redis calls them."""
    names = [file.name.removesuffix(".lua") for file in files("online_features.online.redis").joinpath("lua").iterdir()]
    guarded_ones = (guarded(*which, in_cluster=flag) for which in product(names, LAYOUTS) for flag in (False, True))
    return {sha(script): script for script in (*map(source, names), *map(ending, names), *guarded_ones)}


def sha(script: str) -> str:
    """The name by which Redis calls a script, from its Lua source."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def keys_per_row(layout: str, *, in_cluster: bool) -> int:
    """How many keys a guarded script takes for each row: in a cluster, also that of its tombstone, if that has one."""
    return 2 if in_cluster and layout != "feast" else 1
