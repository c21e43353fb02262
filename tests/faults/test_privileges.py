"""The rules of ``docs/security.md`` suffice for each party's work, and none of their rights can be taken away."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
import redis
from online_features import (
    ChecksFailedError,
    FeatureView,
    OfflineStore,
    OnlineStore,
    checks,
    finish_build,
    materialize,
    materialize_part,
    plan_build,
    verify,
)
from online_features.errors import OfflineAccessError, OnlineAccessError
from online_features.feature_view import LAYOUTS, FeastOptions
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.materialization.pending import has_pending_rows
from online_features.offline.notifications import notification_sql
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
from online_features.online.read.view_freshness_check import ViewFreshnessCheck
from online_features.window import Window
from online_features_provider.triggers.check_json import dump
from online_features_provider.triggers.freshness import FreshnessTrigger
from redis.crc import key_slot
from sqlalchemy.engine import make_url

from demo.workplace import workplace
from tests.support.generations import make_older
from tests.support.servers.databases import Database, new_database
from tests.support.servers.redis_servers import STEADY, Cluster, cluster

pytestmark = [pytest.mark.faults, pytest.mark.servers]

MakeView = Callable[..., FeatureView]
Job = Callable[[FeatureView, OfflineStore, OnlineStore, OnlineStore], Any]  # the last store may do everything

PAGE = Path(__file__).parents[2].joinpath("docs", "security.md").read_text(encoding="utf-8")
NOW = datetime.now(UTC)
DAY = timedelta(days=1)  # longer than it takes from the import of this module to its last test
TTL = timedelta(days=30)
PASSWORD = "of-a-user"


def lines(language: str, occasion: str) -> list[str]:
    """What the page says for an occasion."""
    (block,) = re.findall(rf"^```{language} {occasion}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return str(block).splitlines()


def rights(user: str, *occasions: str) -> list[str]:
    """Commands and key patterns of a user of Redis."""
    words = [line.split() for occasion in occasions for line in lines("redis", occasion)]
    given = (right for _, _, named, *rights in words if named == user for right in rights)
    return list(dict.fromkeys(right for right in given if right[0] in "+~"))


def of_layout(layout: str) -> tuple[str, ...]:
    """Occasions of every user of a view in the layout."""
    return ("always", layout) if layout == "feast" else ("always", "generations", layout)


@pytest.fixture(scope="module")
def source(postgres_uri: str) -> Iterator[Database]:
    with new_database(postgres_uri) as database:
        database("CREATE SCHEMA sales")
        database("CREATE TABLE sales.orders (id text, ts timestamptz, gone bool, x int, note text)")
        stamps = {"new": NOW, "older": NOW, "wide": NOW, "gone": NOW, "back": NOW + DAY, "past": NOW - 2 * TTL}
        for name, ts in stamps.items():
            note = "a wide row" * 40 if name == "wide" else ""
            database("INSERT INTO sales.orders VALUES (%s, %s, %s, 1, %s)", name, ts, name == "gone", note)
        yield database


@pytest.fixture
def everything(source: Database) -> OfflineStore:
    return OfflineStore(source.uri)


def pushed(name: str, ts: datetime, gone: bool = False) -> dict[str, Any]:
    return {"id": name, "ts": ts, "gone": gone, "x": 0, "note": ""}


def materializing(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    admin.push(view, [pushed("older", NOW - DAY), pushed("gone", NOW - DAY)])
    admin.delete(view, [{"id": "back"}])
    admin._client.script_flush()
    result = materialize(view, offline, online)
    past = (1, 0) if view.layout != "feast" else (0, 1)
    assert (result.rows_read, result.rows_deleted, result.rows_expired) == (6, 1, past[0])
    assert result.rows_written == 4 + past[1]
    assert admin.freshness(view).watermark


def catching_up(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    """A build beside which another run commits."""
    began: list[object] = []

    def commit(_: object) -> None:
        if not began:
            began.append(materialize(view, offline, admin, start=NOW - DAY, end=NOW))

    materialize(view, offline, online, full=True, on_progress=commit)
    assert began
    assert admin.generations(view).published != FIRST_GENERATION


def removing(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    """A run that finds the rows of a generation that nobody needs."""
    first = materialize(view, offline, admin, full=True).generation
    second = materialize(view, offline, admin, full=True).generation
    settings = admin._client.connection_pool.connection_kwargs | {"decode_responses": True}
    with redis.Redis.from_pool(redis.ConnectionPool(**settings)) as client:
        make_older(client, view, timedelta(minutes=11))
    materialize(view, offline, online, keep_generations=0)
    of_first, of_second = (
        list(admin._client.scan_iter(f"{view.project}:{view.name}:{generation}:*")) for generation in (first, second)
    )
    assert of_second
    if of_first:  # the run itself has succeeded, and says it in its log
        raise OnlineAccessError("grant the Redis user the command and the keys")


def in_parts(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    """A full run in parts."""
    plan = plan_build(view, offline, online, parts=2)
    for part in plan.parts:
        materialize_part(part, offline, online)
    assert finish_build(plan, offline, online).is_published
    assert admin.freshness(view).watermark


# Rights that the ordinary run does not use, and the job that needs them.
OF_OTHER_JOBS: dict[tuple[Job, str], Job] = {
    (materializing, "+unlink"): removing, (materializing, "+lrange"): catching_up,
    (materializing, "~@online_features:parts:{<project>:<view>:*"): in_parts,
}  # fmt: skip


def publishing(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    materialize(view, offline, admin, full=True)
    build = materialize(view, offline, admin, full=True, publish=False)
    assert online.publish([view]) == {view.name: build.generation}
    online.rollback([view])
    online.release([view])
    assert online.generations(view).needs_full


def pruning(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    admin.push(view, [pushed("not in the source", NOW - DAY)])
    assert materialize(view, offline, online, full=True, prune=True).entities_pruned == 1


def pushing(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    admin.delete(view, [{"id": "back"}])
    assert online.push(view, [pushed("a", NOW)]).rows_written == 1
    later = [pushed("a", NOW + DAY), pushed("back", NOW + DAY), pushed("gone", NOW, gone=True)]
    result = online.push(view, later)
    assert (result.rows_written, result.rows_deleted) == (2, 1)


def erasing(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    admin.push(view, [pushed("a", NOW)])
    assert online.delete(view, [{"id": "a"}, {"id": "b"}]) == 1
    assert admin.get_online_features(view, [{"id": "a"}])[0].status == "not_found"


def reading(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    admin.push(view, [pushed("a", NOW)])
    assert online.get_online_features(view, [{"id": "a"}, {"id": "b"}])[0].values == {"x": 0, "note": ""}
    assert online.freshness(view).max_event_timestamp == NOW


def looking(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    """What the command and the page show of a view."""
    with pytest.raises(ChecksFailedError):
        materialize(replace(view, checks=[checks.rows(at_least=1000)]), offline, admin, full=True)
    assert online.stored_view(str(view)).view.name == view.name
    assert online.summary(str(view)).rows is None
    assert online.runs(view)


def watching(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    check = ViewFreshnessCheck(view=view, max_staleness=DAY, measure="event_timestamp")
    assert online.check(check).kind == "absent"
    admin.push(view, [pushed("a", NOW)])
    assert online.check(check).is_fresh
    assert has_pending_rows(view, offline, online)
    assert online.runs(view) == []
    assert online.statistics(view) is None


def sampling(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    admin.push(view, [pushed("a", NOW)])
    assert online.check(EntityFreshnessCheck(view=view, sample=1)).is_fresh


def verifying(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    materialize(view, offline, admin)
    for sample in (None, 100):
        report = verify(view, offline, online, sample=sample)
        if report.extra is None:
            raise OnlineAccessError("grant the Redis user the command and the keys")
        assert report.rows_compared == report.equal == 6


def failing(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        materialize(view, offline, online, on_progress=_interrupt)
    assert [run["outcome"] for run in admin.runs(view)] == ["KeyboardInterrupt"]


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


def redefining(before: str) -> Job:
    """A run that finds rows and tombstones in another layout, and their join keys in another order."""

    def job(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
        earlier = replace(view, entities=["id", "x"], features=["note"], layout=before, ttl=None, feast=FeastOptions())
        view = replace(view, entities=["x", "id"], features=["note"])
        materialize(earlier, offline, admin)
        assert materialize(view, offline, online).rows_deleted == 1
        assert admin.get_online_features(view, [{"id": "new", "x": 1}])[0].values == {"note": ""}

    return job


@contextmanager
def user_of(nodes: Sequence[redis.Redis], view: FeatureView, rights: Sequence[str]) -> Iterator[str]:
    """The name of a user of these nodes of Redis who has these rights on the view."""
    name = f"user_{uuid.uuid4().hex[:8]}"
    given = [_rendered(right, view) for right in rights]
    for node in nodes:
        node.execute_command("ACL", "SETUSER", name, "on", f">{PASSWORD}", *given)
    try:
        yield name
    finally:
        for node in nodes:
            node.acl_deluser(name)


class Users:
    """Users of Redis, each for one view and one job.

    :param nodes: clients of all of its nodes.
    :param connect: gives a client of Redis for a login, or for one who may do everything.
    """

    def __init__(
        self,
        nodes: Sequence[redis.Redis],
        connect: Callable[..., AbstractContextManager[Any]],
        make_view: MakeView,
        offline: OfflineStore,
    ) -> None:
        self.denied = 0
        self._nodes = nodes
        self._connect = connect
        self._make_view = make_view
        self._offline = offline

    def can(self, job: Job, layout: str, rights: Sequence[str], *, without: str = "") -> bool:
        """Whether a user with these rights can do the job; if not, Redis's log must tell what is missing."""
        view = self._view(layout)
        for node in self._nodes:
            node.script_flush()
        with user_of(self._nodes, view, [right for right in rights if right != without]) as user:
            try:
                with self._connect(username=user, password=PASSWORD) as own, self._connect() as client:
                    job(view, self._offline, OnlineStore(own), OnlineStore(client))
            except OnlineAccessError as error:
                self.denied += 1
                assert "grant the Redis user the command and the keys" in str(error)
                log = [entry for node in self._nodes for entry in node.acl_log()]
                refused = [entry["object"] for entry in log if entry["username"] == user]
                assert any(_is_of(what, _rendered(without, view)) for what in refused), (without, refused)
                return False
        return True

    def _view(self, layout: str) -> FeatureView:
        """A view that Redis does not know yet."""
        of_layout = {"feast": FeastOptions(key_ttl=TTL)} if layout == "feast" else {"ttl": TTL}
        where = {"table": "sales.orders", "deleted_field": "gone"}
        name = f"v{uuid.uuid4().hex[:8]}"
        return self._make_view(name=name, features=["x", "note"], layout=layout, source=where, **of_layout)


