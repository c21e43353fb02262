"""Parse the rendered fields of operators and sensors: text if a template was given, else the user's value."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar

from online_features.errors import WindowError
from pydantic import AwareDatetime, BeforeValidator, TypeAdapter, ValidationError

Field = TypeVar("Field")


def _seconds(field: Any) -> Any:
    """Parse the text of a number; templates render to text."""
    with suppress(TypeError, ValueError):
        return float(field) if isinstance(field, str) else field
    return field


def _iso_8601(field: Any) -> Any:
    """Parse text as ISO-8601 only; pydantic would also take a number of seconds."""
    return datetime.fromisoformat(field) if isinstance(field, str) else field


_DURATION: TypeAdapter[timedelta] = TypeAdapter(Annotated[timedelta, BeforeValidator(_seconds)])
_INSTANT: TypeAdapter[datetime] = TypeAdapter(Annotated[AwareDatetime, BeforeValidator(_iso_8601)])
_BOOL: TypeAdapter[bool] = TypeAdapter(bool)
_COUNT: TypeAdapter[int] = TypeAdapter(int)
_NUMBER: TypeAdapter[float] = TypeAdapter(float)


def is_template(field: Any) -> bool:
    """Return whether the field is known only when the task runs: a template, or the output of another task."""
    return hasattr(field, "resolve") or (isinstance(field, str) and ("{{" in field or "{%" in field))


def given(field: Field) -> Field | None:
    """Return the field, or ``None`` if its template renders to nothing, as for an empty DAG parameter."""
    return None if isinstance(field, str) and field.strip() in ("", "None") else field


def given_options(**options: Any) -> dict[str, Any]:
    """Return the options that were given, so that the engine's defaults hold for the others.

    :param options: parsed; ``None`` if not given.
    """
    return {name: option for name, option in options.items() if option is not None}


def instant(name: str, field: datetime | str | None) -> datetime | None:
    """Parse an aware datetime or its ISO-8601 text.

    :raises WindowError: naming the field.
    """
    return _read(_INSTANT, name, field, "an instant with its time zone: a datetime, or ISO-8601 text")


def duration(name: str, field: timedelta | float | str | None) -> timedelta | None:
    """Parse a timedelta, a number of seconds, or the text of either.

    :raises WindowError: naming the field.
    """
    return _read(_DURATION, name, field, "a timedelta, a number of seconds, or text as 'PT1H' or '01:00:00'")


def parse_bool(name: str, field: bool | str | None) -> bool:
    """Parse a boolean or its text.

    :raises WindowError: naming the field.
    """
    found: bool | None = _read(_BOOL, name, field, "true or false")
    return bool(found)


def count(name: str, field: int | str | None) -> int | None:
    """Parse a whole number or its text.

    :raises WindowError: naming the field.
    """
    return _read(_COUNT, name, field, "a whole number")


def number(name: str, field: float | str | None) -> float | None:
    """Parse a number or its text.

    :raises WindowError: naming the field.
    """
    return _read(_NUMBER, name, field, "a number, such as 0.95")


def _read(kind: TypeAdapter[Field], name: str, field: Any, wanted: str) -> Field | None:
    if given(field) is None:
        return None
    try:
        return kind.validate_python(field)
    except ValidationError as error:
        raise WindowError(f"{name}={field!r} must be {wanted}") from error
