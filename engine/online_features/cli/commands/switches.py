"""Subcommands that change which generation readers see, and that remove a view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import typer

from online_features.cli import options, output
from online_features.cli.confirmation import confirm, who
from online_features.errors import OptionError
from online_features.feature_view import FeatureView
from online_features.online.generations.generation_list import Generation, GenerationList
from online_features.online.generations.switching import check_switchable, publication_target, rollback_target
from online_features.online.store import OnlineStore

IgnoreMissed = Annotated[bool, typer.Option("--ignore-missed", help="Also a generation that lacks pushed rows.")]


def publish(
    views: options.Views,
    *,
    generation: Annotated[
        list[str] | None,
        typer.Option(
            "--generation",
            metavar="VIEW=ID",
            help="By default the newest build that is ready; may be given for each view.",
        ),
    ] = None,
    ignore_checks: Annotated[
        bool, typer.Option("--ignore-checks", help="Also a build that has failed checks.")
    ] = False,
    ignore_missed: IgnoreMissed = False,
    yes: options.Yes = False,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Let readers see a build of each view, in one step.

    This also ends what holds the views after a rollback.
    """
    online = options.online_store(redis, conn_id)
    found = _stored(online, views)
    named = _generations(generation or (), found)
    lists = [online.generations(view) for view in found]
    targets = [
        publication_target(view, seen, named.get(view.name), ignore_checks=ignore_checks)
        for view, seen in zip(found, lists, strict=True)
    ]
    confirm(_switches(found, lists, targets), yes=yes)
    # By name: nothing else than what was shown is published, whatever was built meanwhile.
    chosen = {view.name: target.id for view, target in zip(found, targets, strict=True)}
    published = online.publish(
        found, generations=chosen, ignore_missed=ignore_missed, ignore_checks=ignore_checks, origin=who("publish")
    )
    _tell(found, lists, published, as_json=as_json)


def rollback(
    views: options.Views,
    *,
    ignore_missed: IgnoreMissed = False,
    yes: options.Yes = False,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Let readers see what was published before.

    All views switch in one step, and are held: runs do not change what readers see until a release, or a publication.
    """
    online = options.online_store(redis, conn_id)
    found = _stored(online, views)
    lists = [online.generations(view) for view in found]
    targets = [rollback_target(view, seen) for view, seen in zip(found, lists, strict=True)]
    held = "The views will be held: runs do not publish until online-features release, or publish."
    confirm([*_switches(found, lists, targets), held], yes=yes)
    published = online.rollback(found, ignore_missed=ignore_missed, origin=who("rollback"))
    _tell(found, lists, published, as_json=as_json)


def release(
    views: options.Views,
    *,
    yes: options.Yes = False,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """End what holds views after a rollback.

    The next run of each view is a full one.
    """
    online = options.online_store(redis, conn_id)
    found = _stored(online, views)
    held = [online.generations(view).hold is not None for view in found]
    confirm(
        (f"{view}: {'will be released; its next run is a full one' if is_held else 'is not held'}"
         for view, is_held in zip(found, held, strict=True)),
        yes=yes,
    )  # fmt: skip
    online.release(found)
    released = [str(view) for view, is_held in zip(found, held, strict=True) if is_held]
    if as_json:
        output.print_json({"released": released})
    else:
        output.print_line(f"Released: {', '.join(released) or 'nothing, no view was held'}")


def drop(
    view: options.View,
    *,
    with_erasures: Annotated[bool, typer.Option("--with-erasures", help="Forget erased entities, too.")] = False,
    yes: options.Yes = False,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove a view with all that Redis keeps of it."""
    online = options.online_store(redis, conn_id)
    found = online.stored_view(view).view
    known = online.generations(found)
    sizes = ", ".join(f"{each.id} ({each.rows or 0:,} rows)" for each in known.generations) or "those of pushes"
    erasures = "the record of erased entities, too" if with_erasures else "erased entities stay recorded"
    confirm([f"{found}: all of it will be removed from Redis, which cannot be undone: generations {sizes}; {erasures}"],
            yes=yes)  # fmt: skip
    removed = online.drop(found, with_erasures=with_erasures)
    if as_json:
        output.print_json({"view": str(found), "removed": removed})
    else:
        output.print_line(f"{found}: {removed:,} rows and tombstones removed")


COMMANDS = (publish, rollback, release, drop)


def _stored(online: OnlineStore, views: Sequence[str]) -> list[FeatureView]:
    """Return the views, which can switch in one step."""
    found = [online.stored_view(view).view for view in views]
    check_switchable(found)
    return found


def _generations(words: Sequence[str], views: Sequence[FeatureView]) -> dict[str, str]:
    """Return the generations that ``view=id`` words name, by name of the view."""
    names = {name: view.name for view in views for name in (view.name, str(view))}
    named = {}
    for word in words:
        view, separator, generation = word.partition("=")
        if not separator or view not in names:
            raise OptionError(f"--generation {word!r} -> write VIEW=ID, with one of {', '.join(map(str, views))}")
        named[names[view]] = generation
    return named


def _switches(
    views: Sequence[FeatureView], lists: Sequence[GenerationList], targets: Sequence[Generation]
) -> Iterator[str]:
    for view, seen, target in zip(views, lists, targets, strict=True):
        if seen.published == target.id:
            yield f"{view}: readers see generation {target.id} already"
        else:
            rows = f"{target.rows:,} rows" if target.rows is not None else "rows not counted"
            yield f"{view}: generation {seen.published} → {target.id} ({target.state}, {rows})"


def _tell(
    views: Sequence[FeatureView], lists: Sequence[GenerationList], published: Mapping[str, str], *, as_json: bool
) -> None:
    switched = [
        {"view": str(view), "from": seen.published, "to": published[view.name]}
        for view, seen in zip(views, lists, strict=True)
    ]
    if as_json:
        output.print_json({"switched": switched})
        return
    for each in switched:
        output.print_line(f"{each['view']}: readers see generation {each['to']} (before: {each['from']})")
