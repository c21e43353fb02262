"""The application that serves the pages; Airflow's API server mounts it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from importlib.resources import files

from fastapi import Depends, FastAPI, HTTPException, Request, Response, status
from fastapi.responses import HTMLResponse
from online_features.errors import OnlineFeaturesError, TransientError, UnknownViewError
from online_features.online.read.overview.view_summary import Condition
from online_features.online.store import OnlineStore
from online_features.verification.report import SKEW, SkewClass
from starlette.exceptions import HTTPException as AnyHTTPException

from online_features_provider.ui.entity_page import KEY, read_entity
from online_features_provider.ui.movements import movements
from online_features_provider.ui.plots import lag_plot, rows_plot, seconds_plot
from online_features_provider.ui.rendering import render
from online_features_provider.ui.rights import may_look, may_look_at_entities
from online_features_provider.ui.stores import online_store, redis_conn_ids
from online_features_provider.ui.view_list import chosen, counts, read_views
from online_features_provider.ui.view_page import read_view

STATIC = {
    "icon-dark.svg": "image/svg+xml",
    "icon.svg": "image/svg+xml",
    "page.css": "text/css",
    "page.js": "text/javascript",
}


def create_app() -> FastAPI:
    """Make the application. Every route needs the right to look; nothing changes anything."""
    app = FastAPI(title="Online features", openapi_url=None, dependencies=[Depends(may_look)])
    app.add_api_route("/", views, response_class=HTMLResponse)
    app.add_api_route("/views/{redis_conn_id}/{project}/{name}", view, response_class=HTMLResponse)
    entity_rights = [Depends(may_look_at_entities)]
    app.add_api_route(
        "/entities/{redis_conn_id}/{project}/{name}", entity, response_class=HTMLResponse, dependencies=entity_rights
    )
    app.add_api_route("/tasks/{dag_id}/{task_id}", views_of_task, response_class=HTMLResponse)
    app.add_api_route("/static/{name}", static)
    app.add_exception_handler(AnyHTTPException, _refused)
    app.add_exception_handler(OnlineFeaturesError, _failed)
    return app


# No route is asynchronous: a slow store then occupies a thread, and not the event loop of the API server.
def views(
    request: Request,
    text: str = "",
    condition: str = "",
    order: str = "attention",
) -> Response:
    """Show all views."""
    conn_ids = redis_conn_ids()
    found, errors = read_views(conn_ids)
    return render(
        request, "views.html", views=chosen(found, text=text, condition=condition, order=order), conn_ids=conn_ids,
        errors=errors, counts=counts(found), conditions=list(Condition), text=text, condition=condition, order=order,
    )  # fmt: skip


def view(request: Request, redis_conn_id: str, project: str, name: str, compared: str = "") -> Response:
    """Show one view."""
    with _store(redis_conn_id) as store:
        page = read_view(store, f"{project}:{name}", redis_conn_id, compared=compared)
    now = datetime.now(UTC)
    return render(
        request, "view.html", page=page, redis_conn_id=redis_conn_id, movements=movements(*page.statistics),
        lag_plot=lag_plot(page.runs, page.summary.max_staleness, now), rows_plot=rows_plot(page.runs),
        seconds_plot=seconds_plot(page.runs), skew_kinds=list(SkewClass), skewed_kinds=SKEW,
    )  # fmt: skip


def entity(request: Request, redis_conn_id: str, project: str, name: str, postgres_conn_id: str = "") -> Response:
    """Show the row of an entity online, beside the one offline if its connection is named."""
    with _store(redis_conn_id) as store:
        page = read_entity(store, f"{project}:{name}", dict(request.query_params), postgres_conn_id)
    return render(
        request, "entity.html", page=page, redis_conn_id=redis_conn_id, project=project, name=name, key_prefix=KEY
    )  # fmt: skip


def views_of_task(request: Request, dag_id: str, task_id: str) -> Response:
    """Show the views whose last run was of a task."""
    conn_ids = redis_conn_ids()
    found, errors = read_views(conn_ids)
    ours = [each for each in found if each.is_written_by(dag_id, task_id)]
    return render(request, "task.html", views=ours, conn_ids=conn_ids, errors=errors, dag_id=dag_id, task_id=task_id)


def static(name: str) -> Response:
    """Return a file that the pages need."""
    if name not in STATIC:
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    content = files("online_features_provider.ui").joinpath("static", name).read_bytes()
    return Response(content, media_type=STATIC[name], headers={"X-Content-Type-Options": "nosniff"})


def _store(conn_id: str) -> AbstractContextManager[OnlineStore]:
    """Return a store of those whose views the pages show.

    :raises HTTPException: 404 for any other connection.
    """
    if conn_id not in redis_conn_ids():
        raise HTTPException(
            status.HTTP_404_NOT_FOUND, f"connection {conn_id!r} is not among [online_features] redis_conn_ids"
        )
    return online_store(conn_id)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHTTPException)
    cure = (
        " -> log in to Airflow, then open this page again" if error.status_code == status.HTTP_401_UNAUTHORIZED else ""
    )
    code, message = error.status_code, f"{error.detail}{cure}"
    return render(request, "error.html", status=code, title=str(code), message=message)


def _failed(request: Request, error: Exception) -> Response:
    """Tell an error of a store or a view on a page of its own."""
    match error:
        case UnknownViewError():
            code = status.HTTP_404_NOT_FOUND
        case TransientError():
            code = status.HTTP_503_SERVICE_UNAVAILABLE
        case _:
            code = status.HTTP_500_INTERNAL_SERVER_ERROR
    return render(request, "error.html", status=code, title=type(error).__name__, message=str(error))