def _rendered(right: str, view: FeatureView) -> str:
    return right.replace("<project>", view.project).replace("<view>", view.name).replace("<join_key>", "id")


def _is_of(refused: str, right: str) -> bool:
    """Whether what Redis refused is what the right allows; 6.2 names commands without their subcommands."""
    return refused in (right[1:], right[1:].partition("|")[0]) or fnmatchcase(refused, right[1:])


@pytest.fixture
def users(redis_url: str, make_view: MakeView, everything: OfflineStore) -> Iterator[Users]:
    with redis.Redis.from_url(redis_url) as client:
        yield Users([client], partial(redis.Redis.from_url, redis_url), make_view, everything)


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    with workplace("privileges") as folder, cluster(folder, *STEADY, replicas=0) as servers:
        yield servers


@pytest.fixture
def users_of_cluster(servers: Cluster, make_view: MakeView, everything: OfflineStore) -> Users:
    return Users([node.client for node in servers.nodes], servers.client, make_view, everything)


@pytest.mark.layouts
@pytest.mark.parametrize("job", [materializing, pushing, erasing, reading, watching])
def test_each_right_of_a_job_is_needed_and_all_of_them_suffice(users: Users, job: Job, layout: str) -> None:
    given = rights(job.__name__, *(("always",) if job is watching else of_layout(layout)))
    assert users.can(job, layout, given)
    if layout != "feast":
        assert all(users.can(other, layout, given) for (of, _), other in OF_OTHER_JOBS.items() if of is job)
    superfluous = [
        right for right in given if users.can(OF_OTHER_JOBS.get((job, right), job), layout, given, without=right)
    ]
    assert superfluous == []
    assert users.denied == len(given)


