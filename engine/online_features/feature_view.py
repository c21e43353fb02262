"""Feature views: named groups of features of one entity type, and the Postgres rows that they come from."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args
from zoneinfo import ZoneInfo

from online_features.checks.check import Check
from online_features.common.functions import is_of_module
from online_features.errors import FeatureViewError
from online_features.layouts.feast.feast_types import FeastType

if TYPE_CHECKING:
    from online_features.schema import Column

FutureRows = Literal["warn", "reject", "allow"]
Layout = Literal["msgpack", "hash", "json", "feast"]
LAYOUTS: tuple[str, ...] = get_args(Layout)

LONGEST = timedelta(days=36525)  # a century: more would lead out of the years that datetime supports

# Names become parts of Redis keys: no separator, no glob or hash-tag character, no reserved prefix.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")

# Fields of an online row that hold its timestamps; a feature of that name would overwrite them.
RESERVED_FEATURES = frozenset({"_ts", "_created"})


@dataclass(frozen=True, kw_only=True)
class PostgresSource:
    """Rows of Postgres that hold the history of a feature view.

    :param table: ``"table"`` or ``"schema.table"``, split at the first dot, taken literally, case kept.
    :param query: a ``SELECT`` instead of a table; exactly one of the two is given.
    :param timestamp_field: column that says when a row was true (timestamp with or without time zone, or date).
    :param created_timestamp_column: column that says when a row was written; it breaks ties between equal event
        timestamps and is the cursor of incremental runs, so that rows which arrive late are not missed.
    :param deleted_field: boolean column; an entity is removed online if this is true in its newest row.
    :param timezone: IANA zone in which ``timestamp without time zone`` columns of the source are read.
    :param future_rows: what to do with rows whose event timestamp is more than five minutes in the future. Until
        then they keep out every row of the present, so by default runs and pushes ``"warn"`` of them; ``"reject"``
        keeps them out, ``"allow"`` is for intended ones, such as forecasts. They never count for freshness.
    :raises FeatureViewError: naming the field and the cure.
    """

    table: str | None = None
    query: str | None = None
    timestamp_field: str
    created_timestamp_column: str | None = None
    deleted_field: str | None = None
    timezone: str = "UTC"
    future_rows: FutureRows = "warn"

    def __post_init__(self) -> None:
        if (self.table is None) == (self.query is None):
            raise FeatureViewError("PostgresSource: give exactly one of table= and query=")
        for name in ("table", "query", "timestamp_field", "created_timestamp_column", "deleted_field"):
            _check_text(f"PostgresSource: {name}", getattr(self, name), optional=name != "timestamp_field")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError, TypeError) as error:
            raise FeatureViewError(
                f"PostgresSource: timezone={self.timezone!r} is not an IANA time zone; "
                "for example 'UTC' or 'Europe/Paris'"
            ) from error
        if self.future_rows not in get_args(FutureRows):
            raise FeatureViewError(
                f"PostgresSource: future_rows={self.future_rows!r} is unknown -> choose one of "
                f"{', '.join(map(repr, get_args(FutureRows)))}"
            )

    @property
    def description(self) -> str:
        """The source in words, for messages."""
        return f"table {self.table!r}" if self.table is not None else "its query"


@dataclass(frozen=True, kw_only=True)
class FeastOptions:
    """Options of layout ``feast``.

    :param types: column name to Feast type as Feast prints it (``"Int64"``, ``"Array(Float32)"``), for features and
        join keys that are declared in Feast with another type than its default for their Postgres type.
    :param key_ttl: Feast's ``key_ttl_seconds``: how long after a write the key of an entity lives, with the rows of
        all views in it; whole seconds.
    :raises FeatureViewError: naming the field and the cure.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    key_ttl: timedelta | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.types, Mapping):
            raise FeatureViewError(f"FeastOptions: types must be a mapping from column to type, not {self.types!r}")
        if self.key_ttl is not None and not isinstance(self.key_ttl, timedelta):
            raise FeatureViewError(f"FeastOptions: key_ttl={self.key_ttl!r} must be a timedelta of whole seconds")
        known = {kind.value for kind in FeastType}
        for name, kind in self.types.items():
            if kind not in known:
                raise FeatureViewError(
                    f"FeastOptions: types: {name!r} is {kind!r}, which is not one of {', '.join(sorted(known))}"
                )
        object.__setattr__(self, "types", {name: FeastType(kind) for name, kind in self.types.items()})
        if self.key_ttl is not None and (self.key_ttl < timedelta(seconds=1) or self.key_ttl % timedelta(seconds=1)):
            raise FeatureViewError(f"FeastOptions: key_ttl={self.key_ttl!r} must be whole seconds, at least one")

    def __hash__(self) -> int:
        return hash((frozenset(self.types.items()), self.key_ttl))


