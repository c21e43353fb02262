"""Leases of tests, whose runs die: the next run waits until a lease ends."""

from __future__ import annotations

from collections.abc import Callable

from online_features.materialization.parts import materialize_part
from online_features.online.generations import _change, building, leases
from online_features.online.write import online_run


def shorten_leases(seconds: float, assign: Callable[[object, str, float], None] = setattr) -> None:
    """Let leases of builds end after so many seconds.

    :param assign: sets an attribute; that of ``MonkeyPatch`` sets it back, too.
    """
    for module in (_change, building, leases):
        assign(module, "LEASE_SECONDS", seconds)
    for module in (building, online_run, materialize_part):
        assign(module, "PARTS_LEASE_SECONDS", seconds)
    assign(leases, "RENEW_SECONDS", seconds / 4)