@pytest.mark.layouts("msgpack", "hash", "json")
def test_each_right_to_publish_is_needed_and_all_of_them_suffice(users: Users, layout: str) -> None:
    given = rights("publishing", "generations")
    assert users.can(publishing, layout, given)
    assert [right for right in given if users.can(publishing, layout, given, without=right)] == []


def test_pruning_needs_its_rights_besides(users: Users) -> None:
    besides = rights("materializing", "prune")
    given = rights("materializing", *of_layout("feast")) + besides
    assert users.can(pruning, "feast", given)
    assert not any(users.can(pruning, "feast", given, without=right) for right in besides)


def test_other_layouts_need_the_rights_of_both(users: Users) -> None:
    for before, after in pairwise((*LAYOUTS, LAYOUTS[0])):
        given = rights("materializing", *of_layout(before), *of_layout(after))
        assert users.can(redefining(before), after, given)


def test_other_join_keys_of_feast_need_their_rights_besides(users: Users) -> None:
    besides = rights("materializing", "redefine")
    given = rights("materializing", "always", "feast") + besides
    job = redefining("feast")
    assert users.can(job, "feast", given)
    assert [right for right in besides if users.can(job, "feast", given, without=right)] == []


def test_the_overview_needs_its_rights_besides(users: Users) -> None:
    besides = rights("watching", "overview")
    given = rights("watching", "always") + besides
    assert users.can(looking, "msgpack", given)
    assert [right for right in besides if users.can(looking, "msgpack", given, without=right)] == []


