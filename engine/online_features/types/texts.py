"""Arrow columns as text, in the encodings of the documented keyspace."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def texts(column: pa.Array) -> pa.StringArray:
    """Values of a feature or join key as text; NULL stays NULL.

    Booleans, integers and floats are encoded here; every other type arrives as text from the source.
    """
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def instants(column: pa.TimestampArray) -> pa.StringArray:
    """Instants of the years 1 to 9999 as ``2013-01-01T06:00:00.000000Z``; NULL stays NULL."""
    # Cast without a zone, which is ten times quicker, then put in the two characters that ISO-8601 wants.
    spaced = column.cast(pa.timestamp("us")).cast(pa.string())
    return pc.binary_join_element_wise(pc.binary_replace_slice(spaced, 10, 11, "T"), "Z", "")
