"""The same claims about the simulator and about Stripe itself, in test mode, if STRIPE_TEST_KEY is set.

    STRIPE_TEST_KEY=sk_test_… python -m pytest -m stripe

What Stripe does a moment later is waited for. What a test leaves in the Stripe account are customers named
"contract test" and what they paid.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import uuid4

import pytest
import stripe

from tests.simulator.fixtures import RunningSimulator

pytestmark = pytest.mark.stripe

KEY = "STRIPE_TEST_KEY"
ACCOUNTS = ["simulator", "stripe"] if os.environ.get(KEY) else ["simulator"]
T = TypeVar("T")


class Account:
    """A Stripe account, simulated or true, and a customer of it."""

    def __init__(self, client: stripe.StripeClient, patience_seconds: float) -> None:
        self.client = client
        self.api = client.v1
        self._patience_seconds = patience_seconds
        self.customer = self.api.customers.create(
            {"name": "contract test", "email": "contract@example.com"}
        ).id

    def pay(self, method: str, key: str | None = None, **more: Any) -> stripe.PaymentIntent:  # noqa: ANN401
        """Ten dollars, confirmed at once."""
        form: Any = {
            "amount": 1_000,
            "currency": "usd",
            "customer": self.customer,
            "confirm": True,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "payment_method": method,
            **more,
        }
        return self.api.payment_intents.create(form, {"idempotency_key": key or str(uuid4())})

    def save(self, card: str) -> str:
        """Attach it to the customer."""
        return self.api.payment_methods.attach(card, {"customer": self.customer}).id

    def eventually(self, look: Callable[[], T | None]) -> T:
        """What it sees once it sees something."""
        until = time.monotonic() + self._patience_seconds
        while (seen := look()) is None:
            assert time.monotonic() < until, "it did not happen in time"
            time.sleep(0.2)
        return seen


@pytest.fixture(params=ACCOUNTS)
def account(request: pytest.FixtureRequest) -> Account:
    """The simulator's, then Stripe's."""
    if request.param == "simulator":
        simulator: RunningSimulator = request.getfixturevalue("stripe_simulator")
        return Account(simulator.client(), 5)
    key = os.environ[KEY]
    if not key.startswith(("sk_test_", "rk_test_")):
        pytest.fail(f"{KEY} must be a key of Stripe's test mode: these tests move money")
    return Account(stripe.StripeClient(key, max_network_retries=2), 60)


def test_stripe_itself_is_held_to_the_contract() -> None:
    """In each of the tests below, by the fixture: this one says so in the report if it isn't."""
    if "stripe" not in ACCOUNTS:
        pytest.skip(f"{KEY} is not set: the contract is tested against the simulator alone")


def test_a_payment_succeeds_and_is_booked_with_its_fee(account: Account) -> None:
    payment = account.pay("pm_card_visa", metadata={"a": "b"}, expand=["latest_charge"])
    assert (payment.status, payment.amount_received) == ("succeeded", 1_000)
    charge = payment.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert (charge.paid, charge.captured, charge.refunded, charge.disputed) == (True, True, False, False)
    assert charge.metadata.to_dict() == {"a": "b"}

    def booked() -> stripe.BalanceTransaction | None:
        found = account.api.charges.retrieve(charge.id, {"expand": ["balance_transaction"]})
        moved = found.balance_transaction
        return moved if isinstance(moved, stripe.BalanceTransaction) else None

    moved = account.eventually(booked)
    assert (moved.type, moved.amount, moved.net) == ("charge", 1_000, 1_000 - moved.fee)
    assert moved.fee > 0


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
    ],
)
def test_a_declined_card_is_an_error_with_the_intent_in_it(
    account: Account, card: str, code: str, decline_code: str
) -> None:
    with pytest.raises(stripe.CardError) as raised:
        account.pay(card)
    assert (raised.value.http_status, raised.value.code) == (402, code)
    carried: Any = raised.value.json_body
    assert carried["error"]["decline_code"] == decline_code
    assert carried["error"]["payment_intent"]["status"] == "requires_payment_method"
    assert carried["error"]["payment_intent"]["last_payment_error"]["code"] == code


