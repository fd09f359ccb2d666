"""What is killed with -9 in the middle of everything has charged each event once when all is retried."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from metering.storage.database import Database, migrate
from metering.storage.embedded import EmbeddedServer
from tests.crash.conftest import ServiceOn, kill_postgres
from tests.crash.service import PATIENCE_SECONDS, Crowd, Line, Service
from tests.crash.traffic import Ledger, Traffic, World, open_world

THREADS = 200
BATCHES = 8
BATCH_EVENTS = 12


class Rush:
    """Many clients at once, each with its batches, each sending until it is answered."""

    def __init__(self, port: int, world: World, *, threads: int, seed: int) -> None:
        traffic = Traffic(world.accounts, ids=threads * 20, seed=seed)
        self.ledger = Ledger()
        self.calls = threads * BATCHES
        self._crowd = Crowd()
        for _ in range(threads):
            batches = [traffic.batch(BATCH_EVENTS) for _ in range(BATCHES)]
            self._crowd.add(self._send, Line(port, world.token), batches)

    def reach(self, part: float) -> None:
        """Wait until so much of all calls is answered."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.ledger.calls < part * self.calls:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert self.ledger.calls < self.calls, "too late: nothing is in flight any more"

    def end(self) -> None:
        """Wait until all calls are answered."""
        self._crowd.join()
        assert self.ledger.calls == self.calls

    def _send(self, line: Line, batches: list[list[dict[str, object]]]) -> None:
        with line:
            for batch in batches:
                self.ledger.note(batch, *line.post_until_answered("/v1/usage/events", batch))


@pytest.mark.slow
def test_a_service_killed_twice_under_200_clients(service: Service, world: World, database_url: str) -> None:
    rush = Rush(service.port, world, threads=THREADS, seed=20260506)
    for part in (0.15, 0.55):
        rush.reach(part)
        service.kill()
        service.start()
    rush.end()
    assert rush.ledger.lost >= THREADS  # each client met at least one of the two deaths, on average
    rush.ledger.check(database_url, world)


def kill_database(home: Path, service: Service) -> None:
    kill_postgres(home)


def kill_both(home: Path, service: Service) -> None:
    kill_postgres(home)
    service.kill()
    service.start()


@pytest.mark.slow
@pytest.mark.parametrize("disaster", [kill_database, kill_both])
def test_an_embedded_database_killed_under_its_service(
    home: Path, service_on: ServiceOn, disaster: Callable[[Path, Service], None]
) -> None:
    server = EmbeddedServer(home, settings={"shared_buffers": "32MB"})
    url = server.ensure()
    try:
        migrate(url)
        with closing(Database(url)) as database:
            world = open_world(database, 5)
        service = service_on(METERING_HOME=str(home))
        service.start()
        rush = Rush(service.port, world, threads=40, seed=1)
        rush.reach(0.3)
        disaster(home, service)
        rush.end()
        assert (home / "postgres" / "log").read_text().count("database system was interrupted") == 1
        rush.ledger.check(server.ensure(), world)
    finally:
        server.release()
