"""The customer's doors of saved cards and auto top-up: what they answer, and each rule with its message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from litestar.testing import TestClient

from metering.app import App, create_asgi
from metering.services.accounts import create_account
from metering.services.api_keys import create_api_key
from metering.services.cashier import Cashier
from metering.services.notifications import get_notifications
from metering.services.purchases import buy_due
from tests.contract.account_usage import validate
from tests.payments.fixtures import cashier, gateway, simulator_process, stripe_simulator
from tests.simulator.control import Control
from tests.simulator.fixtures import RunningSimulator

__all__ = ["cashier", "gateway", "simulator_process", "stripe_simulator"]

CARDS = "/v1/account/payment_methods"
AUTO = "/v1/account/auto_topup"
NO_CARD = "only cards can be charged off-session: save one first with POST /v1/account/payment_methods"


class Customer:
    """What one customer sends and sees."""

    def __init__(self, client: TestClient[Any], key: str, control: Control) -> None:
        self.client, self.control = client, control
        self.headers = {"x-api-key": key}

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  (an answer)
        """The answer."""
        return self.client.request(method, path, headers=self.headers, json=body)

    def put(self, **body: object) -> dict[str, Any]:
        """Auto top-up as it is then."""
        answer = self.ask("PUT", AUTO, body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def save_card(self, number: str = "4242424242424242") -> None:
        """Save a card on the processor's page."""
        answer = self.ask("POST", CARDS, {"success_url": "https://example.com/cards"})
        assert answer.status_code == 201, answer.text
        assert answer.json()["object"] == "payment_method_setup"
        session = answer.json()["url"].rpartition("/")[2]
        self.control.pay(session.partition("#")[0].partition("?")[0], card=number)

    def cards(self) -> list[dict[str, Any]]:
        """The saved cards."""
        found: list[dict[str, Any]] = self.ask("GET", CARDS).json()["data"]
        return found


@pytest.fixture
def client(app: App, cashier: Cashier) -> Iterator[TestClient[Any]]:
    """A client of a service with a cashier."""
    selling = App(app.database, replace(app.services, cashier=cashier))
    with TestClient(create_asgi(selling), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def customer(client: TestClient[Any], api_key: str, stripe_simulator: RunningSimulator) -> Customer:
    """A customer without credit or card."""
    return Customer(client, api_key, stripe_simulator.control)


def refusal(answer: Any) -> tuple[int, str, str]:  # noqa: ANN401  (an answer)
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


def test_it_is_off_until_it_is_turned_on(customer: Customer) -> None:
    assert customer.ask("GET", AUTO).json() == {
        "object": "auto_topup", "enabled": False, "status": "off", "threshold": None, "amount": None,
        "currency": "USD", "payment_method": None, "max_per_month": None, "off_reason": None,
        "paused_until": None, "next_attempt_at": None, "failure": None, "enabled_at": None,
        "updated_at": None,
    }  # fmt: skip


def test_it_is_turned_on_buys_and_is_turned_off(customer: Customer, cashier: Cashier) -> None:
    customer.save_card()
    (card,) = customer.cards()
    assert (card["object"], card["brand"], card["last_four"]) == ("payment_method", "Visa", "4242")
    on = customer.put(enabled=True, threshold=10, amount="50.00", max_per_month=100)
    assert (on["status"], on["threshold"], on["amount"], on["max_per_month"]) == ("buying", 10, 50, 100)
    assert on["payment_method"] == card["id"]
    assert on["enabled_at"] is not None
    buy_due(cashier)
    assert customer.ask("GET", AUTO).json()["status"] == "on"
    usage = customer.ask("GET", "/v1/account/usage").json()
    validate(usage)
    shown = {name: value for name, value in usage["balance"].items() if name.startswith("auto_")}
    assert shown == {"auto_topup_enabled": True, "auto_topup_threshold": 10, "auto_topup_amount": 50}
    assert usage["balance"]["amount"] == 50
    off = customer.put(enabled=False, max_per_month=None)
    assert (off["enabled"], off["status"], off["off_reason"]) == (False, "off", "customer")
    assert (off["threshold"], off["amount"], off["max_per_month"]) == (10, 50, None)


def test_a_decline_is_shown_with_its_reason_and_when_it_is_tried_again(
    customer: Customer, cashier: Cashier
) -> None:
    customer.save_card("4000000000000341")
    customer.put(enabled=True, threshold=10, amount=50)
    buy_due(cashier)
    found = customer.ask("GET", AUTO).json()
    assert (found["status"], found["failure"]["code"]) == ("retrying", "card_declined")
    assert found["failure"]["message"]
    assert found["next_attempt_at"] > found["enabled_at"]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"threshold": 4.99, "amount": 50}, "threshold", "must be at least 5"),
        ({"threshold": 10, "amount": 19.99}, "amount", "must be at least 2 times the threshold: 20"),
        ({"threshold": 5, "amount": 2500.01}, "amount", "must be at most 2500"),
        ({"threshold": 5, "amount": "10.001"}, "amount", "must be in whole cents"),
        ({"threshold": 0, "amount": 50}, "threshold", "must be more than zero"),
        ({"threshold": "x", "amount": 50}, "threshold", "must be an amount of US dollars, such as 12.50"),
        ({"threshold": 5, "amount": None}, "amount", "must be an amount of US dollars, such as 12.50"),
        ({"amount": 50}, "threshold", "is missing, and was never set before"),
        ({"threshold": 5}, "amount", "is missing, and was never set before"),
        (
            {"threshold": 5, "amount": 50, "max_per_month": 49},
            "max_per_month",
            "must be at least the amount of one purchase",
        ),
        ({"threshold": 5, "amount": 50}, "payment_method", NO_CARD),
    ],
)
def test_each_rule_has_its_message(
    customer: Customer, body: dict[str, object], param: str, message: str
) -> None:
    refused = customer.ask("PUT", AUTO, {"enabled": True, **body})
    assert refusal(refused) == (400, param, message)
    assert customer.ask("GET", AUTO).json()["threshold"] is None


