"""Pages from templates, which escape whatever Redis and Postgres hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

VALUE_CHARACTERS = 200  # of a value; the rest is in its title

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
SIZES = ("KiB", "MiB", "GiB", "TiB")
SIZE_STEP = 1024

NOTHING = "—"  # where there is no value


def render(request: Request, template: str, *, status: int = 200, **shown: Any) -> HTMLResponse:
    """Return a page.

    :param shown: variables of the template.
    """
    root = request.scope.get("root_path", "").rstrip("/")
    page = _ENVIRONMENT.get_template(template).render(
        root=root,
        airflow=root.rpartition("/")[0],
        now=datetime.now(UTC),
        query=dict(request.query_params),
        **shown,
    )
    return HTMLResponse(page, status_code=status, headers=SECURITY_HEADERS)


def duration(value: timedelta | None) -> str:
    """Format a duration by its two largest units."""
    if value is None:
        return NOTHING
    if abs(value) < timedelta(seconds=1):
        return f"{value / timedelta(milliseconds=1):.0f} ms"
    rest, parts = abs(int(value.total_seconds())), list[str]()
    for unit, seconds in UNITS:
        count, rest = divmod(rest, seconds)
        if count or parts:
            parts.append(f"{count} {unit}")
    first, *others = parts
    second = others[0] if others and not others[0].startswith("0") else ""
    return ("-" if value < timedelta(0) else "") + f"{first} {second}".strip()


def instant(value: datetime | None) -> str:
    """Format an instant, in UTC and to the second."""
    return NOTHING if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def number(value: float | None) -> str:
    """Format a number: a whole one with separators, any other with four digits."""
    if value is None:
        return NOTHING
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def size(value: int | None) -> str:
    """Format a number of bytes."""
    if value is None:
        return NOTHING
    if value < SIZE_STEP:
        return f"{value} B"
    power = min(int(math.log(value, SIZE_STEP)), len(SIZES))
    return f"{value / SIZE_STEP**power:,.1f} {SIZES[power - 1]}"


def value_text(value: Any) -> str:
    """Return a value of a feature as text."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case bytes():
            return value.hex()
        case datetime():
            return value.isoformat(sep=" ")
    return str(value)


def percent(share: float) -> str:
    """Format a share of 1."""
    return f"{share:.1%}"


def with_query(query: Mapping[str, str], **changed: str) -> str:
    """Return a query with some parameters changed; those that are empty are left out."""
    return "?" + urlencode({name: value for name, value in {**query, **changed}.items() if value})


def _segment(text: Any) -> str:
    """Return a text as a segment of a path."""
    return quote(str(text), safe="")


_ENVIRONMENT = Environment(
    loader=PackageLoader("online_features_provider.ui"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(
    duration=duration, instant=instant, number=number, size=size, value_text=value_text, percent=percent,
    segment=_segment,
)  # fmt: skip
_ENVIRONMENT.globals.update(with_query=with_query, value_characters=VALUE_CHARACTERS)
