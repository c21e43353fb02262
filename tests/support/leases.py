"""Leases of tests, whose runs die: the next run waits until a lease ends."""

from __future__ import annotations

from collections.abc import Callable

from online_features.online.generations import _change, building, leases


def shorten_leases(seconds: float, assign: Callable[[object, str, float], None] = setattr) -> None:
    """Let leases of builds end after so many seconds.

    :param assign: sets an attribute; that of ``MonkeyPatch`` sets it back, too.
    """
    for module in (_change, building, leases):
        assign(module, "LEASE_SECONDS", seconds)
    assign(leases, "RENEW_SECONDS", seconds / 4)
