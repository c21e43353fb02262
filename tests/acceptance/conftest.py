"""The flights of the example DAGs, and nothing online of them."""

from __future__ import annotations

import pytest
import redis

from demo.flights import Flights
from tests.support.servers.databases import Database


@pytest.fixture
def flights(database: Database, client: redis.Redis) -> Flights:
    """The flights in the test's database, none of them released yet; Redis holds nothing of another test's."""
    for key in client.scan_iter("*flights*"):
        client.delete(key)
    flights = Flights(database.uri)
    flights.stage()
    return flights