def test_fields_that_nobody_knows_are_refused(customer: Customer) -> None:
    assert customer.ask("PUT", AUTO, {"enabled": True, "treshold": 5}).status_code == 400
    assert customer.ask("PUT", AUTO, {"threshold": 5, "amount": 50}).status_code == 400
    assert customer.ask("POST", CARDS, {"card": "4242424242424242"}).status_code == 400


def test_cards_are_listed_chosen_and_removed(customer: Customer) -> None:
    assert customer.cards() == []
    customer.save_card()
    (visa,) = customer.cards()
    chosen = customer.ask("POST", f"{CARDS}/{visa['id']}/default")
    assert (chosen.status_code, chosen.json()) == (200, visa)
    customer.put(enabled=True, threshold=10, amount=50, payment_method=visa["id"])
    removed = customer.ask("DELETE", f"{CARDS}/{visa['id']}")
    assert (removed.status_code, removed.content) == (204, b"")
    assert customer.cards() == []
    assert customer.ask("GET", AUTO).json()["off_reason"] == "card_removed"
    for method, path in (("DELETE", ""), ("POST", "/default")):
        assert customer.ask(method, f"{CARDS}/{visa['id']}{path}").status_code == 404


def test_one_customer_sees_and_touches_nothing_of_another(
    customer: Customer, cashier: Cashier, client: TestClient[Any]
) -> None:
    customer.save_card()
    (card,) = customer.cards()
    other_id = create_account(cashier.database, "Bob").account.account_id
    other = Customer(
        client, create_api_key(cashier.database, other_id, prefix="sk-test-")[1], customer.control
    )
    assert other.cards() == []
    assert other.ask("DELETE", f"{CARDS}/{card['id']}").status_code == 404
    asked = {"enabled": True, "threshold": 10, "amount": 50, "payment_method": card["id"]}
    assert refusal(other.ask("PUT", AUTO, asked)) == (400, "payment_method", NO_CARD)
    assert customer.cards() == [card]


def test_a_processor_that_is_away_is_said_to_be(customer: Customer) -> None:
    customer.control.fault("error_500", path="/v1/.*", times=None)
    refused = customer.ask("POST", CARDS)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "payments_unavailable")
    assert customer.cards() == []
    assert customer.ask("GET", AUTO).status_code == 200


def test_where_nothing_can_be_bought_the_doors_say_so(app: App, api_key: str) -> None:
    with TestClient(create_asgi(app), raise_server_exceptions=False) as client:
        headers = {"x-api-key": api_key}
        for method, path, body in (
            ("GET", CARDS, None),
            ("POST", CARDS, None),
            ("PUT", AUTO, {"enabled": False}),
        ):
            answer = client.request(method, path, headers=headers, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "payments_unavailable")
        assert client.get(AUTO, headers=headers).json()["status"] == "off"


@pytest.mark.parametrize(("method", "path"), [("GET", AUTO), ("PUT", AUTO), ("GET", CARDS), ("POST", CARDS)])
def test_nobody_gets_in_without_a_key(
    client: TestClient[Any], service: dict[str, str], method: str, path: str
) -> None:
    assert client.request(method, path).status_code == 401
    assert client.request(method, path, headers=service).status_code == 401


def test_a_new_account_is_told_of_a_low_balance_by_the_policy(
    client: TestClient[Any], cashier: Cashier, service: dict[str, str]
) -> None:
    made = client.post("/v1/accounts", headers=service, json={"name": "Ada"}).json()
    found = get_notifications(cashier.database, made["id"])
    assert found.low_balance_pico == cashier.policy.low_balance_pico
