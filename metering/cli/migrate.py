"""`metering migrate`: bring the database's schema to this version's."""

from __future__ import annotations

import click

from metering.app import Storage
from metering.config import Settings
from metering.storage import database


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 unless the schema is at head.")
def migrate(*, check: bool) -> None:
    """Bring the database's schema to this version's."""
    storage = Storage.open(Settings.from_environment(), click.echo)
    try:
        for revision in () if check else database.migrate(storage.owner_url):
            click.echo(f"applied {revision}")
        storage.database.require_head()
    finally:
        storage.database.close()
    click.echo("the schema is at head")
