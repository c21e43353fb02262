"""The order of what a build, a push and a switch do, each broken on purpose: a check sees it.

Each check lets something happen at the worst moment, and passes as long as the order is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from online_features import FeatureView, OnlineStore, PublishError
from online_features.layouts import keyspace
from online_features.materialization._transfer import Transfer
from online_features.online.generations.generation_list import GenerationList, GenerationState
from online_features.online.redis._single_server import ServerSession
from online_features.online.write import online_run, push
from online_features.online.write.push import _Push

from tests.support.moments import just_before
from tests.support.servers.databases import Database
from tests.support.stores import COLUMNS, Stores

pytestmark = pytest.mark.layouts("msgpack", "hash", "json")

Check = Callable[[Stores, pytest.MonkeyPatch], None]
Break = Callable[[Stores, pytest.MonkeyPatch], None]


@pytest.fixture
def stores(database: Database, online: OnlineStore, make_view: Callable[..., FeatureView], layout: str) -> Stores:
    database(f"CREATE TABLE rows ({COLUMNS})")
    view = make_view(features=["x"], layout=layout, source={"created_timestamp_column": "created"})
    stores = Stores(database, online, view)
    stores.insert("a", 0, 1)
    stores.insert("b", 0, 1)
    stores.run()
    return stores


def a_push_beside_a_build_is_kept(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.run(full=True, on_progress=lambda _: stores.push("c", 1, 2))
    assert stores.x("c") == [2]


def an_erasure_before_a_build_is_kept(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    just_before(monkeypatch, online_run, "register_build", lambda: stores.online.delete(stores.view, [{"id": "a"}]))
    stores.run(full=True)
    assert stores.x("a") == [None]


def a_push_on_its_way_when_a_build_is_made_is_kept(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []
    just_before(monkeypatch, push, "push_command", lambda: built.append(stores.run(full=True, publish=False)))
    stores.push("c", 1, 2)
    stores.online.publish([stores.view])
    assert stores.x("c") == [2]


def what_is_seen_of_a_push_stays_seen(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    built, send = stores.run(full=True, publish=False), ServerSession.send

    def send_one_by_one(self: ServerSession, calls: Any, then: Any = ()) -> list[Any]:
        replies: list[Any] = []
        for call in calls:
            replies += send(self, [call])
            if stores.x("c") == [2]:  # the producer may die now, and the build be published
                assert stores.x("c", at_generation=built.generation) == [2]
        return [*replies, *send(self, [], then)]

    stores.push("d", 1, 1)  # so that what follows is written once
    with monkeypatch.context() as patched:
        patched.setattr(ServerSession, "send", send_one_by_one)
        stores.push("c", 1, 2)
    assert stores.x("c") == [2]


def a_build_is_seen_whole_or_not_at_all(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.database("UPDATE rows SET x = 2")

    def look(_: Any) -> None:
        assert stores.x("a", "b") in ([1, 1], [2, 2])

    stores.run(full=True, batch_rows=1, on_progress=look)
    assert stores.x("a", "b") == [2, 2]


def a_build_does_not_follow_switches_that_it_has_not_seen(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if they lead back to the generation that was published when it began."""
    second = stores.run(full=True)

    def there_and_back() -> None:
        stores.online.rollback([stores.view])
        stores.online.publish([stores.view], generations={stores.view.name: second.generation})

    just_before(monkeypatch, Transfer, "copy", there_and_back)
    with pytest.raises(PublishError, match="after switch 2 that this was to follow"):
        stores.run(full=True)
    assert stores.online.generations(stores.view).published == second.generation


def register_after_the_snapshot(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """To producers, a generation that they do not see while it is being built is one that is registered later."""
    written: Any = GenerationList.written
    monkeypatch.setattr(GenerationList, "written", property(lambda seen: tuple(
        each for each in written.fget(seen)
        if each == seen.published or seen.get(each).state != GenerationState.BUILDING
    )))  # fmt: skip


def read_erasures_before_the_registration(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online_run, "bury_erased", lambda *_: None)  # there were none before it


def do_not_read_the_list_again(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    class AsKnown:
        def __ne__(self, other: object) -> bool:
            return False

    monkeypatch.setattr(push, "text", lambda _: AsKnown())


def write_the_published_generation_first(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _Push._made_for

    def reversed_(self: Any, *args: Any) -> Any:
        ready = made(self, *args)
        object.__setattr__(ready, "calls", ready.calls[::-1])
        return ready

    monkeypatch.setattr(_Push, "_made_for", reversed_)


def point_to_a_generation_before_its_last_row(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    def point() -> None:
        building = stores.online.generations(stores.view).generations[-1].id
        stores.online._client.hset(keyspace.published_key(stores.view.project), stores.view.name, f"{building} 2")

    just_before(monkeypatch, Transfer, "copy", point)


def do_not_number_switches(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GenerationList, "pointer", property(lambda self: (self.published, 0)))


ORDERS: dict[Check, Break] = {
    a_push_beside_a_build_is_kept: register_after_the_snapshot,
    an_erasure_before_a_build_is_kept: read_erasures_before_the_registration,
    a_push_on_its_way_when_a_build_is_made_is_kept: do_not_read_the_list_again,
    what_is_seen_of_a_push_stays_seen: write_the_published_generation_first,
    a_build_is_seen_whole_or_not_at_all: point_to_a_generation_before_its_last_row,
    a_build_does_not_follow_switches_that_it_has_not_seen: do_not_number_switches,
}


@pytest.mark.parametrize("check", ORDERS, ids=lambda check: check.__name__)
def test_the_order_is_kept(stores: Stores, monkeypatch: pytest.MonkeyPatch, check: Check) -> None:
    check(stores, monkeypatch)


@pytest.mark.parametrize("check", ORDERS, ids=lambda check: ORDERS[check].__name__)
def test_another_order_is_noticed(stores: Stores, monkeypatch: pytest.MonkeyPatch, check: Check) -> None:
    ORDERS[check](stores, monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(stores, monkeypatch)
