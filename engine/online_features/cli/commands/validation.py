"""Whether a module's feature views are sound, for CI."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from online_features.cli import options, output
from online_features.cli.entry import ATTENTION
from online_features.cli.modules import views_in
from online_features.errors import FeatureViewError, SourceError
from online_features.feature_view import FeatureView


def validate(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A Python file, or the import path of a module.")],
    *,
    postgres: options.Postgres = None,
    postgres_conn_id: options.PostgresConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Import a module, and tell the feature views in it.

    The exit code is 1 if one is not sound. With a Postgres, columns and types are compared with the sources, too.
    """
    try:
        views = views_in(path)
        if options.names_postgres(postgres, postgres_conn_id):
            offline = options.offline_store(postgres, postgres_conn_id)
            for view in views.values():
                schema = offline.describe(view)
                if view.transform is None:  # what a transform returns is known when it runs
                    view.check_columns(schema.features)
    except (FeatureViewError, SourceError) as error:
        output.tell_error(str(error))
        raise typer.Exit(ATTENTION) from None
    if as_json:
        output.print_json({"views": [{"variable": name, **_facts(view)} for name, view in views.items()]})
    else:
        columns = ("variable", "view", "entities", "features", "source", "layout", "checks", "objective")
        output.print_table(columns, ((name, *_facts(view).values()) for name, view in views.items()))


COMMANDS = (validate,)


def _facts(view: FeatureView) -> dict[str, Any]:
    return {
        "view": str(view),
        "entities": list(view.entities),
        "features": list(view.features) if view.features is not None else None,
        "source": view.source.table or "query",
        "layout": view.layout,
        "checks": [str(check) for check in view.checks],
        "max_staleness_seconds": view.max_staleness,
    }
