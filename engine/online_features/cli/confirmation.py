"""Ask before anything is changed."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable

import typer

from online_features.cli import output
from online_features.errors import OptionError


def confirm(changes: Iterable[str], *, yes: bool) -> None:
    """Tell on stderr what will change, and ask whether it may.

    :param yes: the user has said so already.
    :raises OptionError: when there is nobody to ask.
    :raises typer.Abort: when the user does not want it.
    """
    for change in changes:
        output.tell(change)
    if yes:
        return
    if not _can_ask():
        raise OptionError("nothing is changed: there is no terminal to ask at -> give --yes if you want this")
    typer.confirm("Do this?", abort=True, err=True)


def who(command: str) -> dict[str, str | int]:
    """Return the origin that Redis records of what the command changes."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return {"command": f"online-features {command}", "user": user}


def _can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
