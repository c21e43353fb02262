"""Scripts use no key that they are not given, by which a cluster, and a user's ACL, would be passed by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, Progress, materialize, verify
from online_features.layouts.layout import RowLayout
from online_features.layouts.layout_registry import LAYOUTS, layout_of
from online_features.online.generations.leases import release_lease
from online_features.online.redis import scripts
from online_features.online.redis.scripts import ROW_SCRIPTS, STATE_SCRIPTS, Script, row_script, state_script
from online_features.online.write._row_script import RowScript

from tests.conftest import at
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.layouts, pytest.mark.servers]

MakeView = Callable[..., FeatureView]

# Stands in front of a script: asks the server which words of a command are keys.
PRELUDE = """
local redis = (function(redis)
  local function checked(call)
    return function(command, ...)
      local keys = redis.pcall('COMMAND', 'GETKEYS', command, ...)
      for _, key in ipairs(keys.err and {} or keys) do
        local is_given = false
        for _, given in ipairs(KEYS) do
          is_given = is_given or given == key
        end
        if not is_given then
          error(command .. ' uses a key that is not given: ' .. key)
        end
      end
      return call(command, ...)
    end
  end
  return setmetatable({ call = checked(redis.call), pcall = checked(redis.pcall) }, { __index = redis })
end)(redis)
"""


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Script]]:
    """Put the prelude in front of all scripts; yield those that are called with their source."""
    read, call_in_full = scripts._lua, Script.call_in_full
    found: set[Script] = set()

    def recorded(script: Script, *arguments: Any) -> Any:
        found.add(script)
        return call_in_full(script, *arguments)

    def forget() -> None:
        for made in (state_script, row_script, scripts.sources_by_sha):
            made.cache_clear()

    monkeypatch.setattr(scripts, "_lua", lambda name: PRELUDE + read(name))
    monkeypatch.setattr(Script, "call_in_full", recorded)
    forget()
    yield found
    forget()


@pytest.mark.parametrize("call", ["redis.call", "redis.pcall"])
@pytest.mark.parametrize("command", ["'GET', 'another'", "'DEL', KEYS[1], 'another'"])
def test_a_key_that_is_not_given_is_found(online: OnlineStore, call: str, command: str) -> None:
    script = Script(f"{PRELUDE} {call}('TIME'); {call}('GET', KEYS[1]); return {call}({command})")
    with pytest.raises(redis.ResponseError, match="uses a key that is not given: another"):
        online._client.eval(script.source, 1, "key")


def test_scripts_on_state_use_the_keys_that_they_are_given(
    called: set[Script], database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database(
        "CREATE TABLE rows AS SELECT i::text AS id, %s::timestamptz AS ts, 1 AS x FROM generate_series(1, 9) i", at(1)
    )
    view = make_view()
    online.push(view, [{"id": "p", "ts": at(1), "x": 1}])
    for _ in range(3):
        materialize(view, offline, online, full=True)
    online.push(view, [{"id": "p", "ts": at(2), "x": 1}])
    materialize(view, offline, online)
    online.delete(view, [{"id": "1"}])
    materialize(view, offline, online, start=at(0), end=at(5))
    verify(view, offline, online, record=True)

    def fail(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(view, offline, online, full=True, on_progress=fail)
    release_lease(online._deployment, view, "another run")
    if view.layout != "feast":
        online.rollback([view])
        online.release([view])
    online.drop(view, with_erasures=True)
    uncalled = {name for name in STATE_SCRIPTS if state_script(name) not in called}
    assert not uncalled


def row_words(layout: RowLayout) -> dict[str, tuple[Any, ...]]:
    """Return the words of each script on rows but ``write``: for all keys, and for each of two."""
    stamp, created = layout.stamp(at(1)), layout.stamp(at(9))
    return {
        "stamps": ((), ()),
        "prune": ((), [(stamp, layout.stamp(None))] * 2),
        "bury": ((), [(stamp, created)] * 2),
        "unbury": ((created,), ()),
        "delete": ((created,), [(stamp,)] * 2),
        "clear": ((), ()),
    }


@pytest.mark.parametrize("state", ["nothing", "rows", "tombstones"])
@pytest.mark.parametrize("name", ROW_SCRIPTS)
def test_scripts_on_rows_use_the_keys_that_they_are_given(
    called: set[Script], make_view: MakeView, online: OnlineStore, name: str, state: str
) -> None:
    view = replace(make_view(), ttl=timedelta(days=36_500), features=["x"])
    entities = [{"id": "a"}, {"id": "b"}]
    rows = [{**entity, "ts": at(1), "x": 1} for entity in entities]
    online.push(view, rows if state != "nothing" else [{"id": "c", "ts": at(1), "x": 1}])
    if state == "tombstones":
        online.delete(view, entities)
    if name == "write":
        for hour in (1, 2):
            online.push(view, [{**row, "ts": at(hour)} for row in rows])
        return
    stored = online.state(view)
    assert stored.schema is not None
    layout = layout_of(view, stored.generation)
    keys = [layout.key(stored.schema.keys, [entity["id"]]) for entity in entities]
    words, of_each = row_words(layout)[name]
    RowScript(online._deployment, layout, name)(keys, *words, of_each=of_each)


def test_every_script_has_the_prelude(called: set[Script]) -> None:
    of_rows = [row_script(name, layout) for name in ROW_SCRIPTS for layout in LAYOUTS.values()]
    assert all(script.source.startswith(PRELUDE) for script in [*map(state_script, STATE_SCRIPTS), *of_rows])


def test_redis_compares_texts_by_the_locale_of_the_tests(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        by_letter = client.eval("return 'a' < 'B'", 0) == 1
    assert by_letter == (os.environ.get("LC_ALL") == "en_US.UTF-8")
