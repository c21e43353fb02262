"""Part ``scaling``: vary one size at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import psutil

from benchmarks.contenders import LAYOUTS, Contender, feast, measure, ours
from benchmarks.results import Record
from benchmarks.servers import Servers
from benchmarks.settings import Settings
from benchmarks.source import Source, mixed, texts

LEAST_ENTITIES = 10_000
FEAST_BYTES_PER_ENTITY = 10_000  # of memory, for 10 features
MOST_CHANGED = 1_000_000  # entities of increments
DEPTHS = (1, 5, 10, 100, 1_000)  # rows of history per entity
SHARES = (0.0, 0.001, 0.01, 0.1, 1.0)  # of entities changed; zero shows the fixed cost of a run
WIDTHS = (1, 10, 50, 200)  # features
LENGTHS = (10, 100, 1_000, 10_000)  # characters
FULL = "full"

Size = TypeVar("Size", int, float)


def records(servers: Servers, settings: Settings) -> Iterator[Record]:
    """Run all sweeps; wide rows and deep history have fewer entities, so that tables are of about one size."""
    fewer = max(settings.entities // 10, 1_000)
    fewest = max(settings.entities // 20, 500)
    layouts = [ours(layout) for layout in LAYOUTS[: 1 if settings.small else None]]
    for entities in _entities(settings):
        source = Source(entities=entities, history=settings.history)
        contenders = [*layouts, *([feast()] if _feast_fits(entities) and not settings.small else [])]
        yield from _sweep(servers, settings, source, contenders, entities=entities)
    for depth in _chosen(DEPTHS, settings):
        source = Source(entities=fewest, history=depth)
        yield from _sweep(servers, settings, source, [ours("msgpack")], history=depth)
    for width in _chosen(WIDTHS, settings):
        source = Source(entities=fewer, history=1, features=mixed(width))
        yield from _sweep(servers, settings, source, layouts, features=width)
    for length in _chosen(LENGTHS, settings):
        source = Source(entities=fewer, history=1, features=texts(length))
        yield from _sweep(servers, settings, source, layouts, text=length)
    source = Source(entities=settings.entities, history=1, features=texts(100, width=10))
    yield from _sweep(servers, settings, source, layouts, record=1_000)
    yield from _increments(servers, settings)


def _sweep(
    servers: Servers, settings: Settings, source: Source, contenders: Sequence[Contender], **size: float
) -> Iterator[Record]:
    """Run the contenders in turn at one size; its argument's name is the name of the sweep."""
    ((sweep, value),) = size.items()
    source.load(servers.postgres_uri)
    for round_number in range(settings.rounds):
        for contender in contenders:
            yield {"sweep": sweep, "value": value, "round": round_number, **measure(servers, source, contender)}


def _increments(servers: Servers, settings: Settings) -> Iterator[Record]:
    """Measure a full run, then increments after more and more changes, on one growing table."""
    source = Source(entities=min(settings.max_entities, MOST_CHANGED), history=settings.history)
    source.load(servers.postgres_uri)
    for round_number in range(settings.rounds):
        about = {"sweep": "changed", "round": round_number}
        yield {**about, "value": FULL, **measure(servers, source, ours("msgpack"))}
        for share in _chosen(SHARES, settings):
            source.change(servers.postgres_uri, share)
            yield {**about, "value": share, **measure(servers, source, ours("msgpack", full=False), empty=False)}


def _entities(settings: Settings) -> Iterator[int]:
    """Yield powers of ten up to the largest size."""
    entities = min(LEAST_ENTITIES, settings.max_entities)
    while entities <= settings.max_entities:
        yield entities
        entities *= 10


def _chosen(values: Sequence[Size], settings: Settings) -> Sequence[Size]:
    return values[1:2] if settings.small else values


def _feast_fits(entities: int) -> bool:
    return entities * FEAST_BYTES_PER_ENTITY < 0.7 * psutil.virtual_memory().available
