"""The rights in Redis that the work with a view needs, and which of them a user lacks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files

from online_features.feature_view import FeatureView
from online_features.online.redis.login_rights import refuses_command

PARTIES = ("materializing", "publishing", "pushing", "erasing", "reading", "watching")
OPTIONAL = "wanted"  # the occasion of rights without which everything works, but less well

# The words that follow a command and, where it has one, its key: sound ones, since Redis looks at their number first.
ARGUMENTS = {
    "del": (), "exists": (), "get": (), "hgetall": (), "persist": (), "smembers": (), "unlink": (),
    "expire": ("1",), "getrange": ("0", "0"), "hdel": ("f",), "hexists": ("f",), "hget": ("f",),
    "hincrby": ("f", "1"), "hmget": ("f",), "hscan": ("0",), "hset": ("f", "v"), "lpush": ("v",),
    "lrange": ("0", "0"), "ltrim": ("0", "0"), "pexpire": ("1",), "pexpireat": ("1",), "sadd": ("v",), "set": ("v",),
    "setnx": ("v",),
}  # fmt: skip
WITHOUT_KEY = {
    "eval": ("return 0", "0"), "evalsha": ("0" * 40, "0"), "info": (), "scan": ("0",), "script|load": ("return 0",),
    "time": (), "wait": ("0", "0"),
}  # fmt: skip
OF_KEY = "memory|usage"  # a subcommand before the key

# From commands to why Redis would refuse each of them, empty if it would not; None where it cannot be asked.
Ask = Callable[[Sequence[Sequence[str]]], list[str] | None]


def missing(party: str, view: FeatureView, ask: Ask, *, optional: bool = False) -> list[str] | None:
    """Return the rights that a user lacks for the work of a party, as words of ``ACL SETUSER``.

    :param ask: asks Redis what the user may do.
    :param optional: ask for the optional rights instead.
    :returns: ``None`` where Redis cannot be asked.
    """
    rights = needed(party, view, optional=optional)
    commands = [right for right in rights if right.startswith("+")]
    patterns = [right for right in rights if right.startswith("~")]
    keys = [_example(pattern) for pattern in patterns]
    refusals = ask([_trial(command, keys[0] if keys else "any") for command in commands])
    if refusals is None:
        return None
    refused = {command for command, refusal in zip(commands, refusals, strict=True) if refuses_command(refusal)}
    lacking = [command for command in commands if command in refused]
    if not patterns:
        return lacking
    keyed = next((each for each in commands if each not in refused and each[1:] in ARGUMENTS), None)
    if keyed is None:
        return rights  # without a command, keys cannot be tried; what the user has already does no harm
    of_keys = ask([_trial(keyed, key) for key in keys])
    if of_keys is None:
        return None
    lacking += [pattern for pattern, refusal in zip(patterns, of_keys, strict=True) if refusal]
    return [right for right in rights if right in lacking]


def parties_of(view: FeatureView) -> tuple[str, ...]:
    """Return the parties that the work with a view has; views of layout ``feast`` are not published."""
    return tuple(party for party in PARTIES if needed(party, view))


def needed(party: str, view: FeatureView, *, optional: bool = False) -> list[str]:
    """Return the rights of a party for a view, each once, as words of ``ACL SETUSER``."""
    occasions = ("always", view.layout) if view.layout == "feast" else ("always", "generations", view.layout)
    found = [right for occasion in occasions for right in _rights()[occasion].get(party, ())]
    if optional:
        found = [right for right in _rights()[OPTIONAL].get(party, ()) if right not in found]
    return [_of_view(right, view) for right in dict.fromkeys(found)]


@cache
def _rights() -> dict[str, dict[str, list[str]]]:
    """Return commands and key patterns, by occasion and party."""
    text = files("online_features.cli").joinpath("redis_rights.acl").read_text(encoding="utf-8")
    found: dict[str, dict[str, list[str]]] = {}
    for occasion, lines in re.findall(r"^\[(\w+)\]\n((?:ACL SETUSER .*\n)+)", text, re.MULTILINE):
        of_occasion = found[occasion] = {}
        for line in lines.splitlines():
            _, _, party, *words = line.split()
            of_occasion.setdefault(party, []).extend(word for word in words if word[0] in "+~")
    return found


def _of_view(pattern: str, view: FeatureView) -> str:
    """Return the pattern for one view; twelve question marks stand before the first join key, eight before others."""
    first, *others = sorted(view.entities)
    join_keys = "".join([first, *(f"????????{name}" for name in others)])
    return (
        pattern.replace("<project>", view.project).replace("<view>", view.name)
        .replace("<join_key>", join_keys)
    )  # fmt: skip


def _example(pattern: str) -> str:
    """Return a key that the pattern matches."""
    return pattern.removeprefix("~").replace("?", "0").replace("*", "0")


def _trial(right: str, key: str) -> list[str]:
    """Return a command that needs the right, on the key."""
    command = right.removeprefix("+")
    if command in WITHOUT_KEY:
        return [*command.split("|"), *WITHOUT_KEY[command]]
    if command == OF_KEY:
        return [*command.split("|"), key]
    return [command, key, *ARGUMENTS[command]]


def grant(user: str, words: Iterable[str]) -> str:
    """Return the line that grants rights to a user."""
    return f"ACL SETUSER {user} {' '.join(words)}"
