"""A transform in Python that takes most of the processor; other processes of a run import it."""

from __future__ import annotations

import pyarrow as pa

FEATURE, ADDED = "feature_2", "heavy"
STEPS = 640  # for each row: some 70 % of the processor time of a run, of Postgres and Redis with it


def heavy(rows: pa.Table) -> pa.Table:
    """Compute a feature row by row, holding the interpreter's lock."""
    values = []
    for given in rows[FEATURE].to_pylist():
        value = given or 0.0
        for _ in range(STEPS):
            value = value * 1.0000001 + 0.5
        values.append(value)
    return rows.append_column(ADDED, pa.array(values, pa.float64()))
