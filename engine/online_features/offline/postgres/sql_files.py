"""SQL in files beside this module, each with its purpose at its top."""

from __future__ import annotations

from importlib.resources import files

import sqlalchemy as sa


def text(name: str) -> str:
    """Read the file of that name, for a statement without parameters."""
    return files("online_features.offline.postgres").joinpath(f"{name}.sql").read_text(encoding="utf-8")


def statement(name: str) -> sa.TextClause:
    """Return the statement in the file of that name."""
    return sa.text(text(name))
