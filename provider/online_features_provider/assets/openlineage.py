"""Lineage as OpenLineage facets. Imported only for OpenLineage, because its client is large and optional."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow.providers.common.compat.openlineage.facet import (
    ColumnLineageDatasetFacet,
    Dataset,
    DatasetFacet,
    Fields,
    Identifier,
    InputField,
    OutputDataset,
    OutputStatisticsOutputDatasetFacet,
    SchemaDatasetFacet,
    SchemaDatasetFacetFields,
    SymlinksDatasetFacet,
)
from airflow.providers.openlineage.extractors import OperatorLineage
from online_features.feature_view import FeatureView
from online_features.schema import RowSchema

from online_features_provider.assets.dataset_locations import DatasetLocation
from online_features_provider.assets.feature_view import convert_asset_to_openlineage, feature_view_asset
from online_features_provider.assets.lineage import Lineage


def facets(lineage: Lineage) -> OperatorLineage[Any, Any]:
    """Return the datasets of a task; after a failure, without counts and columns."""
    inputs = [] if lineage.source is None else [_dataset(lineage.source)]
    return OperatorLineage(inputs=inputs, outputs=list(_outputs(lineage)))


def _outputs(lineage: Lineage) -> Iterator[OutputDataset]:
    if lineage.appended is not None:
        yield _output(lineage.appended, {}, lineage.result.get("rows_appended"), None)
    if lineage.online is not None:
        schema = lineage.schema() if lineage.result else None
        described = {} if schema is None else _columns(lineage.view, schema, lineage.source)
        known_as = convert_asset_to_openlineage(feature_view_asset(lineage.view), None)
        also = Identifier(namespace=known_as.namespace, name=known_as.name, type="TABLE")
        described["symlinks"] = SymlinksDatasetFacet(identifiers=[also])
        yield _output(lineage.online, described, lineage.result.get("rows_written"), lineage.result.get("bytes_sent"))


def _columns(view: FeatureView, schema: RowSchema, source: DatasetLocation | None) -> dict[str, DatasetFacet]:
    """Return the schema of the rows online, and the source column of each column, where it is known."""
    columns = {column.name: column.type for column in schema.columns}
    fields = [SchemaDatasetFacetFields(name=name, type=kind) for name, kind in columns.items()]
    described: dict[str, DatasetFacet] = {"schema": SchemaDatasetFacet(fields=fields)}
    if source is not None:
        # It is unknown which columns a transform reads.
        made = {feature.name for feature in schema.features} if view.transform is not None else set()
        described["columnLineage"] = ColumnLineageDatasetFacet(
            fields={name: _same(source, name) for name in columns if name not in made}
        )
    return described


def _same(source: DatasetLocation, column: str) -> Fields:
    """Describe a column as a copy of the source's column of the same name."""
    field = InputField(namespace=source.namespace, name=source.name, field=column)
    return Fields(inputFields=[field], transformationType="IDENTITY", transformationDescription="")


def _dataset(location: DatasetLocation) -> Dataset:
    return Dataset(namespace=location.namespace, name=location.name)


def _output(
    location: DatasetLocation, described: dict[str, DatasetFacet], rows: int | None, size: int | None
) -> OutputDataset:
    output = OutputDataset(namespace=location.namespace, name=location.name, facets=described)
    if rows is not None:
        output.outputFacets = {"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows, size=size)}
    return output
