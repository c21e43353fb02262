"""Part ``wide``: rows of many features, and embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks.contenders import (
    DEFAULT,
    FEAST,
    POSTGRES_ALONE,
    Contender,
    feast,
    in_feast,
    in_worker,
    measure,
    ours,
)
from benchmarks.results import Record
from benchmarks.servers import Servers
from benchmarks.settings import Settings
from benchmarks.source import KEY, Source, embedding, mixed
from benchmarks.worker import VIEW

FEATURES, DIMENSIONS = 200, 768
KEYS, READS, SMALL_READS = 100, 100, 5
WIDE, EMBEDDING = "wide", "embedding"


def records(servers: Servers, settings: Settings) -> Iterator[Record]:
    """Materialize a tenth of the entities, with one row of history each; read embeddings, too."""
    entities = max(settings.entities // 10, 500)
    source = Source(entities=entities, history=1, features=mixed(FEATURES))
    source.load(servers.postgres_uri)
    contenders = [ours("msgpack"), ours("feast"), Contender(POSTGRES_ALONE, in_worker("postgres_alone"))]
    for round_number in range(settings.rounds):
        for contender in contenders:
            yield {"rows": WIDE, "round": round_number, **measure(servers, source, contender)}
    source = Source(entities=entities, history=1, features=embedding(DIMENSIONS))
    source.load(servers.postgres_uri)
    reads = {"keys": KEYS, "times": SMALL_READS if settings.small else READS}
    features = [f"{VIEW}:{feature.name}" for feature in source.features]
    readers = {
        DEFAULT: in_worker("read_online", layout="msgpack", **reads),
        FEAST: in_feast("time_reads", features=features, key=KEY, entities=entities, **reads),
    }
    for round_number in range(settings.rounds):
        for contender in (ours("msgpack"), feast()):
            written = measure(servers, source, contender)
            latencies = readers[contender.name](servers, source)["answer"]
            yield {"rows": EMBEDDING, "round": round_number, **written, "p50": median(latencies)}
