"""The options of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from online_features import arguments
from online_features.errors import OptionError, WindowError
from online_features.feature_view import FeatureView
from online_features.layouts.layout_registry import LAYOUTS
from online_features.materialization.reporting.progress import Progress
from online_features.online.generations.removal import KEEP_GENERATIONS
from online_features.online.redis.replication import Replication
from online_features.window import Window


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of :func:`~online_features.materialize`, which describes them.

    :param window: to read; open for a full or incremental run.
    :param publish: whether a build is published.
    :param in_place: whether a full run writes to the published generation.
    :param overwrite: whether a full run of layout ``feast`` removes all rows first.
    :param allow_empty: whether a build without rows may replace rows.
    :param ignore_checks: whether rows may count that have failed checks of their view.
    :param ignore_memory: whether to build although the memory of Redis may not suffice.
    :param keep_generations: how many generations to keep to go back to.
    :param parallel: how many processes copy the rows of a full run.
    :raises WindowError: when the window contradicts another option.
    :raises OptionError: when an option is out of its range.
    """

    window: Window
    full: bool
    prune: bool
    lookback: timedelta | None
    on_progress: Callable[[Progress], None] | None
    batch_rows: int
    replication: Replication
    origin: Mapping[str, str | int] | None
    publish: bool = True
    in_place: bool = False
    overwrite: bool = False
    allow_empty: bool = False
    ignore_checks: bool = False
    ignore_memory: bool = False
    keep_generations: int = KEEP_GENERATIONS
    parallel: int = 1

    def __post_init__(self) -> None:
        arguments.check(
            full=self.full, prune=self.prune, batch_rows=self.batch_rows, publish=self.publish, in_place=self.in_place,
            overwrite=self.overwrite, allow_empty=self.allow_empty, ignore_checks=self.ignore_checks,
            ignore_memory=self.ignore_memory, keep_generations=self.keep_generations, parallel=self.parallel,
        )  # fmt: skip
        arguments.check_given(lookback=self.lookback, on_progress=self.on_progress, origin=self.origin)
        if self.prune and not self.full:
            raise WindowError("prune=True compares with all of history: give full=True with it")
        if self.full and not self.window.is_open:
            raise WindowError("full=True reads all of history: give it, or start= and end=, not both")
        for option, is_given in {
            "publish=False": not self.publish, "in_place=True": self.in_place, "overwrite=True": self.overwrite,
            "allow_empty=True": self.allow_empty, "ignore_memory=True": self.ignore_memory,
        }.items():  # fmt: skip
            if is_given and not self.full:
                raise WindowError(f"{option} is of full runs: give full=True with it")
        if self.in_place and not self.publish:
            raise WindowError("in_place=True writes to what is published: leave publish=False out")
        if self.lookback is not None and self.lookback < timedelta(0):
            raise WindowError(f"lookback={self.lookback!r} must not be negative")
        if self.lookback is not None and (self.full or not self.window.is_open):
            raise WindowError("lookback= widens an incremental run: leave it out with full=True, start= or end=")

    def check_layout(self, view: FeatureView) -> None:
        """Refuse what the layout of the view cannot do.

        :raises OptionError: naming the option and the cure.
        """
        has_generations, name = LAYOUTS[view.layout].has_generations, f"feature view {view.name!r}"
        if self.overwrite and has_generations:
            raise OptionError(
                f"{name}: overwrite=True is for layout 'feast' -> leave it out: a full run of layout {view.layout!r} "
                "builds a new generation"
            )
        if not self.publish and not has_generations:
            raise OptionError(
                f"{name}: layout 'feast' has one generation, written in place -> leave publish=False out, or give the "
                "view another layout"
            )
