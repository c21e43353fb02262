"""The command with all of its subcommands."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from online_features.cli import output
from online_features.cli.commands import connections, entity, history, overview, switches, validation, verification
from online_features.cli.entry import ERROR
from online_features.errors import OnlineFeaturesError
from online_features.extras import MATERIALIZE_MODULES, missing_extra

# Python in messages, and the options of the command that do the same.
HERE = {
    "ignore_checks=True": "--ignore-checks",
    "ignore_missed=True": "--ignore-missed",
    "publish(generations=…)": "publish --generation",
    "generations=": "--generation",
    "with repair=True": "with --repair",
}


class _Commands(TyperGroup):
    """Subcommands whose errors are one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand.

        :raises typer.Exit: with code 2 after one of our errors, which is told on stderr.
        """
        try:
            return super().invoke(ctx)
        except OnlineFeaturesError as error:
            failure = error
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in MATERIALIZE_MODULES:
                raise
            failure = missing_extra("materialize", "to read Postgres")
        message = str(failure)
        for in_python, here in HERE.items():
            message = message.replace(in_python, here)
        output.tell_error(message)
        raise typer.Exit(ERROR)


app = typer.Typer(
    cls=_Commands,
    help="Look at what is online, and publish, roll back, verify and erase it.",
    epilog="Exit codes: 0 all is well; 1 something needs attention; 2 an error, told on stderr.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
for commands in (overview, entity, history, switches, verification, connections, validation):
    for command in commands.COMMANDS:
        app.command()(command)
