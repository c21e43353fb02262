"""Whether both stores can be reached, and what the logins lack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import typer

from online_features.cli import options, output, rights
from online_features.cli.entry import ATTENTION
from online_features.errors import OnlineFeaturesError, OptionError
from online_features.feature_view import FeatureView, PostgresSource
from online_features.online.read.overview.stored_view import StoredView
from online_features.online.redis.login_rights import may_login, may_user
from online_features.online.redis.redis_server import RedisServer, node_of, read_server
from online_features.online.store import OnlineStore

OK, PROBLEM, UNKNOWN, NOTE = "ok", "problem", "unknown", "note"

ROLES = {"master": "primary", "slave": "replica"}  # as Redis names them, and as we do

Finding = tuple[str, str, str, str]  # store, what was looked at, how it is, what there is to say


def check(
    views: Annotated[
        list[str] | None,
        typer.Argument(metavar="VIEW", help="Views to check the rights for; by default all that Redis holds."),
    ] = None,
    *,
    party: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="PARTY",
            help=f"Whose rights must be complete: {', '.join(rights.PARTIES)}. May be given again.",
        ),
    ] = None,
    redis_user: Annotated[
        str | None,
        typer.Option(
            "--redis-user",
            metavar="NAME",
            help="Check the rights of this user of Redis, as an administrator of Redis 7.",
        ),
    ] = None,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    postgres: options.Postgres = None,
    postgres_conn_id: options.PostgresConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Check both connections, and what the logins lack.

    The exit code is 1 if there is a problem.
    """
    if unknown := set(party or ()).difference(rights.PARTIES):
        raise OptionError(f"--for {min(unknown)} is unknown -> choose of {', '.join(rights.PARTIES)}")
    stored: list[StoredView] = []

    def look_at_redis() -> Iterator[Finding]:
        client = options.redis_client(redis, conn_id)
        return _check_redis(client, stored, views or (), party or (), redis_user)

    findings = [*_reached("Redis", look_at_redis)]
    if options.names_postgres(postgres, postgres_conn_id):
        findings += _reached("Postgres", lambda: _check_postgres(postgres, postgres_conn_id, stored))
    else:
        findings.append(("Postgres", "connection", UNKNOWN, "not checked -> give --postgres or --postgres-conn-id"))
    columns = ("store", "what", "state", "detail")
    if as_json:
        output.print_json({"checks": [dict(zip(columns, each, strict=True)) for each in findings]})
    else:
        output.print_table(columns, findings)
    if any(state == PROBLEM for _, _, state, _ in findings):
        raise typer.Exit(ATTENTION)


COMMANDS = (check,)