def test_a_saved_card_is_charged_without_its_holder(account: Account) -> None:
    card = account.save("pm_card_visa")
    assert account.pay(card, off_session=True).status == "succeeded"
    (listed,) = account.api.customers.payment_methods.list(account.customer, {"type": "card"}).data
    assert (listed.id, listed.card and listed.card.last4) == (card, "4242")
    account.api.payment_methods.detach(card)
    assert account.api.customers.payment_methods.list(account.customer).data == []
    with pytest.raises(stripe.InvalidRequestError):
        account.pay(card, off_session=True)


def test_a_card_may_be_saved_and_decline_when_it_is_charged(account: Account) -> None:
    card = account.save("pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError) as raised:
        account.pay(card, off_session=True)
    assert raised.value.code == "card_declined"


def test_a_card_that_wants_its_holder_declines_off_session(account: Account) -> None:
    card = account.save("pm_card_authenticationRequired")
    with pytest.raises(stripe.CardError) as raised:
        account.pay(card, off_session=True)
    assert raised.value.code == "authentication_required"
    carried: Any = raised.value.json_body
    assert carried["error"]["payment_intent"]["status"] == "requires_payment_method"


def test_the_same_key_is_the_same_payment(account: Account) -> None:
    key = str(uuid4())
    first = account.pay("pm_card_visa", key)
    again = account.pay("pm_card_visa", key)
    assert again.id == first.id
    assert again.last_response is not None
    assert again.last_response.headers["idempotent-replayed"] == "true"
    with pytest.raises(stripe.IdempotencyError):
        account.pay("pm_card_visa", key, amount=2_000)
    assert len(account.api.payment_intents.list({"customer": account.customer}).data) == 1


def test_a_decline_is_repeated_under_its_key(account: Account) -> None:
    key = str(uuid4())
    ids = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as raised:
            account.pay("pm_card_visa_chargeDeclined", key)
        carried: Any = raised.value.json_body
        ids.append(carried["error"]["payment_intent"]["id"])
    assert ids[0] == ids[1]


def test_what_is_decided_is_not_decided_again(account: Account) -> None:
    paid = account.pay("pm_card_visa")
    for act in (account.api.payment_intents.confirm, account.api.payment_intents.cancel):
        with pytest.raises(stripe.InvalidRequestError) as raised:
            act(paid.id)
        assert raised.value.code == "payment_intent_unexpected_state"
    waiting = account.api.payment_intents.create({"amount": 1_000, "currency": "usd"})
    assert account.api.payment_intents.cancel(waiting.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError) as raised:
        account.api.payment_intents.confirm(waiting.id, {"payment_method": "pm_card_visa"})
    assert raised.value.code == "payment_intent_unexpected_state"


def test_no_more_is_refunded_than_was_paid(account: Account) -> None:
    paid = account.pay("pm_card_visa")
    part = account.api.refunds.create({"payment_intent": paid.id, "amount": 400, "metadata": {"a": "b"}})
    assert (part.amount, part.status) == (400, "succeeded")
    with pytest.raises(stripe.InvalidRequestError):
        account.api.refunds.create({"payment_intent": paid.id, "amount": 601})
    rest = account.api.refunds.create({"payment_intent": paid.id})
    assert rest.amount == 600
    with pytest.raises(stripe.InvalidRequestError) as raised:
        account.api.refunds.create({"payment_intent": paid.id})
    assert raised.value.code == "charge_already_refunded"
    listed = account.api.refunds.list({"payment_intent": paid.id}).data
    assert {one.id for one in listed} == {part.id, rest.id}


def test_a_refund_of_what_was_never_paid_is_refused(account: Account) -> None:
    open_one = account.api.payment_intents.create({"amount": 1_000, "currency": "usd"})
    with pytest.raises(stripe.InvalidRequestError):
        account.api.refunds.create({"payment_intent": open_one.id})


@pytest.mark.parametrize(("evidence", "status"), [("winning_evidence", "won"), ("losing_evidence", "lost")])
def test_a_dispute_takes_the_money_and_is_decided_by_evidence(
    account: Account, evidence: str, status: str
) -> None:
    paid = account.pay("pm_card_createDispute")

    def found() -> stripe.Dispute | None:
        disputes = account.api.disputes.list({"payment_intent": paid.id}).data
        return next((one for one in disputes if one.balance_transactions), None)

    dispute = account.eventually(found)
    assert (dispute.status, dispute.amount, dispute.reason) == ("needs_response", 1_000, "fraudulent")
    assert dispute.balance_transactions[0].amount == -1_000
    account.api.disputes.update(dispute.id, {"evidence": {"uncategorized_text": evidence}, "submit": True})

    def decided() -> stripe.Dispute | None:
        now = account.api.disputes.retrieve(dispute.id)
        return now if now.status == status else None

    amounts = [moved.amount for moved in account.eventually(decided).balance_transactions]
    assert sum(amounts) == (0 if status == "won" else -1_000)


def test_a_setup_saves_a_card_for_later(account: Account) -> None:
    setup = account.api.setup_intents.create(
        {
            "customer": account.customer,
            "confirm": True,
            "usage": "off_session",
            "payment_method": "pm_card_visa",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        }
    )
    assert setup.status == "succeeded"
    assert isinstance(setup.payment_method, str)
    assert account.pay(setup.payment_method, off_session=True).status == "succeeded"


def test_a_checkout_session_opens_without_a_payment_and_expires(account: Account) -> None:
    session = account.api.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": account.customer,
            "line_items": [
                {
                    "price_data": {
                        "currency": "usd",
                        "product_data": {"name": "Credit"},
                        "unit_amount": 2_500,
                    },
                    "quantity": 2,
                }
            ],
            "metadata": {"a": "b"},
            "payment_intent_data": {"metadata": {"a": "b"}, "statement_descriptor_suffix": "CREDIT"},
            "success_url": "https://shop.example/?session={CHECKOUT_SESSION_ID}",
            "cancel_url": "https://shop.example/",
        }
    )
    assert (session.mode, session.status, session.payment_status) == ("payment", "open", "unpaid")
    assert (session.amount_subtotal, session.amount_total, session.currency) == (5_000, 5_000, "usd")
    assert (session.payment_intent, session.customer) == (None, account.customer)
    assert session.url is not None
    (line,) = account.api.checkout.sessions.line_items.list(session.id).data
    assert (line.quantity, line.amount_total, line.description) == (2, 5_000, "Credit")
    expired = account.api.checkout.sessions.expire(session.id)
    assert (expired.status, expired.url) == ("expired", None)
    with pytest.raises(stripe.InvalidRequestError):
        account.api.checkout.sessions.expire(session.id)


