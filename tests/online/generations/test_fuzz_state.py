"""State and run history that are damaged in Redis: an error names the key, and none of another kind is ever raised."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import OnlineFeaturesError
from online_features.layouts import keyspace

from tests.conftest import at
from tests.online.read.test_fuzz_reading import HOSTILE, mutated
from tests.support.online import state_key
from tests.support.servers.databases import Database

pytestmark = pytest.mark.faults

SEED = random.randrange(1_000_000)
DAMAGES = 60
STRUCTURES = (b"[]", b"5", b'""', b"null", b"{}", b'{"keys":["x"],"features":[]}', b'{"keys":5}', b"[" * 100_000)


@pytest.fixture
def view(
    database: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> FeatureView:
    database("CREATE TABLE rows AS SELECT 'a'::text AS id, %s AS ts, 1 AS x", at(1))
    view = make_view()
    materialize(view, offline, online)
    return view


def test_damaged_state_is_named(view: FeatureView, redis_url: str, offline: OfflineStore, client: redis.Redis) -> None:
    chance = random.Random(SEED)
    raw = redis.Redis.from_url(redis_url)
    key = state_key(client, view)
    whole = raw.hgetall(key)
    hostile = [part for part in (*HOSTILE, *STRUCTURES) if isinstance(part, bytes)]
    others: dict[str, str] = {}
    for _ in range(DAMAGES):
        field = chance.choice(list(whole))
        damaged = chance.choice(hostile) if chance.random() < 0.5 else mutated(whole[field], chance)
        for act in ("state", "read", "push", "delete", "run"):
            raw.delete(key)
            raw.hset(key, mapping={**whole, field: damaged})
            online = OnlineStore(raw)
            try:
                match act:
                    case "state":
                        online.state(view)
                    case "read":
                        online.get_online_features(view, [{"id": "a"}])
                    case "push":
                        online.push(view, [{"id": "a", "ts": at(1), "x": 1}])
                    case "delete":
                        online.delete(view, [{"id": "b"}])
                    case "run":
                        materialize(view, offline, online, retry_for=timedelta(0))
            except OnlineFeaturesError:
                pass
            except Exception as error:  # noqa: BLE001 - which kind it is, is what is asked
                others[f"{act} {field} {type(error).__name__}"] = f"{damaged[:80]!r}: {str(error)[:80]}"
    assert not others, f"seed {SEED}: {others}"


def test_an_integer_of_a_type_that_is_none_is_named(view: FeatureView, redis_url: str) -> None:
    raw = redis.Redis.from_url(redis_url)
    key = state_key(raw, view)
    raw.hset(key, "schema", raw.hget(key, "schema").replace(b'"integer"', b'"2nteger"', 1))
    with pytest.raises(OnlineFeaturesError, match="2nteger"):
        OnlineStore(raw).get_online_features(view, [{"id": "a"}])


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_history_is_named(view: FeatureView, redis_url: str, damaged: bytes) -> None:
    raw = redis.Redis.from_url(redis_url)
    raw.lpush(keyspace.runs_key(view), damaged)
    with pytest.raises(OnlineFeaturesError, match=keyspace.runs_key(view).partition("{")[0]):
        OnlineStore(raw).runs(view)
