"""`metering worker`: what runs beside the service."""

from __future__ import annotations

import click
from prometheus_client import start_http_server

from metering.app import Storage
from metering.cli.serve import configure
from metering.config import Settings
from metering.jobs.worker import run_worker


@click.command()
@click.option(
    "--check-minutes",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    help="How often to check the books.",
)
@click.option("--metrics-port", type=click.IntRange(1, 65_535), help="Serve Prometheus metrics on 127.0.0.1.")
def worker(check_minutes: int, metrics_port: int | None) -> None:
    """Run the jobs in the background, above all the check of the books. Stops on SIGTERM."""
    settings = Settings.from_environment()
    configure(settings)
    if metrics_port is not None:
        start_http_server(metrics_port, "127.0.0.1")
    database = Storage.open(settings).database
    try:
        database.require_head()
        run_worker(database, settings.price_book, check_minutes=check_minutes)
    finally:
        database.close()
