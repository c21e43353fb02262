"""Optional parts of the distribution, which extras install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from online_features.errors import MissingExtraError

# Top-level modules of the packages that the extra "materialize" installs.
MATERIALIZE_MODULES = frozenset({
    "adbc_driver_manager", "adbc_driver_postgresql", "numpy", "pandas", "psycopg", "psycopg2", "pyarrow", "sqlalchemy",
})  # fmt: skip


@contextmanager
def needs_materialize(purpose: str) -> Iterator[None]:
    """Raise an error that names the extra "materialize" when an import in the context lacks one of its packages.

    :param purpose: such as ``"to materialize"``.
    :raises MissingExtraError: from the import's error.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in MATERIALIZE_MODULES:
            raise missing_extra("materialize", purpose) from error
        raise


def missing_extra(extra: str, purpose: str, distribution: str = "online-features") -> MissingExtraError:
    """Make the error that names the extra to install."""
    needed = f"{distribution}[{extra}]"
    return MissingExtraError(f"{needed} is needed {purpose} -> pip install '{needed}'")
