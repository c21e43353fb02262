"""One entity: its row online, and its erasure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from online_features.cli import options, output
from online_features.cli.confirmation import confirm
from online_features.cli.entities import entity_of
from online_features.feature_view import FeatureView
from online_features.online.read.online_rows import OnlineRow
from online_features.online.store import OnlineStore


def get(
    view: options.View,
    entity: options.Entity = None,
    *,
    generation: options.GenerationId = None,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Read the row of an entity, as services see it."""
    online = options.online_store(redis, conn_id)
    found, keys = _named(online, view, entity or [])
    rows = online.get_online_features(found, [keys], at_generation=generation)
    (row,) = rows
    if as_json:
        output.print_json({
            "view": str(found), "generation": rows.generation, "lag_seconds": rows.freshness.lag,
            "watermark": rows.freshness.watermark, "entity": keys, "status": row.status, "reason": row.reason,
            "event_timestamp": row.event_timestamp, "features": row.values,
        })  # fmt: skip
        return
    facts = {
        "entity": keys,
        "status": row.status,
        "reason": row.reason or None,
        "event timestamp (UTC)": row.event_timestamp,
        "age": datetime.now(UTC) - row.event_timestamp if row.event_timestamp else None,
        "generation": rows.generation,
        "watermark (UTC)": rows.freshness.watermark,
        "lag": rows.freshness.lag,
    }
    output.print_facts(facts, title=str(found))
    if row.status == "present":
        output.print_line("")
        output.print_table(
            ("feature", "value"), [(name, output.value_cell(value)) for name, value in row.values.items()]
        )


def erase(
    view: options.View,
    entity: options.Entity = None,
    *,
    yes: options.Yes = False,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Erase an entity in all generations.

    Rows of the source up to now cannot bring it back.
    """
    online = options.online_store(redis, conn_id)
    found, keys = _named(online, view, entity or [])
    (row,) = online.get_online_features(found, [keys])
    confirm([f"{found}: {output.value_text(keys)} is {_status(row)} online and will be erased in all generations; "
             f"undo: online-features unerase {found} {' '.join(entity or [])}"], yes=yes)  # fmt: skip
    erased = online.delete(found, [keys])
    if as_json:
        output.print_json({"view": str(found), "entity": keys, "were_online": erased})
    else:
        output.print_line(f"{found}: erased; {'it was' if erased else 'it was not'} online")


def unerase(
    view: options.View,
    entity: options.Entity = None,
    *,
    yes: options.Yes = False,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Take the erasure of an entity back.

    The next full run, or a push, brings its row online again.
    """
    online = options.online_store(redis, conn_id)
    found, keys = _named(online, view, entity or [])
    confirm([f"{found}: {output.value_text(keys)} will be allowed online again"], yes=yes)
    restored = online.unerase(found, [keys])
    if as_json:
        output.print_json({"view": str(found), "entity": keys, "were_erased": restored})
    else:
        told = "may come online again by the next full run, or by a push" if restored else "was not erased"
        output.print_line(f"{found}: {output.value_text(keys)} {told}")


COMMANDS = (get, erase, unerase)


def _named(online: OnlineStore, view: str, entity: list[str]) -> tuple[FeatureView, dict[str, Any]]:
    """Return the view, and the entity by its types online."""
    stored = online.stored_view(view)
    return stored.view, entity_of(stored.view, stored.schema, entity)


def _status(row: OnlineRow) -> str:
    return row.status.replace("_", " ")