def test_a_sample_needs_its_rights_besides(users: Users) -> None:
    besides, needed = rights("watching", "sample"), set()
    for layout in LAYOUTS:
        given = rights("watching", "always") + rights("reading", layout) + besides
        assert users.can(sampling, layout, given)
        needed |= {right for right in besides if not users.can(sampling, layout, given, without=right)}
    assert needed == set(besides)


@pytest.mark.layouts
def test_a_verification_needs_its_rights_besides(users: Users, layout: str) -> None:
    besides = rights("reading", "verify")
    given = rights("reading", *of_layout(layout)) + besides
    assert users.can(verifying, layout, given)
    assert [right for right in given if users.can(verifying, layout, given, without=right)] == []


@pytest.mark.layouts
@pytest.mark.parametrize("job", [materializing, pushing, erasing])
def test_what_is_wanted_is_not_needed(users: Users, job: Job, layout: str) -> None:
    needed = rights(job.__name__, *of_layout(layout))
    wanted = [right for right in rights(job.__name__, "wanted") if right not in needed]
    given = needed + wanted
    assert wanted
    assert all(users.can(job, layout, given, without=right) for right in wanted)


@pytest.mark.layouts
@pytest.mark.parametrize("job", [materializing, pushing, erasing, reading, watching])
def test_a_cluster_needs_its_rights_besides(users_of_cluster: Users, job: Job, layout: str) -> None:
    given = rights(job.__name__, *(("always",) if job is watching else of_layout(layout)), "cluster")
    assert users_of_cluster.can(job, layout, given)
    if job is materializing:
        assert not users_of_cluster.can(job, layout, given, without="+info")


@pytest.mark.layouts("msgpack", "hash", "json")
def test_publishing_in_a_cluster_needs_its_rights_besides(users_of_cluster: Users, layout: str) -> None:
    given = rights("publishing", "generations", "cluster")
    assert users_of_cluster.can(publishing, layout, given)
    assert not users_of_cluster.can(publishing, layout, given, without="+info")


@pytest.mark.layouts
def test_a_sample_of_a_cluster_needs_no_more(users_of_cluster: Users, layout: str) -> None:
    given = rights("watching", "always", "sample", "cluster") + rights("reading", layout)
    assert users_of_cluster.can(sampling, layout, given)


