"""The offline store: Postgres, which holds the history of feature views."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from online_features import arguments
from online_features.feature_view import FeatureView
from online_features.offline._listener import changed_tables
from online_features.offline.postgres.conninfo import conninfo_of
from online_features.offline.postgres.postgres_server import PostgresServer
from online_features.offline.postgres.transactions import Transactions
from online_features.offline.source_access import SourceAccess
from online_features.producers.appending import AppendResult, append_rows
from online_features.schema import RowSchema

if TYPE_CHECKING:
    from online_features.offline.postgres.conninfo import Credentials
    from online_features.producers.given_rows import PushableRows


class OfflineStore:
    """The Postgres database that holds the history of feature views.

    :param uri: a libpq URI, https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
    :param credentials: returns user and password for each connection, such as a token that expires; the URI then has no
        password.
    :param statement_timeout: how long each statement of a run may take, the reading of all its rows included;
        ``None`` leaves that to server, role and URI.
    :raises OfflineAccessError: when libpq cannot read the URI, or it has a password beside the credentials.
    :raises OptionError: when the time-out is out of the range of Postgres.
    """

    def __init__(
        self, uri: str, *, credentials: Credentials | None = None, statement_timeout: timedelta | None = None
    ) -> None:
        arguments.check(uri=uri)
        arguments.check_given(credentials=credentials, statement_timeout=statement_timeout)
        self._conninfo = conninfo_of(uri, credentials)
        self._transactions = Transactions(self._conninfo, statement_timeout)
        self._statement_timeout = statement_timeout

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the store for another process, with its password, or with credentials that are asked for now."""
        return _copied_store, (self._conninfo(), self._statement_timeout)

    def ping(self) -> None:
        """Check that Postgres answers.

        :raises OfflineAccessError: when it refuses the login.
        :raises OfflineStoreUnavailableError: when it cannot be reached.
        """
        self._transactions.ping()

    def describe(self, view: FeatureView) -> RowSchema:
        """Return the columns of the view's source and their types: all of them where the view has a transform.

        :raises SourceNotFoundError: the table does not exist.
        :raises ColumnNotFoundError: a named column does not exist.
        :raises UnsupportedTypeError: a column's type cannot go online.
        """
        arguments.check(view=view)
        return self._source(view).describe()

    def append(self, view: FeatureView, rows: PushableRows) -> AppendResult:
        """Append a producer's rows to the table of the view, in one transaction; the next run writes them online.

        :param rows: as for :meth:`~online_features.OnlineStore.push`; columns that the table has beside the view's get
            their defaults, and the created timestamp, where the view declares one and the rows lack it, is the
            beginning of the transaction.
        :raises InvalidRowsError: when columns are missing or unknown, or a value does not fit; nothing is appended.
        :raises TransformError: when the view's transform fails on the rows; nothing is appended.
        :raises SourceError: when the source is a query, or the table refuses the rows.
        """
        arguments.check(view=view)
        return append_rows(self._source(view), view, rows)

    # For the engine and the provider; the methods above are for users.

    def _source(self, view: FeatureView) -> SourceAccess:
        """Return access to the source of a view."""
        return SourceAccess(self._transactions, view)

    def _server(self) -> PostgresServer:
        """Read what the server says of itself and of the login; errors are those of :meth:`ping`."""
        return self._transactions.server()

    def _changed_tables(self) -> AsyncGenerator[frozenset[str], None]:
        """Yield the tables that have changed; see :func:`~online_features.offline._listener.changed_tables`.

        The credentials are asked for at once, because that may block.
        """
        return changed_tables(self._conninfo())


def _copied_store(uri: str, statement_timeout: timedelta | None) -> OfflineStore:
    return OfflineStore(uri, statement_timeout=statement_timeout)
