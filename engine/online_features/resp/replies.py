"""Replies of Redis as text: bytes or already decoded, as the user's client has it (``decode_responses``)."""

from __future__ import annotations


def text(reply: bytes | str) -> str:
    """The reply as text."""
    return reply.decode() if isinstance(reply, bytes) else reply


def optional_text(reply: bytes | str | None) -> str | None:
    """The reply as text, or ``None`` where Redis holds nothing."""
    return None if reply is None else text(reply)
