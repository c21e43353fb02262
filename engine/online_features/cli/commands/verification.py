"""Whether what is online is what Postgres says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any

import typer

from online_features.cli import options, output
from online_features.cli.confirmation import confirm, who
from online_features.cli.entry import ATTENTION
from online_features.cli.modules import view_at
from online_features.errors import FeatureViewError, OptionError
from online_features.feature_view import FeatureView
from online_features.online.store import OnlineStore
from online_features.verification.report import SAMPLE

if TYPE_CHECKING:
    from online_features.verification.report import VerificationReport


def verify(
    view: options.View,
    *,
    postgres: options.Postgres = None,
    postgres_conn_id: options.PostgresConnId = None,
    view_path: Annotated[
        str | None,
        typer.Option(
            "--view-path",
            metavar="MODULE:NAME",
            help="Import path of the view; needed if it has a transform, of which Redis holds the name only.",
        ),
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="How many entities of each side to compare.")] = SAMPLE,
    all_rows: Annotated[bool, typer.Option("--all", help="Compare all rows.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Write what differs again, and remove extra rows.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Record the counts in Redis, for status.")] = False,
    yes: options.Yes = False,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare the rows online with what Postgres says.

    The exit code is 1 if they differ.
    """
    from online_features.verification.report import SKEW
    from online_features.verification.verify import verify as compare

    logging.getLogger(compare.__module__).setLevel(logging.ERROR)  # it says what the command prints
    online, offline = options.online_store(redis, conn_id), options.offline_store(postgres, postgres_conn_id)
    found = _definition(online, view, view_path)
    if repair:
        confirm([f"{found}: rows that differ from Postgres will be written again, and extra ones removed"], yes=yes)
    report = compare(
        found, offline, online, sample=None if all_rows else sample, repair=repair, record=record, origin=who("verify")
    )
    if as_json:
        output.print_json({"view": str(found), **report.to_dict()})
    else:
        _tell(found, report)
    if any(getattr(report, kind) for kind in SKEW):
        raise typer.Exit(ATTENTION)


COMMANDS = (verify,)


def _definition(online: OnlineStore, name: str, path: str | None) -> FeatureView:
    """Return the view as Redis has recorded it, or the one at the import path.

    :raises OptionError: when Redis has not recorded enough of it.
    :raises FeatureViewError: when there is another view at the import path.
    """
    stored = online.stored_view(name)
    if path is not None:
        view = view_at(path)
        if str(view) != str(stored.view):
            raise FeatureViewError(
                f"--view-path {path} is feature view {view}, not {stored.view} -> name the right one"
            )
        return view
    if stored.transform is not None:
        raise OptionError(
            f"feature view {stored.view.name!r} has the transform {stored.transform!r}, whose code is not in Redis "
            "-> name the view by --view-path module:name, where its module can be imported"
        )
    if not stored.has_source:
        raise OptionError(
            f"feature view {stored.view.name!r} was only pushed to, so Redis does not hold its source -> name the view "
            "by --view-path module:name"
        )
    return stored.view


def _tell(view: FeatureView, report: VerificationReport) -> None:
    """Print the counts, what differs in which feature, and examples."""
    output.print_line(f"{view}, generation {report.generation}, as of {output.value_text(report.watermark)} UTC:")
    output.print_line(report.in_words())
    if report.repaired or report.removed:
        output.print_line(f"{report.repaired:,} rows repaired, {report.removed:,} removed")
    if report.features:
        output.print_line("")
        output.print_table(
            ("feature", "rows that differ", "share", "largest distance"),
            ((name, skew.mismatches, output.number(f"{skew.share:.2%}"), skew.largest_distance)
             for name, skew in report.features.items()),
        )  # fmt: skip
    examples = [_example(str(kind), each) for kind, some in report.examples.items() for each in some]
    if examples:
        output.print_line("")
        output.print_table(("example", "entity", "in Postgres", "online", "reason"), examples)


def _example(kind: str, example: Any) -> list[Any]:
    """Return an example as a line; of both rows, what differs."""
    offline, online = dict(example.offline or {}), dict(example.online or {})
    differs = [name for name in {**offline, **online} if offline.get(name) != online.get(name)]
    return [
        kind,
        dict(example.entity),
        {name: offline.get(name) for name in differs} if offline else None,
        {name: online.get(name) for name in differs} if online else None,
        example.reason,
    ]
