"""Checkout through the gateway: a page is paid, saves a card, expires; tax comes on top."""

from __future__ import annotations

from decimal import Decimal

import pytest

from metering.errors import PaymentRefused
from metering.payments.gateway import Checkout, PaymentState
from metering.payments.simulator.server import Simulator
from metering.payments.stripe_gateway import StripeGateway
from tests.payments.fixtures import gateway_to
from tests.payments.test_stripe_gateway import ACCOUNT, TOP_UP, charge_of, kinds
from tests.simulator.control import Control
from tests.simulator.fixtures import RunningSimulator


@pytest.fixture
def customer(gateway: StripeGateway) -> str:
    """A customer without a card."""
    return gateway.create_customer(ACCOUNT, name="Ada", email="ada@example.com", idempotency_key="customer")


def open_checkout(gateway: StripeGateway, customer: str, *, saves_card: bool = False) -> Checkout:
    """A page to pay 25 dollars."""
    return gateway.open_checkout(
        account_id=ACCOUNT,
        top_up_id=TOP_UP,
        customer_id=customer,
        amount=2_500,
        saves_card=saves_card,
        success_url="http://127.0.0.1:8080/?paid={CHECKOUT_SESSION_ID}",
        cancel_url="http://127.0.0.1:8080/",
        receipt_email="ada@example.com",
        idempotency_key="checkout",
    )


def test_a_page_is_open_until_it_is_paid(
    gateway: StripeGateway, customer: str, stripe_simulator: RunningSimulator
) -> None:
    page = open_checkout(gateway, customer)
    assert page == open_checkout(gateway, customer)
    assert page == gateway.get_checkout(page.id)
    assert (page.is_open, page.payment_id) == (True, None)
    assert page.url is not None
    assert page.url.startswith(stripe_simulator.url)
    stripe_simulator.control.pay(page.id)
    paid = gateway.get_checkout(page.id)
    assert not paid.is_open
    assert paid.payment_id is not None
    payment = gateway.get_payment(paid.payment_id)
    assert (payment.state, payment.amount, payment.tax) == (PaymentState.SUCCEEDED, 2_500, 0)
    assert (payment.account_id, payment.top_up_id) == (ACCOUNT, TOP_UP)
    assert kinds(payment) == [("payment", 2_500, 103)]
    charge = charge_of(stripe_simulator, paid.payment_id)
    assert (charge.statement_descriptor_suffix, charge.receipt_email) == ("EMPIRIO", "ada@example.com")
    assert gateway.list_cards(customer) == []


def test_a_decline_on_the_page_leaves_it_open_with_the_reason(
    gateway: StripeGateway, customer: str, stripe_simulator: RunningSimulator
) -> None:
    page = open_checkout(gateway, customer)
    stripe_simulator.control.pay(page.id, "4000000000009995")
    declined = gateway.get_checkout(page.id)
    assert declined.is_open
    assert declined.payment_id is not None
    payment = gateway.get_payment(declined.payment_id)
    assert payment.state is PaymentState.OPEN
    assert payment.failure is not None
    assert payment.failure.code == "insufficient_funds"


def test_a_card_is_saved_where_that_was_asked_for(
    gateway: StripeGateway, customer: str, stripe_simulator: RunningSimulator
) -> None:
    page = open_checkout(gateway, customer, saves_card=True)
    stripe_simulator.control.pay(page.id)
    (card,) = gateway.list_cards(customer)
    assert (card.brand, card.last_four) == ("Visa", "4242")


def test_a_method_that_settles_later_is_processing_first(
    gateway: StripeGateway, customer: str, stripe_simulator: RunningSimulator
) -> None:
    page = open_checkout(gateway, customer)
    stripe_simulator.control.pay(page.id, method="us_bank_account")
    payment_id = gateway.get_checkout(page.id).payment_id
    assert payment_id is not None
    waiting = gateway.get_payment(payment_id)
    assert (waiting.state, waiting.succeeded_at, waiting.paid_with) == (
        PaymentState.PROCESSING,
        None,
        "US bank account",
    )
    stripe_simulator.control.settle_payment(payment_id)
    assert gateway.get_payment(payment_id).state is PaymentState.SUCCEEDED


def test_a_page_that_expired_is_closed_and_was_not_paid(
    gateway: StripeGateway, customer: str, stripe_simulator: RunningSimulator
) -> None:
    page = open_checkout(gateway, customer)
    stripe_simulator.control.expire(page.id)
    expired = gateway.get_checkout(page.id)
    assert (expired.is_open, expired.payment_id) == (False, None)
    with pytest.raises(PaymentRefused):
        gateway.get_checkout("cs_test_unknown")


def test_a_setup_page_saves_a_card_and_takes_nothing(
    gateway: StripeGateway, customer: str, stripe_simulator: RunningSimulator
) -> None:
    page = gateway.open_card_setup(
        account_id=ACCOUNT,
        customer_id=customer,
        success_url="http://127.0.0.1:8080/",
        cancel_url="http://127.0.0.1:8080/",
        idempotency_key="setup",
    )
    assert (page.is_open, page.payment_id) == (True, None)
    stripe_simulator.control.pay(page.id, "5555555555554444")
    assert not gateway.get_checkout(page.id).is_open
    assert [card.brand for card in gateway.list_cards(customer)] == ["Mastercard"]
    assert not stripe_simulator.control.counts()["charges_succeeded"]


def test_tax_comes_on_top_and_is_told_apart() -> None:
    with Simulator(tax_percent=Decimal("8.25")) as simulator:
        taxed = RunningSimulator(simulator, Control(simulator.url))
        gateway = gateway_to(taxed, collects_tax=True)
        customer = gateway.create_customer(ACCOUNT, name="Ada", email=None, idempotency_key="customer")
        page = open_checkout(gateway, customer)
        taxed.control.pay(page.id, postal_code="94103")
        payment_id = gateway.get_checkout(page.id).payment_id
        assert payment_id is not None
        payment = gateway.get_payment(payment_id)
        assert (payment.amount, payment.tax) == (2_706, 206)
        taxed.control.close()
        gateway.close()
