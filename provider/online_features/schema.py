"""The shape of a feature view's rows: which columns play which part, and their Postgres types."""

from __future__ import annotations

from dataclasses import dataclass

from online_features.postgres_types import Encoding


@dataclass(frozen=True)
class Column:
    """A column of the source.

    :param name: as in the source.
    :param type: Postgres type name as ``format_type`` prints it without a modifier, e.g. ``"integer"``, ``"text[]"``.
    :param encoding: how its values are written online.
    """

    name: str
    type: str
    encoding: Encoding


@dataclass(frozen=True, kw_only=True)
class RowSchema:
    """Columns of one row by the part they play.

    Record batches that carry such rows hold the columns in exactly this order: ``keys``, ``event_timestamp``,
    ``created_timestamp`` and ``deleted`` where declared, then ``features``.
    """

    keys: tuple[Column, ...]
    event_timestamp: Column
    created_timestamp: Column | None
    deleted: Column | None
    features: tuple[Column, ...]
