"""The operator that compares what is online with what the offline store says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from online_features.errors import OptionError, SkewError
from online_features.verification.report import SAMPLE, check_thresholds

from online_features_provider.metrics import emit_verification
from online_features_provider.operators._feature_view_operator import FeatureViewOperator, origin_of
from online_features_provider.operators.rendered_fields import count, duration, is_template, parse_bool
from online_features_provider.operators.task_failure import KillableOperator, readable_errors
from online_features_provider.view_reference import feature_view_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class VerifyOperator(KillableOperator, FeatureViewOperator):
    """Compare the rows of a feature view in Redis with what Postgres says they should be.

    The task fails, without retries, if more rows differ than is accepted. Its message has counts and examples, and its
    XCom ``report`` all of what was found. Runs and pushes may go on meanwhile.

    All parameters are templated.

    :param feature_view: the view, or its import path, such as ``"features.views.plane_trips"``.
    :param postgres_conn_id: Airflow connection of the offline store.
    :param redis_conn_id: Airflow connection of the online store.
    :param sample: how many entities of each side to look up on the other; ``None`` compares all rows.
    :param thresholds: class of skew to the most rows that it may have, such as ``{"missing": 0, "different": 10}``;
        classes that are not named are not limited. ``None`` accepts no row of any class.
    :param repair: write rows that are missing, behind, different or unreadable again, and remove extra ones. The task
        still fails if there were more than is accepted.
    :param lookback: how far increments read back before the end of the last one: a timedelta or its ISO-8601 text.
    :param statement_timeout: how long each statement may take in Postgres; default: the setting of connection, role or
        server.
    :returns: the report.
    :raises OptionError: when a class is unknown, or a number negative.
    """

    template_fields: Sequence[str] = (
        *FeatureViewOperator.template_fields, "postgres_conn_id", "sample", "thresholds", "repair", "lookback",
        "statement_timeout",
    )  # fmt: skip
    ui_color = "#fce8e6"

    def __init__(
        self,
        *,
        postgres_conn_id: str = "offline_store",
        sample: int | str | None = SAMPLE,
        thresholds: Mapping[str, int | str] | None = None,
        repair: bool | str = False,
        lookback: timedelta | str | None = None,
        statement_timeout: timedelta | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if thresholds is not None and not is_template(thresholds):
            _check_thresholds(thresholds)
        self.postgres_conn_id = postgres_conn_id
        self.sample = sample
        self.thresholds = thresholds
        self.repair = repair
        self.lookback = lookback
        self.statement_timeout = statement_timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare; return the report."""
        # Imported here: parsing a DAG file loads no driver.
        from online_features.verification.verify import verify

        from online_features_provider.hooks.offline import OfflineStoreHook
        from online_features_provider.hooks.online import OnlineStoreHook

        conn_ids = {"postgres_conn_id": self.postgres_conn_id, "redis_conn_id": self.redis_conn_id}
        with self.doing("verified a feature view"), readable_errors(self.log, **conn_ids):
            view = feature_view_of(self.feature_view)
            hook = OfflineStoreHook(postgres_conn_id=self.postgres_conn_id)
            report = verify(
                view,
                hook.get_store(statement_timeout=duration("statement_timeout", self.statement_timeout)),
                OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store(),
                sample=count("sample", self.sample),
                repair=parse_bool("repair", self.repair),
                record=True,
                lookback=duration("lookback", self.lookback),
                origin=origin_of(context),
            )
            emit_verification(view, report)
            returned = {**report.to_dict(), "feature_view": str(view)}
            try:
                report.require(self._limits())
            except SkewError:
                # What a failed task returns does not become an XCom.
                context["ti"].xcom_push(key="report", value=returned)
                raise
        return returned

    def _limits(self) -> dict[str, int] | None:
        """Return the thresholds as numbers."""
        if self.thresholds is None:
            return None
        _check_thresholds(self.thresholds)
        return {name: count(f"thresholds: {name}", most) or 0 for name, most in self.thresholds.items()}


def _check_thresholds(thresholds: Any) -> None:
    """Validate thresholds whose numbers may be templates.

    :raises OptionError: when a class is unknown, or a number negative.
    """
    if not isinstance(thresholds, Mapping):
        raise OptionError(f"thresholds={thresholds!r} must map classes to numbers of rows, such as {{'missing': 0}}")
    check_thresholds({name: 0 if isinstance(most, str) else most for name, most in thresholds.items()})
