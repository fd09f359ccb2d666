"""`metering worker`: what runs beside the service."""

from __future__ import annotations

import errno
from datetime import timedelta
from threading import Event

import click
from prometheus_client import start_http_server

from metering.app import Storage, prepare_jobs
from metering.cli.serve import configure
from metering.config import Settings
from metering.errors import ConfigurationError
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
        _serve_metrics(metrics_port)
    database = Storage.open(settings).database
    try:
        database.require_head()
        stopping = Event()
        every = timedelta(minutes=check_minutes)
        run_worker(database, prepare_jobs(settings, database, stopping, check_every=every), stopping)
    finally:
        database.close()


def _serve_metrics(port: int) -> None:
    try:
        start_http_server(port, "127.0.0.1")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} is in use: stop what uses it, or give another --metrics-port"
        else:
            reason = f"can't serve metrics on port {port}: {error.strerror}; give another --metrics-port"
        raise ConfigurationError(reason) from error
