"""Reads the columns of the source of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from online_features.feature_view import FeatureView
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.layouts.layout_registry import layout_of
from online_features.producers.transformation import Transformation
from online_features.schema import RowSchema

if TYPE_CHECKING:
    from online_features.offline.source_access import SourceAccess


def described(view: FeatureView, source: SourceAccess, *, prune: bool = False) -> tuple[RowSchema, Transformation]:
    """Return the columns of the source, and what makes rows of the view of them.

    :param prune: whether rows will be removed by their join keys.
    :raises SourceError: when the view does not fit the database.
    """
    columns = source.describe()
    transformation = Transformation(view, columns)
    view.check_columns(transformation.schema.features)
    if prune:
        layout_of(view, FIRST_GENERATION).check_prunable(transformation.schema.keys)
    return columns, transformation