@pytest.mark.parametrize("role, act", [
    ("pushing", lambda online, view: online.push(view, [pushed("a", NOW)])),
    ("erasing", lambda online, view: online.delete(view, [{"id": "a"}])),
    ("reading", lambda online, view: online.get_online_features(view, [{"id": "a"}])),
])  # fmt: skip
def test_a_slot_that_moves_is_followed_by_a_right(
    users_of_cluster: Users, servers: Cluster, role: str, act: Callable[[OnlineStore, FeatureView], Any]
) -> None:
    def job(view: FeatureView, offline: OfflineStore, online: OnlineStore, admin: OnlineStore) -> None:
        admin.push(view, [pushed("a", NOW)])
        (key,) = {key for key in admin._client.scan_iter() if key.endswith(view.project.encode())}
        source = servers.owner(key_slot(key))
        move = servers.migration(key_slot(key), next(node for node in servers.nodes if node is not source))
        move.begin()
        move.move()
        try:
            act(online, view)
        finally:
            move.finish()
            admin._client.delete(key)

    given = rights(role, "always", "feast", "cluster")
    assert users_of_cluster.can(job, "feast", given)
    assert not users_of_cluster.can(job, "feast", given, without="+asking")


@pytest.mark.layouts
def test_a_run_that_fails_may_tell_so_in_the_history(users: Users, layout: str) -> None:
    assert users.can(failing, layout, rights("materializing", *of_layout(layout)))


def test_another_database_needs_select(redis_url: str, make_view: MakeView, client: redis.Redis) -> None:
    view, given = make_view(), rights("reading", "always", "hash")
    for more, works in (([], False), (["+select"], True)):
        with user_of([client], view, given + more) as user:
            login = {"db": 1, "username": user, "password": PASSWORD}
            with redis.Redis.from_url(redis_url.removesuffix("/0"), **login) as own:
                if works:
                    assert not OnlineStore(own).freshness(view).is_materialized
                    continue
                with pytest.raises(OnlineAccessError, match="select"):
                    OnlineStore(own).freshness(view)


