"""`metering serve`: answer requests until told to stop."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

import click
import uvicorn
from litestar import Litestar

from metering import telemetry
from metering.app import App, Storage, build, create_asgi
from metering.config import Settings, http_url
from metering.errors import ConfigurationError
from metering.jobs.ratings import LateRating

# Requests are answered within this time of SIGTERM, or given up; below what orchestrators wait (30 s).
STOP_SECONDS: Final = 25
# Longer than the clients' pools keep a connection, so that it is they who close it.
KEEP_ALIVE_SECONDS: Final = 75
_BACKLOG: Final = 2_048
_LAST_PORT: Final = 65_535


@click.command()
@click.option("--host", help="Address to listen on; METERING_HOST unless given.")
@click.option("--port", type=click.IntRange(1, _LAST_PORT), help="Port; METERING_PORT unless given.")
def serve(host: str | None, port: int | None) -> None:
    """Answer HTTP requests. Stops on SIGTERM, after answering what it accepted."""
    settings = Settings.from_environment()
    configure(settings)
    # The port first: a second service must not wait for a database to hear that it is one too many.
    listener = listen(host or settings.host, port or settings.port)
    log = telemetry.log("metering.serve")
    app = build(settings, Storage.open(settings).database)
    try:
        run(app, listener, lambda: log.info("serving", url=base_url(listener)))
    finally:
        app.close()
    log.info("stopped")


def configure(settings: Settings) -> None:
    """Set up the logs of a long-running command."""
    telemetry.configure_logging(settings.log_level, settings.api_key_prefix)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises `ConfigurationError` that says what is wrong with the address."""
    if not 1 <= port <= _LAST_PORT:
        raise ConfigurationError(f"METERING_PORT must be from 1 to {_LAST_PORT}, not {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except socket.gaierror as error:
        raise ConfigurationError(f"METERING_HOST is no address of this machine: {host!r}") from error
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: f"port {port} is in use: stop what uses it, or set METERING_PORT to another",
            errno.EACCES: f"port {port} is reserved for root: set METERING_PORT to one above 1023",
            errno.EADDRNOTAVAIL: f"METERING_HOST is no address of this machine: {host!r}",
        }
        raise ConfigurationError(
            reasons.get(error.errno or 0, f"can't listen on {host}:{port}: {error}")
        ) from error
    return listener


def base_url(listener: socket.socket) -> str:
    """Where a client on this machine finds the service."""
    return http_url(*listener.getsockname()[:2])


def server_config(asgi: Litestar, port: int = 0) -> uvicorn.Config:
    """How an application is served; `port` counts only where no listening socket is given."""
    return uvicorn.Config(
        asgi,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        port=port,
    )


def run(app: App, listener: socket.socket, on_started: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; returns when everything accepted is answered.

    Raises `ConfigurationError` where the application could not start.
    """
    config = server_config(create_asgi(app))
    # uvicorn raises the signal that stopped it once more: here that must not skip what follows.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped_already)
    late_rating = LateRating(app.database, app.services.book)

    def started() -> None:
        on_started()
        late_rating.start()

    server = _Server(config, started)
    try:
        server.run(sockets=[listener])
    finally:
        late_rating.stop()
    if not server.started:
        raise ConfigurationError("the service did not start; the log says why")


def _stopped_already(_number: int, _frame: object) -> None:
    """Do nothing more."""


class _Server(uvicorn.Server):
    """A server that tells when it answers."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> Any:  # noqa: ANN401  (uvicorn's)
        await super().startup(sockets=sockets)
        if self.started:
            self._on_started()
