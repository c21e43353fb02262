"""The Lua scripts: named, put together and called here only.

Scripts on the state of a view run once per run or push and are sent as a whole (``EVAL``). Scripts on rows run many
times, so they are called by their SHA-1 (``EVALSHA``), and loaded where the server lacks them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from itertools import product, starmap
from typing import Any

from redis.exceptions import NoScriptError

from online_features.layouts.layout import Key, RowLayout
from online_features.layouts.layout_registry import LAYOUTS

# By name, with the files that stand in front of each.
STATE_SCRIPTS: dict[str, tuple[str, ...]] = {
    "push": (), "commit_run": ("history",), "end_run": ("history",),
    "read_generations": (), "change_generations": (), "record_erasures": (), "renew_lease": (), "read_on_primary": (),
    "record_verification": (),
}  # fmt: skip
ROW_SCRIPTS = ("bury", "clear", "delete", "prune", "stamps", "unbury", "write")


@dataclass(frozen=True)
class Script:
    """A Lua script."""

    source: str

    @cached_property
    def sha(self) -> str:
        """The SHA-1 of the source, by which the script is called."""
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    @cached_property
    def load(self) -> tuple[str, str]:
        """The words of the command that loads the script."""
        return ("SCRIPT LOAD", self.source)

    def call(self, keys: Sequence[Key], words: Sequence[Key]) -> tuple[Any, ...]:
        """Return the words of a call by name."""
        return ("EVALSHA", self.sha, len(keys), *keys, *words)

    def call_in_full(self, keys: Sequence[Key], words: Sequence[Key | int]) -> tuple[Any, ...]:
        """Return the words of a call that contains the source."""
        return ("EVAL", self.source, len(keys), *keys, *words)


@cache
def state_script(name: str) -> Script:
    """Return a script on the state of a view."""
    return Script("\n".join(map(_lua, (*STATE_SCRIPTS[name], name))))


@cache
def row_script(name: str, layout: type[RowLayout]) -> Script:
    """Return a script on rows of a layout."""
    return Script(row_functions(layout) + _lua(name))


def row_functions(layout: type[RowLayout]) -> str:
    """Return the Lua source that stands before every script on rows of a layout."""
    of_strings = [_lua("string_rows")] if layout.creates_first else []
    return "\n".join([_lua("common"), layout.lua(), *of_strings, ""])


@cache
def sources_by_sha() -> dict[str, str]:
    """Return the Lua source of every script by its sha."""
    return {script.sha: script.source for script in _all()}


def unknown(replies: Sequence[Any]) -> list[int]:
    """Return the indices of calls whose script the server lacks."""
    return [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]


def _all() -> Iterator[Script]:
    yield from map(state_script, STATE_SCRIPTS)
    yield from starmap(row_script, product(ROW_SCRIPTS, LAYOUTS.values()))


@cache
def _lua(name: str) -> str:
    return files("online_features.online.redis").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
