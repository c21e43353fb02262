"""Fields of operators as they are when rendered: text where a template was, else what was given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import TypeAdapter

from online_features.errors import WindowError

Field = TypeVar("Field")


def given(field: Field) -> Field | None:
    """The field, or ``None`` where its template renders to nothing, as that of an empty DAG parameter does."""
    return None if isinstance(field, str) and field.strip() in ("", "None") else field


def instant(name: str, field: datetime | str | None) -> datetime | None:
    """A datetime, or its ISO-8601 text.

    :raises WindowError: naming the field.
    """
    return _read(datetime.fromisoformat, name, field, "ISO-8601 date and time, such as '2026-01-31T00:00:00Z'")


def duration(name: str, field: timedelta | str | None) -> timedelta | None:
    """A timedelta, or its ISO-8601 text.

    :raises WindowError: naming the field.
    """
    return _read(TypeAdapter(timedelta).validate_python, name, field, "ISO-8601 duration, such as 'PT1H'")


def truth(name: str, field: bool | str | None) -> bool:
    """A boolean, or its text.

    :raises WindowError: naming the field.
    """
    return bool(_read(TypeAdapter(bool).validate_python, name, field, "boolean, 'true' or 'false'"))


def count(name: str, field: int | str | None) -> int | None:
    """A whole number, or its text.

    :raises WindowError: naming the field.
    """
    return _read(TypeAdapter(int).validate_python, name, field, "whole number")


def _read(read: Callable[[str], Field], name: str, field: Field | str | None, kind: str) -> Field | None:
    if not isinstance(field, str):
        return field
    try:
        return read(field) if given(field) else None
    except ValueError as error:
        raise WindowError(f"{name}={field!r} is no {kind}") from error