def test_a_checkout_session_in_setup_mode_has_its_setup_intent_at_once(account: Account) -> None:
    session = account.api.checkout.sessions.create(
        {
            "mode": "setup",
            "customer": account.customer,
            "allowed_payment_method_types": ["card"],
            "setup_intent_data": {"metadata": {"a": "b"}},
            "success_url": "https://shop.example/",
        }
    )
    assert (session.status, session.payment_status) == ("open", "no_payment_required")
    assert isinstance(session.setup_intent, str)
    setup = account.api.setup_intents.retrieve(session.setup_intent)
    assert setup.metadata is not None
    assert (setup.status, setup.metadata.to_dict()) == ("requires_payment_method", {"a": "b"})


def test_unknown_parameters_and_unknown_objects_are_named(account: Account) -> None:
    unknown: Any = {"nonsense": "1"}
    with pytest.raises(stripe.InvalidRequestError) as raised:
        account.api.customers.create(unknown)
    assert (raised.value.http_status, raised.value.code, raised.value.param) == (
        400,
        "parameter_unknown",
        "nonsense",
    )
    with pytest.raises(stripe.InvalidRequestError) as raised:
        account.api.payment_intents.retrieve("pi_nonsense")
    assert (raised.value.http_status, raised.value.code) == (404, "resource_missing")
    missing: Any = {"currency": "usd"}
    with pytest.raises(stripe.InvalidRequestError) as raised:
        account.api.payment_intents.create(missing)
    assert (raised.value.code, raised.value.param) == ("parameter_missing", "amount")


def test_events_tell_what_happened_newest_first(account: Account) -> None:
    paid = account.pay("pm_card_visa")

    def told() -> list[str] | None:
        events = account.api.events.list(
            {"limit": 50, "types": ["payment_intent.created", "payment_intent.succeeded"]}
        ).data
        about = [str(event.type) for event in events if event.data.object["id"] == paid.id]
        return about if len(about) == 2 else None

    assert sorted(account.eventually(told)) == ["payment_intent.created", "payment_intent.succeeded"]
