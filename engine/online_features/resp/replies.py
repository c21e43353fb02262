"""Replies as text: they are bytes or decoded already, as the user's client is set up (``decode_responses``)."""

from __future__ import annotations


def text(reply: bytes | str) -> str:
    """Return the reply as text."""
    return reply.decode() if isinstance(reply, bytes) else reply


def optional_text(reply: bytes | str | None) -> str | None:
    """Return the reply as text, or ``None`` if Redis holds nothing."""
    return None if reply is None else text(reply)
