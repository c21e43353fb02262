"""The choice of how to read a window: all of its rows, or entity by entity through an index.

The cost of reading entity by entity does not depend on the length of history, but is higher if history is short. So
entities are read one by one if

- all of history is asked for, and the planner expects at least :data:`DEEP_HISTORY` rows of it per entity, in a
  partitioned table so many for each partition that a step looks into,
- an index of the table begins with the join keys and then has the event timestamp, and
- the planner answers the statement by steps through indexes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import Select
from sqlalchemy.sql.selectable import GenerativeSelect

from online_features.feature_view import PostgresSource
from online_features.offline._indexes import indexed_table, suitable_index
from online_features.offline.division.part import HashClass, KeyRange
from online_features.offline.sql import source_rows, statements
from online_features.offline.sql.skip_scan import SkipScan
from online_features.schema import RowSchema
from online_features.window import Arrivals, Window

# Rows per entity from which on the index is used. It pays from about half as many, but the planner tends to
# underestimate the number of entities, and for several join keys it expects at most a tenth of the rows.
DEEP_HISTORY = 20

COSTLY_SCAN = 10_000  # in the planner's unit, which is reading a page of 8 kB in order: some 80 MB

INDEX_SCANS = frozenset({"Index Scan", "Index Only Scan"})

Node = dict[str, Any]  # of a plan, as EXPLAIN (FORMAT JSON) prints it


@dataclass(frozen=True, kw_only=True)
class QueryPlan:
    """The statements by which a snapshot reads a window.

    :param schema: of the rows, as they were when the plan was made.
    :param types: selects the types that their columns have now.
    :param newest: selects the newest row of each entity, in the form in which it goes online.
    :param rejected: selects join keys and event timestamp, as text, of rows without an entity or an event timestamp.
    :param counts_rejected: whether the last column of ``newest`` counts rejected rows of the entity. Then an entity
        that has only rejected rows has a row in ``newest``, too.
    :param uncounted: selects those of ``rejected`` that ``newest`` does not count.
    :param expected_rows: how many rows the planner expects ``newest`` to give.
    :param in_words: which way was chosen and why, or a hint at a missing index; empty if there is nothing to say.
    :param scan: that has made the statements, if entities are read one by one.
    """

    schema: RowSchema
    types: Select[*tuple[Any, ...]]
    newest: Select[*tuple[Any, ...]]
    rejected: GenerativeSelect
    counts_rejected: bool = False
    uncounted: GenerativeSelect
    expected_rows: int
    in_words: str = ""
    scan: SkipScan | None = None


def choose_query(
    connection: sa.Connection, source: PostgresSource, schema: RowSchema, window: Window | Arrivals
) -> QueryPlan:
    """Choose how to read a window from Postgres's catalog and planner."""
    newest = statements.newest_rows(source, schema, window)
    plan = _explained(connection, newest)
    rejected = statements.rejected_rows(source, schema, window)
    by_window = QueryPlan(
        schema=schema, types=statements.types(source, schema), newest=newest, rejected=rejected, uncounted=rejected,
        expected_rows=int(plan["Plan Rows"]),
    )  # fmt: skip
    if isinstance(window, Arrivals):
        return replace(by_window, in_words=_index_hint(source, schema, plan))
    if not window.is_open:
        return by_window
    depth = rows_per_entity(plan)
    about = f"about {depth:.0f} rows per entity"
    scan, why_not = None, ""
    if depth >= DEEP_HISTORY:
        scan, why_not = _skip_scan(connection, source, schema, window.latest, depth)
    if scan is None:
        return replace(by_window, in_words=f"newest rows by DISTINCT ON, {about}{why_not}")
    in_words = f"newest rows by skip scan over index {scan.index.name}, {about}"
    return replace(_by_scan(scan, by_window.expected_rows), in_words=in_words, scan=scan)


def query_of_part(
    source: PostgresSource, schema: RowSchema, window: Window | Arrivals, part: KeyRange | HashClass,
    scan: SkipScan | None,
) -> QueryPlan:  # fmt: skip
    """Return how to read a part of a source.

    :param scan: by which to read a range; its index begins with the column of the range.
    """
    if scan is not None and isinstance(part, KeyRange):
        return _by_scan(replace(scan, bounds=part.entities(schema), has_nulls=part.has_nulls), 0)
    rejected = statements.rejected_rows(source, schema, window).where(part.rows(schema))
    return QueryPlan(
        schema=schema, types=statements.types(source, schema),
        newest=statements.newest_rows(source, schema, window, part.entities(schema)), rejected=rejected,
        uncounted=rejected, expected_rows=0,
    )  # fmt: skip


