"""The public function that compares what is online with what the offline store says."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from online_features import arguments
from online_features.common.concurrency import prefetch
from online_features.common.log_lines import say
from online_features.errors import SwitchedError, WindowError
from online_features.feature_view import FeatureView
from online_features.materialization.materialize import BATCH_ROWS
from online_features.materialization.planning.plan import effective_lookback
from online_features.producers.transformation import Transformation
from online_features.verification._baseline import Baseline
from online_features.verification._comparison import Comparison
from online_features.verification._repair import Repair, repairing
from online_features.verification.report import SAMPLE, SKEW, VerificationReport
from online_features.window import FUTURE_TOLERANCE, LAST_INSTANT, Arrivals, Window

if TYPE_CHECKING:
    from online_features.offline.source_access import SourceAccess
    from online_features.offline.store import OfflineStore
    from online_features.online.read.stored_rows import StoredRowReader
    from online_features.online.store import OnlineStore

log = logging.getLogger(__name__)

BATCHES_AHEAD = 2  # are read while one is compared
ATTEMPTS = 3  # views are switched some times a day, so one more switch is rare and a third one is a mistake


def verify(
    view: FeatureView,
    offline: OfflineStore,
    online: OnlineStore,
    *,
    sample: int | None = SAMPLE,
    repair: bool = False,
    lookback: timedelta | None = None,
    record: bool = False,
    batch_rows: int = BATCH_ROWS,
    origin: Mapping[str, str | int] | None = None,
) -> VerificationReport:
    """Compare the rows of the published generation with what the offline store says they should be.

    Rows of the source that the next increment reads are left out if they differ. What looks wrong is looked at again
    before it counts, so runs and pushes may go on meanwhile.

    :param sample: how many entities of each side to look up on the other; ``None`` compares all rows.
    :param repair: write rows that are missing, behind, different or unreadable again, and remove extra ones. No row
        replaces a newer one, and what was pushed stays. It is recorded as a run of kind ``repair``.
    :param lookback: how far increments read back; see :func:`~online_features.materialize`.
    :param record: record the counts in Redis, for who looks at the view; it needs the rights of a run.
    :param batch_rows: the largest number of rows in memory per batch.
    :param origin: what started the repair, for the run history.
    :raises OptionError: when an option is out of its range.
    :raises WindowError: when ``lookback`` is negative.
    :raises GenerationError: when the view has no watermark, or another definition than its rows online.
    :raises SourceError: when the view does not fit the database.
    :raises TransformError: when the view's transform fails.
    :raises SwitchedError: when the view was switched to another generation again and again.
    :raises TransientError: when a store cannot be reached or broke off.
    """
    arguments.check(view=view, offline=offline, online=online, repair=repair, record=record, batch_rows=batch_rows)
    arguments.check_given(sample=sample, lookback=lookback, origin=origin)
    if lookback is not None and lookback < timedelta(0):
        raise WindowError(f"lookback={lookback!r} must not be negative")
    for _ in range(ATTEMPTS):
        source = offline._source(view)
        transformation = Transformation(view, source.describe())
        with online._stored_rows(view) as reader:
            baseline = Baseline.of(view, transformation.schema, reader.state())
            repairs = repairing(view, online, transformation.schema, baseline, origin) if repair else nullcontext()
            with repairs as repairer:
                report = _verified(
                    view, source, transformation, reader, baseline,
                    sample=sample, repair=repairer, lookback=lookback, batch_rows=batch_rows,
                )  # fmt: skip
            if reader.published() == baseline.generation:
                has_skew = any(getattr(report, kind) for kind in SKEW)
                if record:
                    reader.record_verification(baseline.generation, report.counts())
                say(log.warning if has_skew else log.info, f"Verified feature view {view.name!r}: {report.in_words()}")
                return report
        say(log.info, f"Feature view {view.name!r} was switched to another generation; its verification begins again")
    raise SwitchedError(
        f"feature view {view.name!r} was switched to another generation {ATTEMPTS} times while it was verified -> try "
        "again when no builds are being published"
    )


def _verified(
    view: FeatureView,
    source: SourceAccess,
    transformation: Transformation,
    reader: StoredRowReader,
    baseline: Baseline,
    *,
    sample: int | None,
    repair: Repair | None,
    lookback: timedelta | None,
    batch_rows: int,
) -> VerificationReport:
    """Compare, and look again at what seemed wrong."""
    began, now, schema = time.monotonic(), datetime.now(UTC), transformation.source
    relations = source.relations(schema)
    lookback = effective_lookback(lookback, schema, source.horizon(), relations.late)
    latest = now + FUTURE_TOLERANCE if view.source.future_rows == "reject" else LAST_INSTANT
    # The state was read before the source, so what the source has from before the watermark is online.
    plan = (
        source.query_plan(schema, Window(latest=latest))
        if sample is None
        else source.plan_of_sample(schema, latest, sample, relations)
    )
    comparison = Comparison(
        view=view, source=source, transformation=transformation, reader=reader,
        baseline=baseline,
        arrivals=Arrivals.since(baseline.since, schema, lookback=lookback, now=now), latest=latest, repair=repair,
    )  # fmt: skip
    sampled: set[bytes] = set()
    with (
        source.snapshot(plan) as snapshot,
        closing(prefetch(snapshot.batches(batch_rows), BATCHES_AHEAD, snapshot.cancel)) as batches,
    ):
        for batch in batches:
            keys = comparison.compare(batch)
            sampled.update(keys if sample is not None else ())
    if sample is None:
        comparison.find_extra()
    else:
        comparison.look_up_sample(sample, sampled)
    comparison.look_again()
    return comparison.tally.report(
        feature_view=view.name,
        generation=baseline.generation,
        watermark=baseline.watermark,
        seconds=time.monotonic() - began,
    )
