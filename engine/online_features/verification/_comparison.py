"""Rows of both stores compared: most of them as bytes, only those that differ value by value."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from online_features.common.batches import batched
from online_features.common.log_lines import say
from online_features.errors import OnlineAccessError, UnsupportedTypeError
from online_features.feature_view import FeatureView
from online_features.layouts.layout_registry import layout_of
from online_features.producers.transformation import Transformation
from online_features.types import values
from online_features.verification._baseline import Baseline
from online_features.verification._examiner import Finding, RowExaminer
from online_features.verification._judgement import has_arrived
from online_features.verification._key_sums import KeySums
from online_features.verification._repair import Repair
from online_features.verification._tally import Tally
from online_features.verification.report import SKEW, SkewClass
from online_features.window import Arrivals

if TYPE_CHECKING:
    from online_features.layouts.encoder import StoredRows
    from online_features.offline.source_access import SourceAccess
    from online_features.online.read.stored_rows import StoredRowReader

log = logging.getLogger(__name__)

# Entities that look wrong and are looked at again. More than that are not in flight, but really wrong.
DOUBTFUL_ENTITIES = 10_000
LOOK_AGAIN_SECONDS = 1.0  # longer than a row is on its way between the stores, once its run has read it

ENTITIES_PER_LOOKUP = 10_000  # so many that a source without an index is not read too often

Entities = Mapping[bytes, Sequence[str]]  # texts of the join keys, by the key of the row


class Comparison:
    """Compares rows of the source with a generation.

    :param baseline: the generation to compare with.
    :param arrivals: rows that changed after the watermark.
    :param latest: later rows of the source are rejected.
    :param repair: repairs what is wrong; ``None`` leaves it.
    :ivar tally: of what was found.
    """

    def __init__(
        self,
        *,
        view: FeatureView,
        source: SourceAccess,
        transformation: Transformation,
        reader: StoredRowReader,
        baseline: Baseline,
        arrivals: Arrivals,
        latest: datetime,
        repair: Repair | None,
    ) -> None:
        self.tally = Tally()
        self._view = view
        self._source = source
        self._transformation = transformation
        self._schema = transformation.schema
        self._reader = reader
        self._arrivals = arrivals
        self._latest = latest
        self._repair = repair
        self._layout = layout_of(view, baseline.generation)
        self._examiner = RowExaminer(self._layout, self._schema, online=baseline.schema)
        self._encoder = self._layout.encoder(self._schema)
        self._form = self._layout.stored_form(self._schema.features)
        self._sums = KeySums()
        self._doubtful: dict[bytes, Sequence[str]] = {}
        try:
            self._layout.check_prunable(self._schema.keys)
            self._can_look_up = True
        except UnsupportedTypeError:
            self._can_look_up = self.tally.finds_extra = False

    def compare(self, batch: pa.RecordBatch, *, is_final: bool = False) -> Sequence[bytes]:
        """Compare newest rows of the source with what is online, and return their keys.

        :param batch: as the source gives it.
        :param is_final: whether to judge at once what looks wrong.
        """
        rows = self._transformation.apply(batch)
        stored = self._encoder.stored(rows)
        replies = self._reader.replies(self._form, stored.keys)
        self._sums.add(key for key, reply in zip(stored.keys, replies, strict=True) if _is_there(reply))
        both = zip(stored.replies, replies, stored.deletes.tolist(), strict=True)
        suspects = [i for i, (want, have, deletes) in enumerate(both) if deletes or want != have]
        self.tally.add(SkewClass.EQUAL, len(stored.keys) - len(suspects))
        if suspects:
            some = rows.take(pa.array(suspects))
            self._examine(some, stored.take(suspects), [replies[i] for i in suspects], is_final=is_final)
        return stored.keys

    def look_up_sample(self, size: int, seen: Container[bytes]) -> None:
        """Compare a random sample of the entities that are online with the source.

        :param seen: keys of entities that were compared already.
        """
        if not self._can_look_up:
            return
        with _unless_refused(self._view, self.tally):
            keys = [key for key in self._reader.sample(self._pattern, size) if key not in seen]
            for some in batched(keys, ENTITIES_PER_LOOKUP):
                self._look_up(self._entities(some))

    def find_extra(self) -> None:
        """Look for entities that are online and that the source lacks, after all of its rows were compared."""
        if not self._can_look_up:
            return
        with _unless_refused(self._view, self.tally):
            for some in batched(self._reader.keys(self._pattern), ENTITIES_PER_LOOKUP):
                self._sums.subtract(some)
            if self._sums.are_equal:
                return
            others = (
                key
                for some in batched(self._reader.keys(self._pattern), ENTITIES_PER_LOOKUP)
                for key, differs in zip(some, self._sums.may_differ(some).tolist(), strict=True) if differs
            )  # fmt: skip
            for some in batched(others, ENTITIES_PER_LOOKUP):
                self._look_up(self._entities(some), only_absent=True)

    def look_again(self, wait: Callable[[float], object] = time.sleep) -> None:
        """Look again at what seemed wrong, on both sides.

        :param wait: waits for some seconds.
        """
        doubtful, self._doubtful = self._doubtful, {}
        if doubtful:
            wait(LOOK_AGAIN_SECONDS)
            self._look_up(doubtful, is_final=True)

    @property
    def _pattern(self) -> str | bytes:
        return self._layout.pattern(self._schema.keys)

    def _entities(self, keys: Iterable[bytes]) -> dict[bytes, Sequence[str]]:
        """Return the texts of the join keys in keys; leave out keys that are not the view's."""
        texts = ((key, self._layout.texts(self._schema.keys, key)) for key in keys)
        return {key: found for key, found in texts if found is not None}

    def _look_up(self, entities: Entities, *, is_final: bool = False, only_absent: bool = False) -> None:
        """Compare the rows of some entities.

        :param only_absent: whether to leave out those that the source has.
        """
        fitting = [(key, texts) for key, texts in entities.items() if self._fits(texts)]
        with self._source.lookup(self._transformation.source) as existing:
            held = sorted(existing([texts for _, texts in fitting])) if fitting else []
        found = {fitting[i][0] for i in held}
        if held and not only_absent:
            plan = self._source.plan_of_entities(
                self._transformation.source, self._latest, [fitting[i][1] for i in held]
            )
            with self._source.snapshot(plan) as snapshot:
                batches = snapshot.batches(ENTITIES_PER_LOOKUP)
                found = {key for batch in batches for key in self.compare(batch, is_final=is_final)}
        absent = {key: texts for key, texts in entities.items() if key not in found}
        if absent:
            self._examine_absent(absent, is_final=is_final)

    def _fits(self, texts: Sequence[str]) -> bool:
        """Return whether texts are values of the join keys; the source has no entity of other ones."""
        keys = self._schema.keys
        return len(keys) == len(texts) and all(map(values.is_value, keys, texts))

    def _examine(self, rows: pa.RecordBatch, stored: StoredRows, replies: Sequence[Any], *, is_final: bool) -> None:
        """Judge rows of the source whose bytes are not those online."""
        sources = self._examiner.source_rows(rows, stored)
        findings = self._examiner.examine(sources, stored.replies, replies)
        wrong = []
        for i, (key, source, finding) in enumerate(zip(stored.keys, sources, findings, strict=True)):
            if finding.kind in SKEW and has_arrived(source, self._arrivals):
                self.tally.skipped += 1
            elif not self._doubts(key, finding, is_final=is_final):
                self._count(key, finding)
                if finding.kind in SKEW and not isinstance(replies[i], Exception):
                    wrong.append(i)
        if wrong and self._repair is not None:
            self.tally.repaired += self._repair.write(rows.take(pa.array(wrong)))

    def _examine_absent(self, entities: Entities, *, is_final: bool) -> None:
        """Judge entities that the source lacks."""
        replies = self._reader.replies(self._form, [*entities])
        # Read after the rows: a push records that it has pushed when its rows are written.
        may_be_pushed = not self._layout.holds_stamps and self._reader.state().is_pushed
        findings = self._examiner.examine_absent(replies, may_be_pushed=may_be_pushed)
        extra = []
        for key, finding in zip(entities, findings, strict=True):
            if finding is not None and not self._doubts(key, finding, is_final=is_final):
                self._count(key, finding)
                if finding.kind == SkewClass.EXTRA and finding.stamps is not None:
                    extra.append((key, finding.stamps))
        if extra and self._repair is not None:
            self.tally.removed += self._repair.remove(extra)

    def _doubts(self, key: bytes, finding: Finding, *, is_final: bool) -> bool:
        """Keep an entity that looks wrong to look at it again; return whether it is kept."""
        if finding.kind not in SKEW or is_final or not self._can_look_up:
            return False
        if key not in self._doubtful:
            texts = self._layout.texts(self._schema.keys, key)
            if texts is None or len(self._doubtful) >= DOUBTFUL_ENTITIES:
                return False
            self._doubtful[key] = texts
        return True

    def _count(self, key: bytes, finding: Finding) -> None:
        self.tally.add(finding.kind)
        self.tally.add_mismatches(finding.distances)
        if self.tally.needs_example(finding.kind):
            self.tally.add_example(finding.kind, self._examiner.example(key, finding))


def _is_there(reply: Any) -> bool:
    """Return whether a key holds anything of the view."""
    return any(part is not None for part in reply) if isinstance(reply, list) else reply is not None


@contextmanager
def _unless_refused(view: FeatureView, tally: Tally) -> Iterator[None]:
    """Go on without extra entities where Redis refuses to scan for them."""
    try:
        yield
    except OnlineAccessError as refusal:
        tally.finds_extra = False
        say(log.warning, f"Feature view {view.name!r}: entities that the source lacks were not looked for: {refusal}")
