"""The public function that publishes builds of several views together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from online_features import arguments
from online_features.common.instants import to_text
from online_features.common.retry_budget import RETRY_FOR, RetryBudget
from online_features.feature_view import FeatureView
from online_features.materialization._catch_up import CatchUp, publish_caught_up
from online_features.materialization._options import RunOptions
from online_features.materialization._survey import Surveyor
from online_features.materialization._transfer import Transfer
from online_features.materialization.materialize import BATCH_ROWS, is_repeated_after
from online_features.materialization.planning.plan import Plan
from online_features.materialization.reporting.progress import RunCounter
from online_features.materialization.reporting.run_record import RunRecord
from online_features.online.generations.switching import Publication
from online_features.online.redis.replication import REPLICA_TIMEOUT, Replication
from online_features.producers.transformation import Transformation
from online_features.window import Window

if TYPE_CHECKING:
    from online_features.offline.store import OfflineStore
    from online_features.online.store import OnlineStore


def publish(
    views: Sequence[FeatureView],
    offline: OfflineStore,
    online: OnlineStore,
    *,
    generations: Mapping[str, str] | None = None,
    ends_hold: bool = True,
    ignore_missed: bool = False,
    ignore_checks: bool = False,
    batch_rows: int = BATCH_ROWS,
    retry_for: timedelta = RETRY_FOR,
    wait_for_replicas: int = 0,
    replica_timeout: timedelta = REPLICA_TIMEOUT,
    origin: Mapping[str, str | int] | None = None,
) -> Publication:
    """Let readers see a generation of each view, all in one step, after builds have caught up with the source.

    :meth:`~online_features.OnlineStore.publish` refuses a build if runs have committed online since it read the source.
    This reads what they have read into the build first. What is published already stays so.

    :param views: of one project.
    :param generations: name of a view to the generation to publish; else the newest build that is ready.
    :param ends_hold: publish views that are held after a rollback, too, and end the hold. Otherwise publish nothing if
        a view is held or its generation was published before, as a run does.
    :param ignore_missed: publish also a generation that lacks pushed rows, which its definition did not allow.
    :param ignore_checks: publish also a build that has failed checks of its view.
    :param batch_rows: the largest number of rows in memory per batch.
    :param retry_for: how long to retry in total while a store cannot be reached or breaks off.
    :param wait_for_replicas: how many replicas of Redis must have what a build has caught up with.
    :param replica_timeout: how long to wait for them.
    :param origin: who publishes, for the list of generations and the run history.
    :raises PublishError: naming a view and why its generation may not be published; then none is.
    :raises GenerationError: when the views are of several projects, or of layout ``feast``.
    :raises BuildInProgressError: when a build must catch up while another run is building a generation of its view.
    :raises TransientError: when a store cannot be reached or broke off, for longer than ``retry_for``.
    """
    arguments.check(
        views=views, offline=offline, online=online, ends_hold=ends_hold, ignore_missed=ignore_missed,
        ignore_checks=ignore_checks, wait_for_replicas=wait_for_replicas, replica_timeout=replica_timeout,
    )  # fmt: skip
    arguments.check_given(generations=generations)
    retry_budget = RetryBudget(retry_for)
    by_name = {view.name: view for view in views}
    named = dict(generations or {})
    options = {
        view.name: RunOptions(
            window=Window(), full=False, prune=False, lookback=None, on_progress=None, batch_rows=batch_rows,
            replication=Replication(
                what=f"feature view {view.name!r}", replicas=wait_for_replicas, timeout=replica_timeout
            ),
            origin=origin,
        )
        for view in views
    }  # fmt: skip

    def attempt() -> Publication:
        publication = online._publish(
            views, generations=named, by_run=not ends_hold, ignore_missed=ignore_missed, ignore_checks=ignore_checks,
            origin=origin,
        )  # fmt: skip
        # Once a build has caught up, no newer one takes its place.
        named.update(publication.generations)
        return publication

    def catch_up(name: str) -> None:
        _catch_up(by_name[name], named[name], offline, online, options=options[name], retry_budget=retry_budget)

    def run() -> Publication:
        return publish_caught_up(attempt, catch_up=catch_up, closing=lambda name: online._closing(by_name[name]))

    return retry_budget.attempt(run, is_repeated_after)


def _catch_up(
    view: FeatureView, generation: str, offline: OfflineStore, online: OnlineStore, *, options: RunOptions,
    retry_budget: RetryBudget,
) -> None:  # fmt: skip
    """Catch a build up under the lease of the view."""
    record = RunRecord(options.origin)
    source = offline._source(view)
    transformation = Transformation(view, source.describe())
    counter = RunCounter(view, 0, None, time.monotonic())
    transfer = Transfer(
        source=source, transformation=transformation, counter=counter, now=datetime.now(UTC),
        batch_rows=options.batch_rows,
    )  # fmt: skip
    with online._run(
        view, transformation.schema, record.run_id,
        failed=record.failed, retry_budget=retry_budget, replication=options.replication,
    ) as online_run:  # fmt: skip
        record.note(Plan(kind="incremental", window=Window(), covered=None), counter, watermark=None)
        surveyor = Surveyor(
            view=view, source=source, transformation=transformation, options=options, online_run=online_run
        )
        with online_run.in_place(generation, is_alone=True) as writer:
            CatchUp(
                view=view, online=online, online_run=online_run, surveyor=surveyor, transfer=transfer, writer=writer,
            ).run()  # fmt: skip
        watermark = online_run.state(generation).watermark
        online_run.end({
            **record.succeeded(), "generation": generation, "watermark": to_text(watermark) if watermark else None
        })  # fmt: skip
