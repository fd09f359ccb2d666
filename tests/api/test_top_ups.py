"""Top-ups and refunds over HTTP: as customers buy, and as service tokens give back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from litestar.testing import TestClient
from structlog.testing import capture_logs

from metering import clock
from metering.app import App, create_asgi
from metering.services.cashier import Cashier
from metering.services.service_tokens import Scope
from tests.payments.fixtures import cashier, gateway, simulator_process, stripe_simulator
from tests.simulator.fixtures import RunningSimulator

__all__ = ["cashier", "gateway", "simulator_process", "stripe_simulator"]

Client = TestClient[Any]
PATH = "/v1/account/top_ups"


@pytest.fixture
def shop(app: App, cashier: Cashier) -> Iterator[Client]:
    """A client of a service with a cashier; time is as it was afterwards."""
    selling = App(app.database, replace(app.services, cashier=cashier))
    with TestClient(create_asgi(selling), raise_server_exceptions=False) as client:
        yield client
    clock.run_ahead(timedelta(0))


@pytest.fixture
def customer(api_key: str) -> dict[str, str]:
    """Headers of a customer."""
    return {"x-api-key": api_key}


@pytest.fixture
def paid(shop: Client, customer: dict[str, str], stripe_simulator: RunningSimulator) -> dict[str, Any]:
    """A top-up of 1,000 that was paid."""
    top_up = shop.post(PATH, json={"amount": 1000}, headers=customer).json()
    pay(stripe_simulator)
    clock.run_ahead(timedelta(seconds=5))
    body: dict[str, Any] = shop.get(f"{PATH}/{top_up['id']}", headers=customer).json()
    return body


def pay(simulator: RunningSimulator) -> None:
    session = simulator.client().v1.checkout.sessions.list().data[0]
    simulator.control.pay(session.id)


def test_a_customer_buys(shop: Client, customer: dict[str, str], stripe_simulator: RunningSimulator) -> None:
    answer = shop.post(PATH, json={"amount": "1000.00"}, headers=customer)
    top_up = answer.json()
    assert answer.status_code == 201
    assert (top_up["object"], top_up["status"], top_up["currency"]) == ("top_up", "open", "USD")
    assert (top_up["amount"], top_up["bonus"], top_up["credit"]) == (1000, 50, 1050)
    assert top_up["url"].startswith(stripe_simulator.url)
    pay(stripe_simulator)
    clock.run_ahead(timedelta(seconds=5))
    top_up = shop.get(f"{PATH}/{top_up['id']}", headers=customer).json()
    assert (top_up["status"], top_up["url"], top_up["payment_method"]) == (
        "succeeded",
        None,
        "Visa •••• 4242",
    )
    assert top_up["receipt"]["pdf"] == f"{PATH}/{top_up['id']}/receipt.pdf"
    assert shop.get("/v1/account", headers=customer).json()["balance"]["posted"] == 1050
    listed = shop.get(PATH, headers=customer).json()
    assert (listed["data"], listed["has_more"], listed["next_cursor"]) == ([top_up], False, None)


def test_the_key_may_come_as_a_header(shop: Client, customer: dict[str, str]) -> None:
    body = {"amount": 10}
    first = shop.post(PATH, json=body, headers={**customer, "Idempotency-Key": "k"})
    again = shop.post(PATH, json={**body, "idempotency_key": "k"}, headers=customer)
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    other = shop.post(PATH, json={"amount": 11, "idempotency_key": "k"}, headers=customer)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"amount": 4.99}, "amount", "must be at least 5"),
        ({"amount": "2500.01"}, "amount", "must be at most 2500"),
        ({"amount": "10.001"}, "amount", "must be in whole cents"),
        ({"amount": 0}, "amount", "must be more than zero"),
        ({"amount": 10, "success_url": "javascript:x"}, "success_url", None),
        ({"amount": 10, "cancel_url": "/back"}, "cancel_url", None),
        ({}, "amount", None),
    ],
)
def test_what_is_wrong_is_named(
    shop: Client, customer: dict[str, str], body: dict[str, Any], param: str, message: str | None
) -> None:
    answer = shop.post(PATH, json=body, headers=customer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_parameter", param)
    assert message is None or error["message"] == message


def test_a_processor_that_does_not_answer_is_a_503(
    shop: Client, customer: dict[str, str], stripe_simulator: RunningSimulator
) -> None:
    stripe_simulator.control.fault("error_500", path="/v1/checkout/sessions")
    body = {"amount": 10, "idempotency_key": "k"}
    with capture_logs() as logs:
        answer = shop.post(PATH, json=body, headers=customer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "payments_unavailable")
    assert "Retry-After" in answer.headers
    (told,) = (line for line in logs if line["event"] == "request failed")
    assert (told["log_level"], "exc_info" in told) == ("warning", False)
    again = shop.post(PATH, json=body, headers=customer)
    assert (again.status_code, again.json()["status"]) == (200, "open")
    stripe_simulator.control.fault("error_500", method="GET")
    clock.run_ahead(timedelta(seconds=5))
    known = shop.get(f"{PATH}/{again.json()['id']}", headers=customer)
    assert (known.status_code, known.json()["status"]) == (200, "open")


def test_without_a_processor_nothing_is_bought(client: Client, customer: dict[str, str]) -> None:
    answer = client.post(PATH, json={"amount": 10}, headers=customer)
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        503,
        "Payments are not configured here.",
    )
    assert client.get(PATH, headers=customer).json()["data"] == []


def test_a_customer_sees_only_their_own(
    shop: Client, paid: dict[str, Any], service: dict[str, str], customer: dict[str, str]
) -> None:
    other = shop.post("/v1/accounts", json={"name": "Eve"}, headers=service).json()["id"]
    made = shop.post(f"/v1/accounts/{other}/keys", headers=service).json()["key"]
    assert shop.get(f"{PATH}/{paid['id']}", headers={"x-api-key": made}).status_code == 404
    assert shop.get(PATH, headers={"x-api-key": made}).json()["data"] == []
    assert shop.get(PATH, headers=service).status_code == 401
    assert len(shop.get(PATH, headers=customer).json()["data"]) == 1


def test_pages_are_complete(shop: Client, customer: dict[str, str]) -> None:
    made = [shop.post(PATH, json={"amount": 10}, headers=customer).json()["id"] for _ in range(3)]
    first = shop.get(PATH, params={"limit": 2}, headers=customer).json()
    rest = shop.get(PATH, params={"after": first["next_cursor"]}, headers=customer).json()
    assert [one["id"] for one in first["data"] + rest["data"]] == made[::-1]
    assert (first["has_more"], rest["has_more"]) == (True, False)


def test_a_service_token_refunds(
    shop: Client, paid: dict[str, Any], service: dict[str, str], customer: dict[str, str], account_id: str
) -> None:
    path = f"/v1/accounts/{account_id}/top_ups/{paid['id']}/refunds"
    body = {"amount_usd": "400", "reason": "not needed", "idempotency_key": "r"}
    answer = shop.post(path, json=body, headers=service)
    refund = answer.json()
    assert (answer.status_code, refund["state"], refund["bonus_usd"]) == (201, "succeeded", 20)
    again = shop.post(path, json=body, headers=service)
    assert (again.status_code, again.json()) == (200, refund)
    rest = shop.post(path, json={"reason": "all of it", "idempotency_key": "s"}, headers=service).json()
    assert rest["amount_usd"] == 600
    too_much = shop.post(path, json={"reason": "more", "idempotency_key": "t"}, headers=service)
    assert (too_much.status_code, too_much.json()["error"]["code"]) == (409, "not_refundable")
    assert shop.get(path, headers=service).json()["data"] == [refund, rest]
    (listed,) = shop.get(f"/v1/accounts/{account_id}/top_ups", headers=service).json()["data"]
    assert (listed["refunded_usd"], listed["status"], listed["frozen_usd"]) == (1000, "succeeded", 0)
    assert shop.get(f"{PATH}/{paid['id']}", headers=customer).json()["refunded"] == 1000
    assert shop.get("/v1/account", headers=customer).json()["balance"]["posted"] == 0


def test_a_refund_needs_its_scope_and_a_key(
    shop: Client,
    paid: dict[str, Any],
    token_for: Callable[..., dict[str, str]],
    service: dict[str, str],
    customer: dict[str, str],
    account_id: str,
) -> None:
    path = f"/v1/accounts/{account_id}/top_ups/{paid['id']}/refunds"
    body = {"reason": "x", "idempotency_key": "r"}
    assert shop.post(path, json=body, headers=token_for(Scope.ACCOUNTS_READ)).status_code == 403
    assert shop.post(path, json=body, headers=customer).status_code == 401
    without = shop.post(path, json={"reason": "x"}, headers=service)
    assert (without.status_code, without.json()["error"]["param"]) == (400, "idempotency_key")
    unknown = path.replace(paid["id"], account_id)
    assert shop.post(unknown, json=body, headers=service).status_code == 404
    assert shop.get(unknown, headers=service).status_code == 404
