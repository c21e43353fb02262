"""Fuzz the decoders of rows with libFuzzer (``make fuzz``).

Inputs that reach new code are kept in ``.fuzz/<layout>``. An input that fails is written to the current folder: give
its name as an argument to run it again.
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
    from tests.support.online import STRING_LAYOUTS

CORPUS = Path(__file__).parents[2] / ".fuzz"


def fuzz(layout: str, arguments: list[str]) -> None:
    """Damage one value of a row, or the row where it is a string, for as long as libFuzzer's arguments demand."""
    online, views = Online(layout, random.Random(0)), ViewCache()
    whole = online.replies[1]

    def decode(damage: bytes) -> None:
        if not damage:
            return
        reply: Any = damage
        if layout not in STRING_LAYOUTS:
            reply = list(whole)
            reply[damage[0] % len(reply)] = damage[1:]
        is_refused(online, views, 0, reply)

    corpus = CORPUS / layout
    corpus.mkdir(parents=True, exist_ok=True)
    values = [whole] if layout in STRING_LAYOUTS else [bytes([at]) + (value or b"") for at, value in enumerate(whole)]
    for number, value in enumerate(values):
        (corpus / f"whole-{number}").write_bytes(value)
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], decode)
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2:])