def _by_scan(scan: SkipScan, expected_rows: int) -> QueryPlan:
    return QueryPlan(
        schema=scan.schema,
        types=statements.types(scan.source, scan.schema),
        newest=scan.newest_rows(),
        rejected=scan.rejected_rows(),
        counts_rejected=True,
        uncounted=scan.rows_without_entity(),
        expected_rows=expected_rows,
    )


def _index_hint(source: PostgresSource, schema: RowSchema, plan: Node) -> str:
    """Return a hint at missing indexes if the planner scans all of a large table; else an empty text."""
    is_costly = any(node["Node Type"] == "Seq Scan" and node["Total Cost"] > COSTLY_SCAN for node in nodes(plan))
    if source.table is None or not is_costly:
        return ""
    indexes = "; ".join(
        source_rows.index_on(source, [column])
        for column in (schema.event_timestamp, schema.created_timestamp) if column is not None
    )  # fmt: skip
    return f"which scans the whole table; to read the newest only: {indexes}"


def _skip_scan(
    connection: sa.Connection, source: PostgresSource, schema: RowSchema, latest: datetime, depth: float
) -> tuple[SkipScan | None, str]:
    """Return the scan of an index of the source; else ``None`` and, where the user can change it, the reason.

    :param depth: rows of history per entity.
    """
    table = indexed_table(connection, source, schema)
    if table is None:
        return None, ""
    index = suitable_index(schema, table.indexes)
    if index is None:
        return (
            None,
            f"; to read the newest only: {source_rows.index_on(source, (*schema.keys, schema.event_timestamp))}",
        )
    scan = SkipScan(source=source, schema=schema, index=index, not_null=table.not_null, latest=latest)
    plan = _explained(connection, scan.newest_rows())
    if not is_by_index(plan):
        return None, f"; the planner does not walk index {index.name}"
    partitions = len({node["Relation Name"] for node in nodes(plan) if "Relation Name" in node})
    if depth < DEEP_HISTORY * partitions:
        return None, f"; to walk index {index.name} through {partitions} partitions would take longer"
    return scan, ""


def rows_per_entity(plan: Node) -> float:
    """Return how many rows per entity the planner expects ``DISTINCT ON`` to read; 1 without ``DISTINCT ON``."""
    for node in nodes(plan):
        if node["Node Type"] == "Unique":
            # Its other children are subqueries that are evaluated first.
            rows = next(plan for plan in node["Plans"] if plan.get("Parent Relationship") == "Outer")
            return float(rows["Plan Rows"] / node["Plan Rows"])
    return 1.0


def is_by_index(plan: Node) -> bool:
    """Return whether a plan reads tables through indexes alone, and sorts at most rows that the index leaves tied.

    Rejected rows are counted for few entities, so a count may filter rows, and read them by a bitmap of an index.
    """
    return all(
        node["Node Type"] != "Sort"
        and (
            "Relation Name" not in node
            or (is_counted and node["Node Type"] != "Seq Scan")
            or (node["Node Type"] in INDEX_SCANS and "Filter" not in node)
        )
        for node, is_counted in _with_counts(plan)
    )


def nodes(plan: Node) -> Iterator[Node]:
    """Yield the nodes of a plan, each before its children."""
    return (node for node, _ in _with_counts(plan))


def _with_counts(plan: Node, *, is_counted: bool = False) -> Iterator[tuple[Node, bool]]:
    """Yield the nodes of a plan, and whether their rows are only counted."""
    yield plan, is_counted
    for node in plan.get("Plans", ()):
        yield from _with_counts(node, is_counted=is_counted or plan["Node Type"] == "Aggregate")


def _explained(connection: sa.Connection, statement: GenerativeSelect) -> Node:
    # Without parameters, so that the driver does not interpret percent signs in the statement.
    verbatim = connection.execution_options(no_parameters=True)
    (plan,) = verbatim.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {source_rows.sql_text(statement)}").scalar_one()
    root: Node = plan["Plan"]
    return root