def test_hooks_and_the_trigger_need_no_more(
    redis_url: str, make_view: MakeView, client: redis.Redis, online: OnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = make_view(features=["x"])
    online.push(view, [{"id": "a", "ts": NOW, "x": 1}])
    check = ViewFreshnessCheck(view=view, max_staleness=DAY, measure="event_timestamp")

    trigger = FreshnessTrigger(
        check=dump(check), redis_conn_id="watching", poke_interval=1, longest_interval=1,
        deadline=(NOW + DAY).isoformat(), fail_fast=True,
    )  # fmt: skip

    async def first() -> Any:
        async with aclosing(trigger.run()) as events:  # type: ignore[type-var]
            return await anext(events)

    with user_of([client], view, rights("watching", "always")) as user:
        monkeypatch.setenv("AIRFLOW_CONN_WATCHING", redis_url.replace("redis://", f"redis://{user}:{PASSWORD}@"))
        assert asyncio.run(first()).payload["outcome"] == "fresh"


GRANT = re.compile(r"GRANT (?P<what>.+?)(?: ON (?P<on>.+))? TO (?P<roles>.+);")
ROLES = ("materializing", "pushing", "listening", "announcing")


class Roles:
    """Roles of Postgres with a login."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._url = make_url(database.uri)
        self._names = {role: f"{role}_{uuid.uuid4().hex[:8]}" for role in ROLES}
        for name in self._names.values():
            database(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")

    def uri(self, role: str) -> str:
        """For a login as the role."""
        return self._url.set(username=self._names[role], password=PASSWORD).render_as_string(hide_password=False)

    def rights(self, role: str, *occasions: str) -> list[str]:
        """What the page grants to the role: one privilege on one thing each."""
        found = []
        for line in (line for occasion in occasions for line in lines("sql", occasion)):
            granted = GRANT.fullmatch(line)
            assert granted is not None
            if role in granted["roles"].split(", "):
                on = f" ON {granted['on']}".replace("shop", str(self._url.database)) if granted["on"] else ""
                found += [what + on for what in granted["what"].split(", ")]
        return found

    def grant(self, role: str, right: str) -> None:
        self._database(f"GRANT {right} TO {self._names[role]}")

    def revoke(self, role: str, right: str) -> None:
        self._database(f"REVOKE {right} FROM {self._names[role]}")

    def drop(self) -> None:
        for name in self._names.values():
            self._database(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def roles(source: Database) -> Iterator[Roles]:
    source(f"REVOKE ALL ON DATABASE {make_url(source.uri).database} FROM PUBLIC")
    roles = Roles(source)
    yield roles
    roles.drop()


def in_full(view: FeatureView, uri: str, online: OnlineStore) -> None:
    assert materialize(view, OfflineStore(uri), online, full=True, prune=True).rows_read == 6


def appending(view: FeatureView, uri: str, online: OnlineStore) -> None:
    assert online.push(view, [pushed("new", NOW)], offline=OfflineStore(uri)).rows_appended == 1


def hearing(view: FeatureView, uri: str, online: OnlineStore) -> None:
    """What the trigger does: it listens, and when it has heard something, it looks whether there is news."""

    async def first() -> frozenset[str]:
        async with aclosing(OfflineStore(uri)._changed_tables()) as changes:
            return await anext(changes)

    assert asyncio.run(first()) == frozenset()
    assert not OfflineStore(uri)._source(view).announces_changes("sales.orders")
    schema = OfflineStore(uri).describe(view)
    assert OfflineStore(uri)._source(view).has_rows(schema, Window())


@pytest.mark.parametrize("role, occasions, job", [
    ("materializing", ["always"], in_full),
    ("pushing", ["always", "offline"], appending),
    ("listening", ["always"], hearing),
])  # fmt: skip
def test_each_grant_is_needed_and_all_of_them_suffice(
    roles: Roles, source: Database, make_view: MakeView, online: OnlineStore,
    role: str, occasions: list[str], job: Callable[[FeatureView, str, OnlineStore], Any],
) -> None:  # fmt: skip
    view = make_view(features=["x", "note"], source={"table": "sales.orders", "deleted_field": "gone"})
    given = roles.rights(role, *occasions)
    for right in given:
        roles.grant(role, right)
    job(view, roles.uri(role), online)
    source("DELETE FROM sales.orders WHERE x = 0")
    for right in given:
        roles.revoke(role, right)
        thing = right.rpartition(".")[2].rpartition(" ")[2]
        with pytest.raises(OfflineAccessError, match=f"permission denied .*{thing}"):
            job(view, roles.uri(role), online)
        roles.grant(role, right)
    assert len(given) == {"pushing": 5}.get(role, 3)


def test_what_postgres_role_is_wanted_is_not_needed(
    roles: Roles, source: Database, make_view: MakeView, online: OnlineStore, caplog: pytest.LogCaptureFixture
) -> None:
    view = make_view(features=["x"], source={"table": "sales.orders"})
    for right in roles.rights("materializing", "always"):
        roles.grant("materializing", right)
    (wanted,) = roles.rights("materializing", "wanted")
    with closing(psycopg2.connect(source.uri)):
        in_full(view, roles.uri("materializing"), online)
        assert "may not see other sessions" in caplog.text
        caplog.clear()
        roles.grant("materializing", wanted)
        in_full(view, roles.uri("materializing"), online)
        assert "may not see other sessions" not in caplog.text


def test_each_grant_is_needed_to_have_a_table_announce_its_changes(roles: Roles, source: Database) -> None:
    def announce() -> None:
        with (
            closing(psycopg2.connect(roles.uri("announcing"))) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(notification_sql("sales.orders"))
            connection.rollback()

    roles.grant("announcing", f"CONNECT ON DATABASE {make_url(source.uri).database}")
    given = roles.rights("announcing", "announce")
    for right in given:
        roles.grant("announcing", right)
    announce()
    for right in given:
        roles.revoke("announcing", right)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            announce()
        roles.grant("announcing", right)
    assert len(given) == 3
