"""The processor's door: only what it signed, lately, gets in; what got in is on disk before the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from litestar.testing import TestClient

from metering.app import App, create_asgi
from metering.money import PICO_PER_USD
from metering.pricing.book import PriceBook
from metering.services.cashier import Cashier
from metering.services.top_ups import WantedTopUp, create_top_up
from metering.storage.database import Database
from tests.api.live import payments_of, running
from tests.payments.fixtures import cashier, gateway, simulator_process, stripe_simulator
from tests.payments.messages import event, messages_of, signature
from tests.simulator.fixtures import RunningSimulator

__all__ = ["cashier", "gateway", "simulator_process", "stripe_simulator"]

Client = TestClient[Any]
DOOR = "/webhooks/stripe"


@pytest.fixture
def shop(app: App, cashier: Cashier) -> Iterator[Client]:
    """A client of a service with a cashier."""
    selling = App(app.database, replace(app.services, cashier=cashier))
    with TestClient(create_asgi(selling), raise_server_exceptions=False) as client:
        yield client


def send(client: Client, body: bytes, header: str | bytes | None = None) -> Any:  # noqa: ANN401
    headers: Any = {"Stripe-Signature": signature(body) if header is None else header}
    return client.post(DOOR, content=body, headers=headers)


def kept(database_url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute("SELECT id, payload, state, is_swept FROM processor_events").fetchall()


def test_an_event_is_kept_as_it_came_and_answered(shop: Client, database_url: str) -> None:
    body = event("payout.paid", note="Ünïcödé \\u0000")
    answer = send(shop, body)
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    assert kept(database_url) == [("evt_1", body.decode(), "ignored", False)]
    assert send(shop, body).status_code == 200
    assert len(kept(database_url)) == 1


def test_a_payment_is_credited_behind_the_answer(
    shop: Client, cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str, database_url: str
) -> None:
    wanted = WantedTopUp(10 * PICO_PER_USD, False, None, None)
    view, _ = create_top_up(cashier, account_id, wanted, None)
    stripe_simulator.control.pay(str(view.top_up.session_id))
    for message in messages_of(cashier):
        assert send(shop, message.payload.encode()).status_code == 200
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT posted_usd FROM balances").fetchall() == [(10,)]


def test_an_event_is_answered_though_it_can_not_be_settled_now(
    shop: Client, cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str, database_url: str
) -> None:
    ours = {"account_id": account_id, "top_up_id": account_id}
    body = event("payment_intent.succeeded", object="payment_intent", metadata=ours)
    assert send(shop, body).status_code == 200
    assert [row[2] for row in kept(database_url)] == ["pending"]


@pytest.mark.parametrize(
    "header",
    [
        lambda: "",
        lambda: "t=1,v1=00",
        lambda: "nonsense",
        lambda: signature(event(), age=timedelta(seconds=303)),
        lambda: signature(event(), secret="whsec_other"),
        lambda: signature(event("payout.failed")),
        lambda: signature(event()).encode()[:-1] + b"\xe9",
    ],
    ids=["empty", "forged", "nonsense", "old", "another secret", "another body", "not ASCII"],
)
def test_what_the_processor_did_not_sign_lately_is_refused(
    shop: Client, database_url: str, header: Callable[[], str | bytes]
) -> None:
    answer = send(shop, event(), header())
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_signature"
    assert "WWW-Authenticate" not in answer.headers
    assert kept(database_url) == []


def test_what_is_a_few_minutes_old_is_taken(shop: Client) -> None:
    assert send(shop, event(), signature(event(), age=timedelta(seconds=290))).status_code == 200


def test_what_is_not_signed_at_all_is_told_so(shop: Client) -> None:
    answer = shop.post(DOOR, content=event())
    assert answer.status_code == 401
    assert answer.json()["error"]["param"] == "Stripe-Signature"


def test_signed_nonsense_is_refused_and_not_kept(shop: Client, database_url: str) -> None:
    for body in (b"", b"{}", b"[]", b"\xff", b'{"id": 1}', b'{"id": "x", "type": "y", "created": 1}'):
        assert send(shop, body).status_code == 401
    assert kept(database_url) == []


def test_a_huge_body_is_refused(shop: Client) -> None:
    assert send(shop, b"x" * (1024 * 1024 + 1)).status_code == 413


def test_without_payments_nothing_is_taken(client: Client) -> None:
    answer = send(client, event())
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("payments_unavailable", "Payments are not configured here.")
    assert answer.headers["Retry-After"]


def test_an_event_that_can_not_be_kept_is_not_answered_with_success(
    app: App, cashier: Cashier, database_url: str
) -> None:
    away = replace(cashier, database=Database("postgresql://nobody@127.0.0.1:1/none"))
    with TestClient(create_asgi(App(app.database, replace(app.services, cashier=away)))) as client:
        assert send(client, event()).status_code == 503


def test_webhooks_doubled_and_reordered_credit_once_without_any_worker(
    stripe_simulator: RunningSimulator, database_url: str, price_book: PriceBook
) -> None:
    control = stripe_simulator.control
    with running(database_url, price_book, payments_of(stripe_simulator.url)) as live:
        stripe_simulator.send_webhooks_to(live.url + DOOR)
        control.webhooks(duplicate=2, reorder=True)
        customers = [live.customer(credit="1") for _ in range(4)]
        for customer in customers:
            made = live.http.post("/v1/account/top_ups", json={"amount": 10}, headers=customer.headers)
            assert made.status_code == 201, made.text
        for session in stripe_simulator.client().v1.checkout.sessions.list().data:
            control.pay(session.id)
        control.wait_for_deliveries()
    # The service has stopped: what it settled behind its answers is done, and the rest is the worker's.
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT posted_usd FROM balances").fetchall() == [(11,)] * 4
        query = "SELECT FROM processor_events WHERE state = 'pending' AND type LIKE 'checkout.session.%'"
        assert connection.execute(query).fetchall() == []
