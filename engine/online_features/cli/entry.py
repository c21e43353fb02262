"""The entry point of the command, which needs the extra ``cli`` only when it runs."""

from __future__ import annotations

import io
import sys

from online_features.extras import missing_extra

CLI_MODULES = frozenset({"rich", "typer"})  # top-level modules of the packages that the extra installs
ATTENTION, ERROR = 1, 2  # exit codes


def main() -> None:
    """Run the command.

    :raises SystemExit: with the exit code.
    """
    try:
        from online_features.cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in CLI_MODULES:
            raise
        sys.stderr.write(f"Error: {missing_extra('cli', 'for the command')}\n")
        raise SystemExit(ERROR) from None
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Print characters that the encoding of the terminal lacks escaped, instead of ending with an error.
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="online-features")
