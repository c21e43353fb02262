"""The generation that is compared with the source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from online_features.errors import GenerationError
from online_features.feature_view import FeatureView
from online_features.online.generations.view_definition import changes_since
from online_features.online.generations.view_state import ViewState
from online_features.schema import RowSchema


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What is known of the generation when the verification begins, before it reads the source.

    :param watermark: everything in the source up to this instant is in the generation.
    :param since: rows of the source that were created later need not be.
    :param schema: of the rows online.
    """

    generation: str
    watermark: datetime
    since: datetime
    schema: RowSchema

    @classmethod
    def of(cls, view: FeatureView, schema: RowSchema, state: ViewState) -> Baseline:
        """Return the baseline of the published generation.

        :param schema: of the rows of the source, after the transform.
        :raises GenerationError: when its rows cannot be compared, with the cure.
        """
        if state.watermark is None or state.schema is None:
            raise GenerationError(
                f"feature view {view.name!r} has no watermark, so nothing says what should be online -> materialize it"
            )
        if changed := [part for part in changes_since(state, view, schema) if part != "ttl"]:
            raise GenerationError(
                f"feature view {view.name!r} differs from its rows online in {' and '.join(changed)} -> materialize it "
                "with its new definition first"
            )
        return cls(
            generation=state.generation,
            watermark=state.watermark,
            since=min(state.watermark, state.cursor or state.watermark),
            schema=state.schema,
        )
