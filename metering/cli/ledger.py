"""`metering ledger`: the books."""

from __future__ import annotations

import json
import sys

import click

from metering.cli.opening import opened_database
from metering.ledger.invariants import Law
from metering.services.audit import check_books


@click.group()
def ledger() -> None:
    """The books."""


@ledger.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def check(*, as_json: bool) -> None:
    """Check every law of the books; exit 1 where one is broken."""
    with opened_database() as database:
        breaches = check_books(database)
    if as_json:
        found = [{**breach._asdict(), "law": breach.law.name.lower()} for breach in breaches]
        click.echo(json.dumps({"laws": [law.name.lower() for law in Law], "breaches": found}))
    else:
        broken = {breach.law for breach in breaches}
        for law in Law:
            click.echo(f"{'BROKEN' if law in broken else 'holds '}  {law}")
        for breach in breaches:
            click.echo(
                f"{breach.law.name} {breach.account_id}: expected {breach.expected}, found {breach.found}"
            )
    if breaches:
        sys.exit(1)
