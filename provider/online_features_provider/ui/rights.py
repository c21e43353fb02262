"""Who may look at what, by Airflow's auth manager."""

from __future__ import annotations

from typing import Annotated, Any

from airflow.providers.common.compat.sdk import conf
from fastapi import Depends, HTTPException, Request, status

try:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails
    from airflow.api_fastapi.core_api.security import get_user
    from airflow.models.connection import Connection
except ImportError:  # of an Airflow that has moved them: without them nobody may do anything

    async def get_user() -> Any:  # type: ignore[misc]
        """Deny everything."""
        raise HTTPException(status.HTTP_403_FORBIDDEN, "the auth manager of this Airflow is unknown to this provider")


User = Annotated[Any, Depends(get_user)]


def may_look(user: User) -> None:
    """Require the right to read assets, which feature views are."""
    _require(get_auth_manager().is_authorized_asset(method="GET", user=user), "reading assets")


def may_look_at_entities(request: Request, user: User) -> None:
    """Require the right to read the connections whose ids the path or the query names: they lead to the rows."""
    named = {**request.path_params, **request.query_params}
    for name in ("redis_conn_id", "postgres_conn_id"):
        if name in named:
            _require(_may_read_connection(named[name], user), f"reading connection {named[name]!r}")


def _may_read_connection(conn_id: str, user: Any) -> bool:
    has_teams = conf.getboolean("core", "multi_team", fallback=False)
    details = ConnectionDetails(conn_id=conn_id, team_name=Connection.get_team_name(conn_id) if has_teams else None)
    return bool(get_auth_manager().is_authorized_connection(method="GET", details=details, user=user))


def _require(is_allowed: bool, what: str) -> None:
    """Refuse the request.

    :raises HTTPException: 403, naming the right.
    """
    if not is_allowed:
        raise HTTPException(status.HTTP_403_FORBIDDEN, f"this page needs the right of {what} -> ask an administrator")