@dataclass(frozen=True, kw_only=True)
class FeatureView:
    """A named group of features of one entity type, read from one source.

    :param name: unique within ``project``; letters, digits, ``_``, ``-`` and ``.``.
    :param entities: join keys, the columns that identify an entity, in the order in which keys are built.
    :param features: columns to serve; ``None`` means every other column of the source.
    :param source: where the history is.
    :param ttl: how long after its event timestamp a row may be served; ``None`` means for ever.
    :param max_staleness: the objective: the greatest lag, now minus watermark, with which the view counts as fresh.
        Freshness checks go by it, and who looks at Redis sees which views are late. Views that differ in it alone are
        equal.
    :param project: namespace of the view in Redis.
    :param layout: how a row is stored in Redis: ``"msgpack"``, ``"hash"``, ``"json"``, or ``"feast"``, as Feast's own
        online store does.
    :param feast: types and key ttl for layout ``"feast"``.
    :param transform: a function of a module that computes the features from the source's columns, batch by batch, in
        runs and pushes alike: from a DataFrame to a DataFrame, or from an Arrow table to an Arrow table, as its first
        parameter is annotated. It keeps the rows, their order, join keys and timestamps; ``features`` names the other
        columns of its result to serve.
    :param checks: what the rows of a run must pass, made by the functions of :mod:`online_features.checks`. Views that
        differ in their checks alone are equal: their rows are the same.
    :raises FeatureViewError: naming the field and the cure.
    """

    name: str
    entities: Sequence[str]
    features: Sequence[str] | None = None
    source: PostgresSource
    ttl: timedelta | None = None
    max_staleness: timedelta | None = field(default=None, compare=False)
    project: str = "default"
    layout: Layout = "msgpack"
    feast: FeastOptions = FeastOptions()
    transform: Callable[[Any], Any] | None = field(default=None, repr=False)
    checks: Sequence[Check] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for label, value in (("name", self.name), ("project", self.project)):
            if not isinstance(value, str) or not NAME.fullmatch(value):
                raise FeatureViewError(
                    f"FeatureView: {label}={value!r} must be letters, digits, '_', '-' and '.', "
                    "and begin with a letter, a digit or '_'"
                )
        self._normalize("entities", self.entities)
        if not self.entities:
            raise FeatureViewError(self._message("entities is empty; name at least one join key column"))
        if self.features is not None:
            self._normalize("features", self.features)
            if not self.features:
                raise FeatureViewError(
                    self._message("features is empty; name a column, or leave it out for all of them")
                )
            self.check_feature_names(self.features)
        if not isinstance(self.source, PostgresSource):
            raise FeatureViewError(self._message(f"source must be a PostgresSource, not {type(self.source).__name__}"))
        self._check_durations()
        if self.layout not in LAYOUTS:
            raise FeatureViewError(
                self._message(f"layout={self.layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
            )
        self._check_feast()
        if self.transform is not None:
            self._check_transform(self.transform)
        self._check_checks(self.checks)

    def __str__(self) -> str:
        return f"{self.project}:{self.name}"

    @property
    def before_transform(self) -> FeatureView:
        """The view of all columns that the transform gets; this view where it has no transform."""
        return self if self.transform is None else replace(self, features=None, transform=None)

    def _check_durations(self) -> None:
        for label, duration in (("ttl", self.ttl), ("max_staleness", self.max_staleness)):
            if duration is not None and not (isinstance(duration, timedelta) and timedelta(0) < duration <= LONGEST):
                raise FeatureViewError(
                    self._message(f"{label}={duration!r} must be a timedelta of at most 100 years, or None")
                )

    def _check_transform(self, transform: Callable[[Any], Any]) -> None:
        if self.features is None:
            raise FeatureViewError(self._message("transform= needs features=, the columns of its result to serve"))
        if not is_of_module(transform):
            raise FeatureViewError(
                self._message(
                    f"transform={transform!r} must be a function of a module, so that every process can import it"
                )
            )
        if transforms(transform) not in ("DataFrame", "Table"):
            raise FeatureViewError(
                self._message("annotate the first parameter of its transform with pandas.DataFrame or pyarrow.Table")
            )

    def check_feature_names(self, names: Iterable[str]) -> None:
        """Refuse feature names that are reserved fields of the online row.

        :raises FeatureViewError: naming the feature.
        """
        reserved = RESERVED_FEATURES if self.layout != "feast" else frozenset()
        for name in reserved.intersection(names):
            raise FeatureViewError(
                self._message(
                    f"feature {name!r} collides with a reserved field of the online row "
                    "-> leave it out with features=, or rename it in a query="
                )
            )

    def _check_checks(self, checks: Any) -> None:
        if not isinstance(checks, Iterable):
            raise FeatureViewError(self._message(f"checks must be a list of checks, not {checks!r}"))
        object.__setattr__(self, "checks", tuple(checks))
        for check in self.checks:
            if not isinstance(check, Check):
                raise FeatureViewError(
                    self._message(f"checks holds {check!r}; make checks by the functions of online_features.checks")
                )
            if self.features is not None:
                with self._naming():
                    check.check_features(self.features)

    def check_columns(self, columns: Iterable[Column]) -> None:
        """Refuse checks of features that the view does not have, or of types that they cannot judge.

        :param columns: the features of the view.
        :raises FeatureViewError: naming the check and the feature.
        """
        by_name = {column.name: column for column in columns}
        for check in self.checks:
            with self._naming():
                check.check_columns(by_name)

    def _check_feast(self) -> None:
        if not isinstance(self.feast, FeastOptions):
            raise FeatureViewError(self._message(f"feast must be FeastOptions, not {type(self.feast).__name__}"))
        if self.layout != "feast" and self.feast != FeastOptions():
            raise FeatureViewError(self._message(f"feast= is for layout='feast', not for layout={self.layout!r}"))
        stray = set(self.feast.types).difference(self.entities, self.features or self.feast.types)
        if stray:
            raise FeatureViewError(
                self._message(f"feast types name {min(stray)!r}, which is neither a join key nor a feature")
            )

    def _normalize(self, label: str, columns: Any) -> None:
        if isinstance(columns, str) or not isinstance(columns, Iterable):
            raise FeatureViewError(self._message(f"{label} must be a list of column names, not {columns!r}"))
        names = tuple(columns)
        for name in names:
            _check_text(self._message(label), name)
        repeated = [name for name, times in Counter(names).items() if times > 1]
        if repeated:
            raise FeatureViewError(self._message(f"{label} names {repeated[0]!r} twice"))
        object.__setattr__(self, label, names)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Name the view in errors of its checks."""
        try:
            yield
        except FeatureViewError as error:
            raise FeatureViewError(self._message(str(error))) from None

    def _message(self, message: str) -> str:
        return f"FeatureView {self.name!r}: {message}"


def transforms(transform: Callable[[Any], Any]) -> str:
    """Return the last part of the name of the annotation of a transform's first parameter."""
    parameters = list(inspect.signature(transform).parameters.values())
    annotation = parameters[0].annotation if parameters else ""
    return str(getattr(annotation, "__name__", annotation)).rpartition(".")[2]


def _check_text(label: str, value: Any, *, optional: bool = False) -> None:
    if optional and value is None:
        return
    if not isinstance(value, str) or not value.strip():
        raise FeatureViewError(f"{label} must be a non-empty string, not {value!r}")
    if "\0" in value:
        raise FeatureViewError(f"{label} contains a NUL character, which Postgres cannot hold")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise FeatureViewError(
            f"{label} {value!r} contains half of a surrogate pair, which UTF-8 cannot encode"
        ) from error
