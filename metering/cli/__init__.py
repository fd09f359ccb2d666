"""The command line: `metering --help`."""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import Final

import click

import metering
from metering.cli.errors import explained

# command: the module that has it under the same name, imported when it is asked for.
_COMMANDS: Final = MappingProxyType(
    {
        "accounts": "metering.cli.accounts",
        "jobs": "metering.cli.jobs",
        "ledger": "metering.cli.ledger",
        "migrate": "metering.cli.migrate",
        "prices": "metering.cli.prices",
        "serve": "metering.cli.serve",
        "stripe-simulator": "metering.cli.stripe_simulator",
        "tokens": "metering.cli.tokens",
        "top-ups": "metering.cli.top_ups",
        "up": "metering.cli.up",
        "worker": "metering.cli.worker",
    }
)


class _Commands(click.Group):
    """Commands by name; our own errors become a message and an exit code, never a stack trace."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(
            importlib.import_module(_COMMANDS[cmd_name]), cmd_name.replace("-", "_")
        )
        return command

    def invoke(self, ctx: click.Context) -> object:
        with explained():
            return super().invoke(ctx)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(metering.__version__, prog_name="metering")
def main() -> None:
    """Exact billing and metering for AI gateways: usage events in, exact cost out.

    Settings come from the environment: METERING_DATABASE_URL (without it a database of its own is started),
    METERING_HOME, METERING_HOST, METERING_PORT, METERING_PRICE_BOOK, METERING_LOG_LEVEL and a few more.
    """
