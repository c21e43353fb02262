"""Features from Postgres to Redis: the newest row of each entity, and readers for models.

The engine does not import Airflow: operators, sensors and hooks are in ``online_features_provider``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from online_features.extras import needs_materialize as _needs_materialize

if TYPE_CHECKING:
    from online_features.errors import *  # noqa: F403
    from online_features.feature_view import FeastOptions as FeastOptions
    from online_features.feature_view import FeatureView as FeatureView
    from online_features.feature_view import PostgresSource as PostgresSource
    from online_features.layouts.feast.feast_repository import load_feature_views as load_feature_views
    from online_features.materialization.materialize import materialize as materialize
    from online_features.materialization.parts.build_plan import BuildPart as BuildPart
    from online_features.materialization.parts.build_plan import BuildPlan as BuildPlan
    from online_features.materialization.parts.build_plan import PartResult as PartResult
    from online_features.materialization.parts.finish_build import finish_build as finish_build
    from online_features.materialization.parts.materialize_part import materialize_part as materialize_part
    from online_features.materialization.parts.plan_build import plan_build as plan_build
    from online_features.materialization.publication import publish as publish
    from online_features.materialization.reporting.progress import Progress as Progress
    from online_features.materialization.reporting.result import MaterializationResult as MaterializationResult
    from online_features.offline.notifications import drop_notification_sql as drop_notification_sql
    from online_features.offline.notifications import notification_sql as notification_sql
    from online_features.offline.store import OfflineStore as OfflineStore
    from online_features.online.async_store import AsyncOnlineStore as AsyncOnlineStore
    from online_features.online.generations.generation_list import Generation as Generation
    from online_features.online.generations.generation_list import GenerationList as GenerationList
    from online_features.online.generations.generation_list import GenerationState as GenerationState
    from online_features.online.generations.generation_list import Hold as Hold
    from online_features.online.generations.switching import Publication as Publication
    from online_features.online.generations.switching import PublicationOutcome as PublicationOutcome
    from online_features.online.generations.view_state import ViewState as ViewState
    from online_features.online.read.entity_freshness_check import EntityFreshnessCheck as EntityFreshnessCheck
    from online_features.online.read.feature_vectors import FeatureVector as FeatureVector
    from online_features.online.read.feature_vectors import FeatureVectors as FeatureVectors
    from online_features.online.read.freshness import Freshness as Freshness
    from online_features.online.read.online_rows import OnlineRow as OnlineRow
    from online_features.online.read.online_rows import OnlineRows as OnlineRows
    from online_features.online.read.overview.stored_view import StoredView as StoredView
    from online_features.online.read.overview.view_summary import Condition as Condition
    from online_features.online.read.overview.view_summary import ViewSummary as ViewSummary
    from online_features.online.read.view_freshness_check import FreshnessResult as FreshnessResult
    from online_features.online.read.view_freshness_check import ViewFreshnessCheck as ViewFreshnessCheck
    from online_features.online.store import OnlineStore as OnlineStore
    from online_features.online.write.push import PushResult as PushResult
    from online_features.producers.appending import AppendResult as AppendResult
    from online_features.schema import Column as Column
    from online_features.schema import RowSchema as RowSchema
    from online_features.statistics.view_statistics import CommonValue as CommonValue
    from online_features.statistics.view_statistics import FeatureStatistics as FeatureStatistics
    from online_features.statistics.view_statistics import Histogram as Histogram
    from online_features.statistics.view_statistics import ViewStatistics as ViewStatistics
    from online_features.verification.report import FeatureSkew as FeatureSkew
    from online_features.verification.report import SkewClass as SkewClass
    from online_features.verification.report import SkewExample as SkewExample
    from online_features.verification.report import VerificationReport as VerificationReport
    from online_features.verification.verify import verify as verify

# Imported when first used: a DAG file that only names a feature view loads no driver, and a process that only
# reads loads no Arrow.
_EXPORTS = {
    "errors": (
        "AmbiguousNameError", "BuildInProgressError", "ChecksFailedError", "ColumnNotFoundError", "FeatureViewError",
        "FeatureViewFileError", "GenerationError", "InvalidRowsError", "LeaseLostError", "MissingExtraError",
        "NotReplicatedError", "OfflineAccessError", "OfflineStoreUnavailableError", "OnlineAccessError",
        "OnlineDataError", "OnlineDataLostError", "OnlineFeaturesError", "OnlineStoreFullError",
        "OnlineStoreUnavailableError", "OptionError", "OvertakenError", "PartLostError", "PartsMissingError",
        "PublishError", "QueryCanceledError", "RollbackError", "SkewError", "SourceError", "SourceNotFoundError",
        "StaleFeaturesError", "SwitchedError", "TerminalError", "TransformError", "TransientError", "UnknownViewError",
        "UnsupportedTypeError", "WindowError",
    ),
    "feature_view": ("FeastOptions", "FeatureView", "PostgresSource"),
    "layouts.feast.feast_repository": ("load_feature_views",),
    "materialization.materialize": ("materialize",),
    "materialization.parts.build_plan": ("BuildPart", "BuildPlan", "PartResult"),
    "materialization.parts.finish_build": ("finish_build",),
    "materialization.parts.materialize_part": ("materialize_part",),
    "materialization.parts.plan_build": ("plan_build",),
    "materialization.reporting.progress": ("Progress",),
    "materialization.publication": ("publish",),
    "materialization.reporting.result": ("MaterializationResult",),
    "offline.notifications": ("drop_notification_sql", "notification_sql"),
    "offline.store": ("OfflineStore",),
    "online.async_store": ("AsyncOnlineStore",),
    "online.read.entity_freshness_check": ("EntityFreshnessCheck",),
    "online.read.freshness": ("Freshness",),
    "online.read.view_freshness_check": ("FreshnessResult", "ViewFreshnessCheck"),
    "online.read.online_rows": ("OnlineRow", "OnlineRows"),
    "online.read.overview.stored_view": ("StoredView",),
    "online.read.overview.view_summary": ("Condition", "ViewSummary"),
    "online.read.feature_vectors": ("FeatureVector", "FeatureVectors"),
    "online.generations.generation_list": ("Generation", "GenerationList", "GenerationState", "Hold"),
    "online.generations.switching": ("Publication", "PublicationOutcome"),
    "online.generations.view_state": ("ViewState",),
    "online.store": ("OnlineStore",),
    "online.write.push": ("PushResult",),
    "producers.appending": ("AppendResult",),
    "schema": ("Column", "RowSchema"),
    "statistics.view_statistics": ("CommonValue", "FeatureStatistics", "Histogram", "ViewStatistics"),
    "verification.report": ("FeatureSkew", "SkewClass", "SkewExample", "VerificationReport"),
    "verification.verify": ("verify",),
}  # fmt: skip
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}
_PURPOSES = {"materialize": "to materialize", "publish": "to publish", "verify": "to verify"}

__all__ = sorted(_MODULES)  # noqa: PLE0605


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _needs_materialize(_PURPOSES.get(name, f"for {name}")):
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
