"""Holds through several services on one database, and through one that is killed: none too many or lost."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from metering.money import to_pico
from metering.services.accounts import create_account, get_account
from metering.services.audit import check_books
from metering.services.grants import Wanted, grant_credit
from metering.services.service_tokens import Scope, create_service_token
from metering.storage.database import Database
from tests.crash.conftest import ServiceOn
from tests.crash.service import PATIENCE_SECONDS, Answer, Crowd, Line, Service

PATH = "/v1/holds"
PROCESSES = 4
CLIENTS = 20


def open_account(database: Database, credit: str) -> str:
    """An account whose credit is all that limits it."""
    view = create_account(database, "Ada", requests_per_minute=10**6, tokens_per_minute=10**12)
    account_id = view.account.account_id
    grant_credit(database, account_id, Wanted("paid", to_pico(credit), "a test", "tests"), "opening")
    return account_id


def open_token(database: Database) -> str:
    """A gateway's token."""
    return create_service_token(database, name="gateway", scopes=Scope)[1]


def open_holds(url: str) -> set[str]:
    """The ids of the holds that stand open."""
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT id::text FROM holds WHERE state = 'open'")}


class Askers:
    """Clients that each ask for the same several times, with a key for each, until they are answered."""

    def __init__(self, ports: list[int], token: str, body: dict[str, Any], *, each: int) -> None:
        self.answers: list[Answer] = []
        self.lost = 0
        self._crowd = Crowd()
        for number in range(CLIENTS):
            bodies = [{**body, "idempotency_key": f"{number}-{turn}"} for turn in range(each)]
            self._crowd.add(self._ask, Line(ports[number % len(ports)], token), bodies)

    def join(self) -> None:
        """Wait until all are answered."""
        self._crowd.join()

    def reach(self, count: int) -> None:
        """Wait until so many are answered."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.answers) < count:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def granted(self) -> set[str]:
        """The ids of the holds that the clients know of."""
        return {answer.body["id"] for answer in self.answers if answer.status in {200, 201}}

    def _ask(self, line: Line, bodies: list[dict[str, Any]]) -> None:
        with line:
            for body in bodies:
                answer, lost = line.post_until_answered(PATH, body)
                self.lost += lost
                self.answers.append(answer)


@pytest.mark.slow
def test_a_hundred_holds_of_a_cent_are_in_a_dollar_through_four_processes(
    service_on: ServiceOn, database: Database, database_url: str
) -> None:
    services = [service_on(METERING_DATABASE_URL=database_url) for _ in range(PROCESSES)]
    for service in services:
        service.launch()
    for service in services:
        service.wait_until_ready()
    account_id, token = open_account(database, "1"), open_token(database)
    body = {"account_id": account_id, "amount_usd": "0.01"}
    askers = Askers([service.port for service in services], token, body, each=25)
    askers.join()
    statuses = [answer.status for answer in askers.answers]
    assert len(statuses) == 500
    assert statuses.count(201) == 100
    assert statuses.count(402) == 400
    assert open_holds(database_url) == askers.granted()
    assert get_account(database, account_id).balance.available_pico == 0
    assert check_books(database) == []


@pytest.mark.slow
def test_a_service_killed_while_it_holds_loses_and_leaks_nothing(
    service: Service, database: Database, database_url: str
) -> None:
    account_id, token = open_account(database, "1.50"), open_token(database)
    body = {"account_id": account_id, "amount_usd": "0.01", "expires_in_seconds": 3_600}
    askers = Askers([service.port], token, body, each=10)
    for count in (30, 100):
        askers.reach(count)
        service.kill()
        service.start()
    askers.join()
    assert askers.lost
    # Each call was repeated until it was answered: what stands open is what the clients were told, no more.
    assert len(askers.granted()) == 150
    assert open_holds(database_url) == askers.granted()
    assert get_account(database, account_id).balance.available_pico == 0
    with Line(service.port, token) as line:
        for hold_id in askers.granted():
            assert line.post(f"{PATH}/{hold_id}/void", {}).status == 200
        account = line.get(f"/v1/accounts/{account_id}").body
    assert (account["balance"]["held"], account["balance"]["available"]) == (0, Decimal("1.5"))
    assert check_books(database) == []
