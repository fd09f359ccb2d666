"""A service that is told to stop answers what it accepted; two at once charge each event once."""

from __future__ import annotations

import os
import signal
import socket
import time
from itertools import count

import pytest

from tests.crash.conftest import ServiceOn
from tests.crash.locking import locked, wait_until_blocked
from tests.crash.service import LOST, PATIENCE_SECONDS, Crowd, Line, Service
from tests.crash.traffic import Ledger, Traffic, World, check_money, new_event, read_events


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_in_flight_is_answered(
    service: Service, world: World, database_url: str, number: signal.Signals
) -> None:
    traffic, ledger, crowd = Traffic(world.accounts[:1], ids=400, seed=2), Ledger(), Crowd()

    def send(batch: list[dict[str, object]]) -> None:
        with Line(service.port, world.token) as line:
            ledger.note(batch, line.post("/v1/usage/events", batch))

    with locked(database_url, world.accounts[0]):
        for _ in range(20):
            crowd.add(send, traffic.batch(10))
        wait_until_blocked(database_url)
        time.sleep(0.5)  # the others' requests arrive behind the one that waits
        service.tell(number)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while is_listening(service.port):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(1)  # it is patient
        assert service.is_running
        assert ledger.calls == 0
    crowd.join()
    assert service.ended() == 0
    assert ledger.calls == 20
    assert ledger.answered() == read_events(database_url).keys()
    ledger.check(database_url, world)


def test_nothing_is_recorded_without_an_answer(service: Service, world: World, database_url: str) -> None:
    """Clients in full swing when SIGTERM comes: a connection that ends without an answer recorded nothing."""
    ledger, crowd = Ledger(), Crowd()

    def send_until_gone(client: int) -> None:
        account_id = world.accounts[client % 7]
        with Line(service.port, world.token) as line:
            for number in count():
                batch = [new_event(f"{client}-{number}-{part}", account_id) for part in "ab"]
                try:
                    answer = line.post("/v1/usage/events", batch)
                except LOST:
                    return
                ledger.note(batch, answer)

    for client in range(50):
        crowd.add(send_until_gone, client)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ledger.calls < 300:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    service.tell(signal.SIGTERM)
    crowd.join()
    assert service.ended() == 0
    assert ledger.answered() == read_events(database_url).keys()
    ledger.check(database_url, world)


def test_an_idle_client_does_not_hold_up_the_stop(service: Service, world: World) -> None:
    with Line(service.port, world.token) as idle:
        assert idle.get("/healthz").status == 200
        told = time.monotonic()
        service.tell(signal.SIGTERM)
        assert service.ended() == 0
        assert time.monotonic() - told < 10


def test_two_services_on_one_database_charge_each_event_once(
    service: Service, service_on: ServiceOn, world: World, database_url: str
) -> None:
    other = service_on(METERING_DATABASE_URL=database_url)
    other.start()
    traffic, ledger, crowd = Traffic(world.accounts, ids=900, seed=3), Ledger(), Crowd()

    def send(batches: list[list[dict[str, object]]], first: int) -> None:
        with Line(service.port, world.token) as one, Line(other.port, world.token) as two:
            for turn, batch in enumerate(batches, first):
                ledger.note(batch, (one, two)[turn % 2].post("/v1/usage/events", batch))

    for client in range(40):
        crowd.add(send, [traffic.batch(12) for _ in range(10)], client)
    crowd.join()
    assert ledger.calls == 400
    ledger.check(database_url, world)


def test_a_killed_service_leaves_its_neighbour_unharmed(
    service: Service, service_on: ServiceOn, world: World, database_url: str
) -> None:
    """It may die holding an account's lock; PostgreSQL notices its end, and the neighbour carries on."""
    other = service_on(METERING_DATABASE_URL=database_url)
    other.start()
    traffic, ledger, crowd = Traffic(world.accounts[:1], ids=50, seed=4), Ledger(), Crowd()

    def send(batch: list[dict[str, object]], port: int) -> None:
        with Line(port, world.token) as line:
            try:
                answer = line.post("/v1/usage/events", batch)
            except LOST:
                assert port == service.port
            else:
                ledger.note(batch, answer)

    with locked(database_url, world.accounts[0]):
        for client in range(10):
            crowd.add(send, traffic.batch(10), (service.port, other.port)[client % 2])
        wait_until_blocked(database_url, 2)
        os.kill(service.process.pid, signal.SIGKILL)
    crowd.join()
    assert ledger.calls >= 5
    ledger.check(database_url, world)
    check_money(database_url, world)
