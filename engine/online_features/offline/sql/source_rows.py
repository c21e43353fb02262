"""SQL names of a source: its rows, its columns, its table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ColumnElement, FromClause, TableClause
from sqlalchemy.sql.elements import ColumnClause, quoted_name
from sqlalchemy.sql.selectable import GenerativeSelect

from online_features.feature_view import PostgresSource
from online_features.schema import Column, RowSchema

# A paramstyle without percent signs: the text goes to COPY as it is, with values rendered as literals.
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
# SQLAlchemy before 2.1 doubles backslashes until it has read standard_conforming_strings, which our transactions set.
_DIALECT._backslash_escapes = False  # noqa: SLF001

# The lexemes of a query: comments, literals, quoted names, white space, and single characters.
# https://www.postgresql.org/docs/current/sql-syntax-lexical.html
LEXEME = re.compile(
    r"--[^\n]*|/\*.*?\*/|(?<!\w)[eE]'(?:\\.|''|[^'\\])*'|'(?:''|[^'])*'|"
    r'"(?:""|[^"])*"|(?<![\w$])\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|\s+|.',
    re.DOTALL,
)


def sql_text(statement: GenerativeSelect) -> str:
    """Render the statement as SQL with its values as literals."""
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


def rows_of(source: PostgresSource) -> FromClause:
    """Return the source as it follows FROM."""
    if source.table is not None:
        return table_of(source.table)
    # The query's own colons are not bind parameters, and its last line may be a comment.
    query = alone(source.query or "").replace(":", r"\:") + "\n"
    return sa.text(query).columns().subquery("source")


def alone(query: str) -> str:
    """Return the user's query without semicolons and comments at its end, which would break the query around it."""
    lexemes = [lexeme[0] for lexeme in LEXEME.finditer(query.strip())]
    while lexemes and (lexemes[-1] == ";" or lexemes[-1].isspace() or lexemes[-1].startswith(("--", "/*"))):
        lexemes.pop()
    return "".join(lexemes)


def table_of(name: str, *columns: ColumnClause[Any]) -> TableClause:
    """Return the table of that name, ``"table"`` or ``"schema.table"``."""
    schema, dot, table = name.partition(".")
    return (
        sa.table(literally(table), *columns, schema=literally(schema)) if dot else sa.table(literally(schema), *columns)
    )


def name_of(table: TableClause) -> str:
    """Return the quoted name of the table."""
    return _DIALECT.identifier_preparer.format_table(table)


def column_of(column: Column) -> ColumnElement[Any]:
    """Return the column of the source."""
    return sa.column(literally(column.name))


def literally(name: str) -> quoted_name:
    """Quote the name as it is, case kept."""
    return quoted_name(name, quote=True)


def own_prefix(source: PostgresSource, schema: RowSchema) -> str:
    """Return a prefix for our own names that no name of the source begins with.

    ORDER BY prefers a label to a column of the same name, and FROM prefers a common table expression to a table.
    """
    theirs = [column.name for column in schema.columns] + (source.table.split(".") if source.table else [])
    own = "_"
    while any(name.startswith(own) for name in theirs):
        own += "_"
    return own


def index_on(source: PostgresSource, columns: Sequence[Column]) -> str:
    """Return the statement that creates an index on columns of the source's table."""
    assert source.table is not None
    names = ", ".join(str(column_of(column)) for column in columns)
    return f"CREATE INDEX ON {name_of(table_of(source.table))} ({names})"
