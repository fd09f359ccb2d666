"""`metering ledger`: the books."""

from __future__ import annotations

import click

from metering.cli.corrections import adjust, rate_unpriced, rerate, reverse
from metering.cli.ledger_check import check
from metering.cli.lots import trace


@click.group()
def ledger() -> None:
    """The books."""


ledger.add_command(trace)
ledger.add_command(check)
ledger.add_command(adjust)
ledger.add_command(reverse)
ledger.add_command(rate_unpriced)
ledger.add_command(rerate)
