"""Changes of a source that the timestamps of its rows do not show."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from online_features.common.log_lines import say
from online_features.feature_view import FeatureView
from online_features.schema import RowSchema
from online_features.source_note import SourceNote
from online_features.window import Arrivals

if TYPE_CHECKING:
    from online_features.offline.relations import SourceRelations
    from online_features.offline.source_access import SourceAccess

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SourceCheck:
    """Compares the relations behind a source with what the last run noted of them.

    :param schema: of the rows of the source.
    :param note: of the last full or incremental run; ``None`` before the first one.
    :param lookback: how far increments read back.
    :param now: the present, as an aware datetime.
    """

    view: FeatureView
    source: SourceAccess
    schema: RowSchema
    relations: SourceRelations
    note: SourceNote | None
    lookback: timedelta
    now: datetime

    def data_loss_reason(self) -> str:
        """Return why the source may hold rows that no increment would read, or an empty text."""
        if self.note is None:
            return ""
        if reason := self.relations.replaced_since(self.note):
            return reason
        parts = self.relations.parts_since(self.note)
        if parts and self.source.has_rows_outside(self.schema, parts, self._arrivals(self.note)):
            return f"{parts[0]} was attached with rows that are older than the last run"
        return ""

    def warn_of_unseen_changes(self) -> None:
        """Log a warning about rows that were changed or deleted since the last run and that no increment reads."""
        if self.note is None:
            return
        what = f"Feature view {self.view.name!r}, {self.view.source.description}"
        gone = self.relations.gone_since(self.note) if self.relations.is_by_entity else 0
        if gone:
            say(
                log.warning,
                f"{what}: {gone} row(s) were deleted since the last run and stay online, since increments do not see "
                "deletions -> run in full (window='full', in Python full=True) with prune=True, or keep the rows and "
                "mark them by a deleted_field",
            )
        if not self._may_have_changed_unseen(self.note):
            return
        unseen, future = self.source.changed_unseen(
            self.schema, self.relations, self._arrivals(self.note), self.note.snapshot
        )
        columns = (self.schema.event_timestamp, self.schema.created_timestamp)
        names = " or ".join(repr(column.name) for column in columns if column is not None)
        if unseen:
            say(
                log.warning,
                f"{what}: rows were written since the last run without a new timestamp ({unseen} of a sample), so "
                "increments do not read them, and their values do not go online "
                f"-> set {names} whenever a row changes, give lookback= where rows arrive late, or run in full "
                "(window='full', in Python full=True)",
            )
        if future and self.view.source.future_rows == "warn":
            say(
                log.warning,
                f"{what}: rows were given event timestamps in the future ({future} of a sample), so increments do not "
                f"read them before that time -> correct {self.schema.event_timestamp.name!r}, or run in full "
                "(window='full', in Python full=True)",
            )

    def _arrivals(self, note: SourceNote) -> Arrivals:
        return Arrivals.since(note.cursor, self.schema, lookback=self.lookback, now=self.now)

    def _may_have_changed_unseen(self, note: SourceNote) -> bool:
        """Return whether a sample of the rows is worth reading.

        If an entity may have several rows, a sample is read after insertions only: updates are often of rows that are
        not the newest, for example to close ``valid_to``.
        """
        if not self.relations.is_one_table:
            return False
        updated, inserted = self.relations.updated_since(note), self.relations.inserted_since(note)
        return (updated > 0 or inserted > 0) if self.relations.is_by_entity else (inserted > 0 and updated == 0)
