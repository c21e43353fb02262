"""Carries pushed rows over to a generation that is being built, since the source may not have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from online_features.common.batches import batched
from online_features.counters import RowCounts
from online_features.errors import InvalidRowsError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout import EARLIEST, Key, RowLayout
from online_features.layouts.layout_registry import layout_of
from online_features.layouts.row_format import DAMAGE
from online_features.online.generations.view_state import ViewState, as_online
from online_features.online.redis.deployment import KEYS_PER_CALL, Deployment
from online_features.online.write._row_script import RowScript, entities
from online_features.producers.given_rows import GivenBatch
from online_features.producers.pushed_rows import pushed_rows
from online_features.schema import RowSchema
from online_features.types import values


@dataclass(frozen=True, kw_only=True)
class PushedRow:
    """A row that a producer has pushed, as it is online.

    :param key: values of the join keys, by name.
    :param is_deleted: whether the producer has deleted the entity, so that a tombstone is online.
    :param is_damaged: whether it cannot be read.
    """

    timestamp: datetime
    created: datetime | None
    is_deleted: bool
    is_damaged: bool = False
    key: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CarriedPushes:
    """Counts of the pushed rows of the published generation, by what a build did with them.

    :param counts: of the rows that were written to the build.
    :param missed: how many rows the build cannot hold.
    :param damaged: how many rows nobody can read.
    :param newest: event timestamp of them that is not in the future.
    """

    counts: RowCounts
    missed: int
    damaged: int
    newest: datetime | None


def carry_pushes(
    deployment: Deployment,
    published: ViewState,
    layout: RowLayout,
    schema: RowSchema,
    *,
    write: Callable[[pa.RecordBatch], RowCounts],
    since: datetime | None,
    now: datetime,
) -> CarriedPushes:
    """Write the pushed rows of the published generation to a build, under the guard.

    :param published: the state of the published generation.
    :param write: writes rows to the build, and marks them as pushed.
    :param layout: of the build.
    :param schema: of the build.
    :param since: leave out rows with an earlier event timestamp; ``None`` leaves out none.
    """
    counts, missed, damaged, times = RowCounts(), 0, 0, []
    for rows in _pushed(deployment, layout.view, published):
        damaged += sum(row.is_damaged for row in rows)
        carried = [row for row in rows if not row.is_damaged and (since is None or row.timestamp >= since)]
        times += [row.timestamp for row in carried if row.timestamp <= now]
        times = [max(times)] if times else []
        whole = _batch(layout.view, schema, carried, now)
        # One by one if need be: a row that does not fit must not keep the others out.
        for batch in [whole] if whole else [_batch(layout.view, schema, [row], now) for row in carried]:
            if batch is None:
                missed += 1
            else:
                counts += write(batch)
    return CarriedPushes(counts=counts, missed=missed, damaged=damaged, newest=max(times, default=None))


def count_left_out(
    deployment: Deployment,
    published: ViewState,
    layout: RowLayout,
    schema: RowSchema,
    *,
    absent: Callable[[pa.RecordBatch], int],
    before: datetime,
    now: datetime,
) -> int:
    """Return how many pushed rows from before an instant are of entities that a build does not have.

    :param absent: returns how many rows' entities are not in the build.
    """
    count = 0
    for rows in _pushed(deployment, layout.view, published):
        if past := [row for row in rows if row.timestamp < before and not (row.is_deleted or row.is_damaged)]:
            batch = _batch(layout.view, schema, past, now)
            count += absent(batch) if batch else len(past)
    return count


def _pushed(deployment: Deployment, view: FeatureView, published: ViewState) -> Iterator[list[PushedRow]]:
    if published.schema is None:
        return
    layout = layout_of(as_online(view, published.layout), published.generation)
    columns, stamps_of = published.schema.keys, RowScript(deployment, layout, "stamps")
    for found in batched(entities(deployment, layout, columns), KEYS_PER_CALL):
        keys = [key for key, _ in found]
        marked: list[tuple[Key, list[str]]] = []
        for part, stamps in zip(stamps_of.parts(keys), stamps_of(keys), strict=True):
            marked += [found[i] for i, flags in zip(part, stamps[2::3], strict=True) if flags & keyspace.PUSHED]
        yield _read(deployment, layout, published.schema, marked)


def _read(
    deployment: Deployment, layout: RowLayout, schema: RowSchema, marked: Sequence[tuple[Key, list[str]]]
) -> list[PushedRow]:
    """Return the rows of keys that held pushed ones, without those that have expired or were replaced meanwhile.

    Read each row by one command: stamps of an earlier reply may belong to a row that has been replaced since.
    """
    form = layout.stored_form(schema.features)
    row_format = layout.row_format(schema.features, schema.features)
    replies = deployment.replies([(form, key) for key, _ in marked]) if marked else []
    rows = []
    for (_, texts), reply in zip(marked, replies, strict=True):
        try:
            stamps = layout.stamps(reply)
            if stamps is None or not stamps.is_pushed:
                continue
            key = {column.name: values.decode(column, text) for column, text in zip(schema.keys, texts, strict=True)}
            _, features = row_format.row(layout.features_in(reply))
            row = PushedRow(
                timestamp=stamps.timestamp, created=stamps.created, is_deleted=stamps.is_tombstone, key=key,
                features=features,
            )  # fmt: skip
        except DAMAGE:
            row = PushedRow(timestamp=EARLIEST, created=None, is_deleted=False, is_damaged=True)
        rows.append(row)
    return rows


def _batch(view: FeatureView, schema: RowSchema, rows: Sequence[PushedRow], now: datetime) -> pa.RecordBatch | None:
    """Return the rows as a batch of the build; ``None`` if it cannot hold one of them."""
    if schema.deleted is None and any(row.is_deleted for row in rows):
        return None
    try:
        columns: dict[str, list[Any]] = {key.name: [row.key[key.name] for row in rows] for key in schema.keys}
        columns[schema.event_timestamp.name] = [row.timestamp for row in rows]
        if schema.created_timestamp is not None:
            columns[schema.created_timestamp.name] = [row.created for row in rows]
        if schema.deleted is not None:
            columns[schema.deleted.name] = [row.is_deleted for row in rows]
        for feature in schema.features:
            columns[feature.name] = [row.features.get(feature.name) for row in rows]
        return pushed_rows(view, schema, GivenBatch(columns, len(rows)), now=now).batch
    except (KeyError, InvalidRowsError):
        return None
