"""Real services in processes of their own, none of which outlives its test."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from metering.storage.database import Database
from tests.crash.service import PATIENCE_SECONDS, Service
from tests.crash.traffic import World, open_world

ServiceOn = Callable[..., Service]


@pytest.fixture
def service_on(tmp_path: Path) -> Iterator[ServiceOn]:
    """Makes services with these METERING_ variables, not started yet."""
    services: list[Service] = []

    def make(*command: str, **environment: str) -> Service:
        services.append(Service(tmp_path / f"service-{len(services)}.log", environment, *command))
        return services[-1]

    yield make
    for service in services:
        if service.is_running:
            service.tell(signal.SIGTERM)
            service.ended()


@pytest.fixture
def service(service_on: ServiceOn, database_url: str) -> Service:
    """A service over a fresh database, running."""
    service = service_on(METERING_DATABASE_URL=database_url)
    service.start()
    return service


@pytest.fixture
def world(database: Database) -> World:
    """Accounts with credit, and a token."""
    return open_world(database, 7)


@pytest.fixture
def home() -> Iterator[Path]:
    """A data directory that PostgreSQL's user can reach; its server must be gone with its last process."""
    home = Path(tempfile.mkdtemp(prefix="metering-home-"))
    home.chmod(0o755)
    yield home
    left = postmasters(home)
    for process in left:
        process.terminate()
    psutil.wait_procs(left, timeout=PATIENCE_SECONDS)
    shutil.rmtree(home, ignore_errors=True)
    assert not left, "a PostgreSQL server outlived everybody who used it"


def postmasters(home: Path) -> list[psutil.Process]:
    """The PostgreSQL servers whose data directory is below this home."""
    data = str((home / "postgres").resolve() / "data")
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if data in process.cmdline():
                found.append(process)
    return found


def kill_postgres(home: Path) -> None:
    """The end of the embedded server, as a power cut would have it."""
    (server,) = postmasters(home)
    os.kill(server.pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while psutil.pid_exists(server.pid) and psutil.Process(server.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
