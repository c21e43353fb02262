"""The application that serves the pages; Airflow's API server mounts it."""

from __future__ import annotations

from importlib.resources import files

from fastapi import Depends, FastAPI, HTTPException, Request, Response, status
from fastapi.responses import HTMLResponse
from online_features.errors import OnlineFeaturesError, TransientError, UnknownViewError
from online_features.online.read.overview.view_summary import Condition
from starlette.exceptions import HTTPException as AnyHTTPException

from online_features_provider.ui.rendering import render
from online_features_provider.ui.rights import may_look
from online_features_provider.ui.stores import redis_conn_ids
from online_features_provider.ui.view_list import chosen, counts, read_views

STATIC = {"page.css": "text/css", "page.js": "text/javascript"}


def create_app() -> FastAPI:
    """Make the application. Every route needs the right to look; nothing changes anything."""
    app = FastAPI(title="Online features", openapi_url=None, dependencies=[Depends(may_look)])
    app.add_api_route("/", views, response_class=HTMLResponse)
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


def static(name: str) -> Response:
    """Return a file that the pages need."""
    if name not in STATIC:
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    content = files("online_features_provider.ui").joinpath("static", name).read_bytes()
    return Response(content, media_type=STATIC[name], headers={"X-Content-Type-Options": "nosniff"})


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHTTPException)
    return render(request, "error.html", status=error.status_code, title=str(error.status_code), message=error.detail)


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