def _reached(store: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield findings, the last of which is the error that ended them.

    :raises OptionError: when it is an option that is wrong, not a store.
    """
    try:
        yield from look()
    except OptionError:
        raise
    except OnlineFeaturesError as error:
        yield store, "connection", PROBLEM, str(error)


def _check_redis(
    client: Any, stored: list[StoredView], names: Sequence[str], parties: Sequence[str], other_user: str | None
) -> Iterator[Finding]:
    """Yield what Redis says of itself, and which rights a user lacks; collect the views that it holds."""
    server = read_server(client)
    yield (
        "Redis",
        "connection",
        OK,
        f"answers as {ROLES.get(server.role or '', 'a server')}, user {server.user or 'unknown'}",
    )
    yield from _server_findings(server)
    try:
        online = OnlineStore(client)
        known = names or [str(each) for each in online.overview()]
        stored.extend(map(online.stored_view, known))
        yield "Redis", "views", OK, f"{', '.join(known) if names else len(known)} can be seen"
    except OnlineFeaturesError as error:
        yield "Redis", "views", NOTE, str(error)
    views = [each.view for each in stored] or [_of_default_layout(name) for name in names]
    yield from _rights_findings(client, server, views, parties, other_user)


def _of_default_layout(name: str) -> FeatureView:
    """Return a view of that name, for a user who may not read what Redis has recorded of it."""
    project, separator, view = name.partition(":")
    if not separator:
        raise OptionError(f"view {name!r} cannot be looked up -> name it in full, project:view")
    source = PostgresSource(table="unknown", timestamp_field="unknown")
    return FeatureView(name=view, project=project, entities=["unknown"], source=source)


def _server_findings(server: RedisServer) -> Iterator[Finding]:
    """Yield what INFO and CONFIG say."""
    if server.role == "slave":
        yield "Redis", "role", PROBLEM, "a replica refuses writes -> connect to the primary"
    if server.version is None:
        yield "Redis", "version", UNKNOWN, "the user may not send INFO -> ACL SETUSER … +info"
        return
    state, cure = (OK, "") if server.is_supported else (PROBLEM, " -> Redis 6.2 or newer is needed")
    yield "Redis", "version", state, f"{server.product} {server.version}{cure}"
    limit = output.size_text(server.memory_limit) if server.memory_limit else "no limit"
    yield "Redis", "memory", OK, f"{output.size_text(server.memory_used or 0)} used, maxmemory: {limit}"
    if server.evicts:
        cure = "CONFIG SET maxmemory-policy noeviction, and enough maxmemory"
        yield "Redis", "eviction", PROBLEM, f"policy {server.policy} removes rows when memory is full -> {cure}"
    else:
        when = "" if server.policy == "noeviction" else ", which has no effect without maxmemory"
        yield "Redis", "eviction", OK, f"policy {server.policy}{when}"
    if server.evicted:
        yield "Redis", "evicted keys", NOTE, f"{server.evicted:,} since the server started"
    match server.is_persistent:
        case True:
            yield "Redis", "persistence", OK, "on"
        case False:
            cure = "CONFIG SET appendonly yes"
            yield "Redis", "persistence", NOTE, f"none: after a restart each view is read in full -> {cure}"
        case None:
            yield "Redis", "persistence", UNKNOWN, "the user may not send CONFIG GET -> ACL SETUSER … +config|get"


def _rights_findings(
    client: Any, server: RedisServer, views: Sequence[FeatureView], parties: Sequence[str], other_user: str | None
) -> Iterator[Finding]:
    """Yield what the user lacks for each party's work with the views that Redis holds."""
    node, user = node_of(client), other_user or server.user
    ask: rights.Ask = partial(_ask, node, user, is_login=other_user is None)
    for party in rights.PARTIES:
        lacking: dict[str, None] = {}
        wanted: dict[str, None] = {}
        is_known = bool(views)
        for view in views:
            if party not in rights.parties_of(view):
                continue
            needed = rights.missing(party, view, ask)
            if needed is None:
                is_known = False
                break
            lacking |= dict.fromkeys(needed)
            wanted |= dict.fromkeys(rights.missing(party, view, ask, optional=True) or ())
        what, name = f"rights for {party}", user or "<user>"
        if not is_known:
            why = "there is no view to check them with -> name project:view" if not views else (
                "Redis refuses ACL DRYRUN and MULTI to this user, or is older than 7 -> check as an administrator of "
                "Redis 7, with --redis-user NAME"
            )  # fmt: skip
            yield "Redis", what, PROBLEM if party in parties else UNKNOWN, why
        elif lacking:
            state = PROBLEM if party in parties else NOTE
            yield "Redis", what, state, f"lacking -> {rights.grant(name, lacking)}"
        else:
            yield "Redis", what, OK, f"complete{f'; optional -> {rights.grant(name, wanted)}' if wanted else ''}"


def _ask(node: Any, user: str | None, commands: Sequence[Sequence[str]], *, is_login: bool) -> list[str] | None:
    """Return why Redis would refuse each command to the user; ``None`` where it cannot be asked."""
    asked = may_user(node, user, commands) if user else None
    return may_login(node, commands) if asked is None and is_login else asked


def _check_postgres(postgres: str | None, conn_id: str | None, stored: Sequence[StoredView]) -> Iterator[Finding]:
    """Yield what Postgres says of itself and of the role, and whether it may read the source of each view."""
    offline = options.offline_store(postgres, conn_id)
    server = offline._server()
    tls = "" if server.uses_tls else ", without TLS"
    yield "Postgres", "connection", OK, f"answers for role {server.user}, database {server.database}{tls}"
    state = OK if server.is_supported else PROBLEM
    yield "Postgres", "version", state, f"{server.version}{'' if server.is_supported else ' -> 15 or newer is needed'}"
    if server.is_standby:
        yield "Postgres", "standby", NOTE, "runs cannot see transactions of its primary, so they look back an hour"
    if server.sees_sessions:
        yield "Postgres", "transactions in flight", OK, "can be seen"
    else:
        role = server.user.replace('"', '""')
        cure = f'GRANT pg_read_all_stats TO "{role}"'
        yield "Postgres", "transactions in flight", NOTE, f"cannot be seen, so runs look back an hour -> {cure}"
    for each in stored:
        if each.has_source:
            yield _source_finding(offline, each)


def _source_finding(offline: Any, stored: StoredView) -> Finding:
    """Return whether the role may read the source of a view, and whether it has the view's columns."""
    view = stored.view
    # The columns of a transform's result are not those of the source.
    described = replace(view, features=None) if stored.transform is not None else view
    try:
        offline.describe(described)
    except OnlineFeaturesError as error:
        return "Postgres", f"source of {view}", PROBLEM, str(error)
    return "Postgres", f"source of {view}", OK, view.source.description
