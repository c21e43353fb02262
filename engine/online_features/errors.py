"""The errors that this package raises on purpose.

::

    OnlineFeaturesError
    ├── TerminalError                     running again fails the same way; the message says what helps
    │   ├── FeatureViewError              the definition contradicts itself            (ValueError)
    │   ├── FeatureViewFileError          a file of definitions cannot be read, or is of an unknown kind (ValueError)
    │   ├── MissingExtraError             an extra of the distribution is not installed (ImportError)
    │   ├── WindowError                   the window is naive, empty or contradictory  (ValueError)
    │   ├── OptionError                   an option of a store, a run or a push is out of its range (ValueError)
    │   ├── InvalidRowsError              given rows or entities do not fit            (ValueError)
    │   ├── AmbiguousNameError            two columns of a result would share a name   (ValueError)
    │   ├── TransformError                a view's transform fails, or returns what does not fit
    │   ├── SourceError                   the definition does not fit the database
    │   │   ├── SourceNotFoundError       no such table or schema
    │   │   ├── ColumnNotFoundError       no such column
    │   │   └── UnsupportedTypeError      a column of a type that cannot go online
    │   ├── OfflineAccessError            Postgres refuses the login or a privilege
    │   ├── OnlineAccessError             Redis refuses the login or a command
    │   ├── OnlineStoreFullError          Redis is out of memory, or evicts keys while a run writes, or its disk is full
    │   ├── OnlineDataError               what Redis holds is not what the keyspace documents
    │   ├── UnknownViewError              Redis holds no such view, or several          (LookupError)
    │   ├── SkewError                     what is online differs from the offline store by more than is accepted
    │   └── GenerationError               generations of views do not allow what was asked
    │       ├── ChecksFailedError         the rows of a run fail checks of their view
    │       ├── PublishError              a generation may not be published
    │       └── RollbackError             there is nothing to go back to
    └── TransientError                    the same run may succeed later
        ├── OfflineStoreUnavailableError  Postgres cannot be reached or broke off
        │   └── QueryCanceledError        Postgres ended a query that took too long, or that somebody cancelled
        ├── OnlineStoreUnavailableError   Redis cannot be reached or broke off
        ├── StaleFeaturesError            what is online is older than the reader accepts
        ├── OnlineDataLostError           Redis lost data while a run was writing
        ├── NotReplicatedError            too few replicas of Redis have a run's rows in time
        ├── OvertakenError                a run with another definition of the view ended meanwhile
        ├── SwitchedError                 readers were switched to another generation while a run was writing
        ├── PartLostError                 a process that copies a part of a run was killed
        ├── PartsMissingError             parts of a build are not written yet
        ├── BuildInProgressError          another run is building a generation of the view
        └── LeaseLostError                a run lost the lease under which it was building a generation

A run repeats itself after unavailable stores, lost data and switches, until its retry budget is spent; not after a
cancelled query. ``online/redis/redis_failures.py`` maps the errors of redis-py to these,
``offline/postgres/sqlstates.py`` those of Postgres.

Each takes one message, so each survives pickling on its way between Airflow's processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from online_features.checks.check import CheckResult


class OnlineFeaturesError(Exception):
    """Base of every error this package raises on purpose."""


class TerminalError(OnlineFeaturesError):
    """Running the same thing again fails the same way."""


class TransientError(OnlineFeaturesError):
    """Running the same thing again may succeed."""


class FeatureViewError(TerminalError, ValueError):
    """A feature view or its source contradicts itself."""


class FeatureViewFileError(TerminalError, ValueError):
    """A file of feature views cannot be read, or is of a kind that this version does not support."""


class MissingExtraError(TerminalError, ImportError):
    """An extra of the distribution is needed that is not installed."""


class WindowError(TerminalError, ValueError):
    """A window is naive, empty or contradictory."""


class OptionError(TerminalError, ValueError):
    """An option of a store, a run or a push is out of its range."""


class InvalidRowsError(TerminalError, ValueError):
    """Given rows or entities do not fit the feature view."""


class AmbiguousNameError(TerminalError, ValueError):
    """Two columns of a result would have the same name."""


class TransformError(TerminalError):
    """The transform of a feature view fails, or what it returns does not fit."""


class SourceError(TerminalError):
    """The feature view does not fit the database it names."""


class SourceNotFoundError(SourceError):
    """The source's table or schema does not exist."""


class ColumnNotFoundError(SourceError):
    """A column named by the feature view does not exist in its source."""


class UnsupportedTypeError(SourceError):
    """A column has a Postgres type that cannot go online."""


class OfflineAccessError(TerminalError):
    """Postgres refuses the login or a privilege."""


class OnlineAccessError(TerminalError):
    """Redis refuses the login or a command."""


class OnlineStoreFullError(TerminalError):
    """Redis is out of memory and refuses to write, has evicted keys while a run wrote, or cannot save to its disk."""


class OnlineDataError(TerminalError):
    """A key of ours in Redis holds a value that the keyspace does not allow."""


class UnknownViewError(TerminalError, LookupError):
    """Redis holds no feature view of that name, or one in several projects."""


class SkewError(TerminalError):
    """More rows online differ from the offline store than the thresholds accept."""


class GenerationError(TerminalError):
    """The generations of feature views do not allow what was asked."""


class ChecksFailedError(GenerationError):
    """The rows of a run fail checks of their feature view.

    :ivar results: of all checks, those that have passed included.
    """

    results: Sequence[CheckResult] = ()


class PublishError(GenerationError):
    """A generation may not be published."""


class RollbackError(GenerationError):
    """A feature view has no generation to go back to."""


class OfflineStoreUnavailableError(TransientError):
    """Postgres cannot be reached or broke off."""


class QueryCanceledError(OfflineStoreUnavailableError):
    """Postgres ended a query that took too long, or that somebody cancelled."""


class OnlineStoreUnavailableError(TransientError):
    """Redis cannot be reached or broke off."""


class StaleFeaturesError(TransientError):
    """The online watermark of a feature view is older than its reader accepts, or does not exist."""


class OnlineDataLostError(TransientError):
    """Redis lost data while a run was writing, so the run must not claim its rows."""


class NotReplicatedError(TransientError):
    """Fewer replicas of Redis than asked have a run's rows in time, so the run must not claim them."""


class OvertakenError(TransientError):
    """A run with another definition of the feature view ended while this one was writing."""


class SwitchedError(TransientError):
    """Readers were switched to another generation while a run was writing, so the run must not claim its rows."""


class BuildInProgressError(TransientError):
    """Another run is building a generation of the feature view."""


class PartLostError(TransientError):
    """A process that copies a part of a run has ended before its part was written."""


class PartsMissingError(TransientError):
    """Parts of a build are not written, so it cannot be completed."""


class LeaseLostError(TransientError):
    """A run lost the lease under which it was building a generation, so what it has built must not go online."""
