"""Damage that coverage leads to: the decoders of rows under libFuzzer, for as long as one likes (``make fuzz``).

What has led somewhere is kept in ``.fuzz/<layout>``, and what has failed is in the current folder: give its name as an
argument to see it fail again.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["online_features"]):
    from online_features.online.read._view_cache import ViewCache

    from tests.online.read.test_fuzz_reading import Online, is_refused

CORPUS = Path(__file__).parents[2] / ".fuzz"


def fuzz(layout: str, arguments: list[str]) -> None:
    """Damage one value of a row, or in layout ``json`` the row, until libFuzzer's arguments say that it is enough."""
    online, views = Online(layout, random.Random(0)), ViewCache()
    whole = online.replies[1]

    def look(told: bytes) -> None:
        if not told:
            return
        reply: Any = told
        if layout != "json":
            reply = list(whole)
            reply[told[0] % len(reply)] = told[1:]
        is_refused(online, views, 0, reply)

    corpus = CORPUS / layout
    corpus.mkdir(parents=True, exist_ok=True)
    values = [whole] if layout == "json" else [bytes([at]) + (value or b"") for at, value in enumerate(whole)]
    for number, value in enumerate(values):
        (corpus / f"whole-{number}").write_bytes(value)
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], look)
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2:])
