"""The gateway over the unchanged SDK, against the simulator: its answers are how things stand there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import stripe

from metering import clock
from metering.errors import ConfigurationError, PaymentRefused, PaymentsUnavailable
from metering.payments.gateway import Card, Failure, Payment, PaymentState
from metering.payments.stripe_gateway import StripeGateway
from tests.simulator.fixtures import RunningSimulator

ACCOUNT = "019f0000-0000-7000-8000-000000000001"
TOP_UP = "019f0000-0000-7000-8000-000000000002"


@pytest.fixture
def customer(gateway: StripeGateway) -> str:
    """A customer without a card."""
    return gateway.create_customer(ACCOUNT, name="Ada", email="ada@example.com", idempotency_key="customer")


@pytest.fixture
def payment(gateway: StripeGateway, customer: str) -> str:
    """A payment of 1,000 dollars that nobody has confirmed."""
    return create_payment(gateway, customer)


def create_payment(gateway: StripeGateway, customer: str, *, key: str = "create") -> str:
    """A payment of 1,000 dollars that nobody has confirmed."""
    return gateway.create_payment(
        account_id=ACCOUNT,
        top_up_id=TOP_UP,
        customer_id=customer,
        amount=100_000,
        receipt_email="ada@example.com",
        idempotency_key=key,
    )


@pytest.fixture
def card(stripe_simulator: RunningSimulator, customer: str) -> str:
    """A saved card that pays."""
    return save_card(stripe_simulator, customer)


def save_card(simulator: RunningSimulator, customer: str, card: str = "pm_card_visa") -> str:
    """The id of a card that the customer saved."""
    return simulator.client().v1.payment_methods.attach(card, {"customer": customer}).id


def charge_of(simulator: RunningSimulator, payment: str) -> stripe.Charge:
    """The charge that a payment came with."""
    intent = simulator.client().v1.payment_intents.retrieve(payment, {"expand": ["latest_charge"]})
    assert isinstance(intent.latest_charge, stripe.Charge)
    return intent.latest_charge


def kinds(payment: Payment) -> list[tuple[str, int, int]]:
    """What moved: kind, amount and fee, in cents."""
    return [(moved.kind, moved.amount, moved.fee) for moved in payment.movements]


def test_a_payment_moves_no_money_until_it_is_confirmed(
    gateway: StripeGateway, payment: str, stripe_simulator: RunningSimulator
) -> None:
    found = gateway.get_payment(payment)
    assert (found.state, found.amount, found.currency) == (PaymentState.OPEN, 100_000, "usd")
    assert (found.account_id, found.top_up_id) == (ACCOUNT, TOP_UP)
    assert (found.failure, found.movements, found.paid_with) == (None, [], None)
    assert not stripe_simulator.control.counts()["charges_succeeded"]


def test_a_confirmed_payment_has_succeeded_with_its_card_receipt_and_fee(
    gateway: StripeGateway, payment: str, card: str, stripe_simulator: RunningSimulator
) -> None:
    answer = gateway.confirm_payment(payment, card, idempotency_key="confirm")
    assert (answer.state, answer.amount, answer.tax, answer.failure) == (
        PaymentState.SUCCEEDED,
        100_000,
        0,
        None,
    )
    assert answer.paid_with == "Visa •••• 4242"
    assert answer.receipt_url is not None
    assert answer.succeeded_at is not None
    found = gateway.get_payment(payment)
    assert kinds(found) == [("payment", 100_000, 2_930)]
    assert found._replace(movements=[]) == answer._replace(movements=[])


def test_the_statement_says_the_prefix_of_the_account_and_the_suffix_of_the_policy(
    gateway: StripeGateway, payment: str, card: str, stripe_simulator: RunningSimulator
) -> None:
    gateway.confirm_payment(payment, card, idempotency_key="confirm")
    charge = charge_of(stripe_simulator, payment)
    assert charge.statement_descriptor_suffix == "EMPIRIO"
    assert charge.receipt_email == "ada@example.com"


def test_a_payment_is_confirmed_once_whatever_the_key(
    gateway: StripeGateway, payment: str, card: str, stripe_simulator: RunningSimulator
) -> None:
    for key in ("first", "first", "second"):
        assert gateway.confirm_payment(payment, card, idempotency_key=key).state is PaymentState.SUCCEEDED
    assert stripe_simulator.control.counts()["charges_succeeded"] == 1


def test_a_payment_is_created_once_per_key(
    gateway: StripeGateway, customer: str, stripe_simulator: RunningSimulator
) -> None:
    assert create_payment(gateway, customer) == create_payment(gateway, customer)
    assert stripe_simulator.control.counts()["objects"]["payment_intent"] == 1


@pytest.mark.parametrize(
    ("decline", "failure"),
    [
        ("insufficient_funds", Failure("insufficient_funds", "The card has insufficient funds.")),
        ("generic_decline", Failure("card_declined", "The card was declined by its bank.")),
        ("expired_card", Failure("expired_card", "The card has expired.", is_final=True)),
        # Who found or stole a card is not told that it is known.
        ("lost_card", Failure("card_declined", "The card was declined by its bank.", is_final=True)),
        ("stolen_card", Failure("card_declined", "The card was declined by its bank.", is_final=True)),
    ],
)
def test_a_decline_is_an_answer_that_says_whether_to_try_again(
    gateway: StripeGateway,
    payment: str,
    card: str,
    stripe_simulator: RunningSimulator,
    decline: str,
    failure: Failure,
) -> None:
    stripe_simulator.control.change_card(card, decline=decline)
    declined = gateway.confirm_payment(payment, card, idempotency_key="first")
    assert (declined.state, declined.failure) == (PaymentState.OPEN, failure)
    assert gateway.get_payment(payment).failure == failure
    stripe_simulator.control.change_card(card, decline="")
    paid = gateway.confirm_payment(payment, card, idempotency_key="second")
    assert (paid.state, paid.failure) == (PaymentState.SUCCEEDED, None)
    assert gateway.get_payment(payment).state is PaymentState.SUCCEEDED


def test_a_card_that_wants_its_holder_says_so(
    gateway: StripeGateway, payment: str, customer: str, stripe_simulator: RunningSimulator
) -> None:
    card = save_card(stripe_simulator, customer, "pm_card_authenticationRequired")
    asked = gateway.confirm_payment(payment, card, idempotency_key="confirm")
    assert asked.state is PaymentState.OPEN
    assert asked.failure is not None
    assert (asked.failure.code, asked.failure.needs_customer) == ("authentication_required", True)


def test_a_card_that_is_gone_is_refused_and_nothing_is_charged(
    gateway: StripeGateway, payment: str, card: str, stripe_simulator: RunningSimulator
) -> None:
    gateway.remove_card(card)
    with pytest.raises(PaymentRefused) as refused:
        gateway.confirm_payment(payment, card, idempotency_key="confirm")
    assert card not in refused.value.message
    assert gateway.get_payment(payment).state is PaymentState.OPEN


def test_a_canceled_payment_can_not_succeed_and_one_that_has_succeeded_is_not_canceled(
    gateway: StripeGateway, customer: str, card: str
) -> None:
    canceled = create_payment(gateway, customer, key="one")
    for _ in range(2):
        assert gateway.cancel_payment(canceled).state is PaymentState.CANCELED
    late = gateway.confirm_payment(canceled, card, idempotency_key="late")
    assert late.state is PaymentState.CANCELED
    paid = create_payment(gateway, customer, key="two")
    gateway.confirm_payment(paid, card, idempotency_key="confirm")
    assert gateway.cancel_payment(paid).state is PaymentState.SUCCEEDED


@pytest.mark.parametrize(
    ("action", "when", "charged"),
    [
        ("error_500", "before", 0),
        ("error_500", "after", 1),
        ("timeout", "before", 0),
        ("timeout", "after", 1),
        ("rate_limit", "before", 0),
    ],
)
def test_what_went_wrong_on_the_way_is_unknown_and_never_sent_again_by_itself(
    gateway: StripeGateway,
    payment: str,
    card: str,
    stripe_simulator: RunningSimulator,
    action: str,
    when: str,
    charged: int,
) -> None:
    stripe_simulator.control.fault(action, when=when, path=".*/confirm")
    with pytest.raises(PaymentsUnavailable):
        gateway.confirm_payment(payment, card, idempotency_key="confirm")
    assert stripe_simulator.control.counts()["charges_succeeded"] == charged
    assert gateway.get_payment(payment).state is (PaymentState.SUCCEEDED if charged else PaymentState.OPEN)


def test_many_at_once_share_a_gateway_and_confirm_once(
    gateway: StripeGateway, payment: str, card: str, stripe_simulator: RunningSimulator
) -> None:
    def confirm(number: int) -> PaymentState | None:
        try:
            return gateway.confirm_payment(payment, card, idempotency_key=f"confirm-{number % 3}").state
        except PaymentsUnavailable:  # the key is in use by another one of us
            return None

    with ThreadPoolExecutor(8) as pool:
        states = set(pool.map(confirm, range(40)))
    assert PaymentState.SUCCEEDED in states <= {PaymentState.SUCCEEDED, None}
    assert stripe_simulator.control.counts()["charges_succeeded"] == 1


def test_a_key_that_stripe_does_not_know_is_unavailable_and_not_in_the_message(
    stripe_simulator: RunningSimulator,
) -> None:
    gateway = StripeGateway("sk_stale_key", "whsec_x", descriptor="A*B", base_url=stripe_simulator.url)
    with pytest.raises(PaymentsUnavailable) as refused:
        gateway.get_payment("pi_1")
    assert "stale" not in refused.value.message
    gateway.close()


@pytest.mark.parametrize("key", ["sk_live_0123456789abcdef", "rk_live_0123456789abcdef"])
def test_a_live_key_goes_to_stripe_alone(key: str, stripe_simulator: RunningSimulator) -> None:
    with pytest.raises(ConfigurationError, match="METERING_STRIPE_API_BASE"):
        StripeGateway(key, "whsec_x", descriptor="A*B", base_url=stripe_simulator.url)
    assert StripeGateway(key, "whsec_x", descriptor="A*B").is_live
    assert StripeGateway(key, "whsec_x", descriptor="A*B", base_url="https://api.stripe.com").is_live


def test_a_processor_that_nobody_reaches_is_unavailable() -> None:
    gateway = StripeGateway("sk_test_x", "whsec_x", descriptor="A*B", base_url="http://127.0.0.1:9")
    with pytest.raises(PaymentsUnavailable):
        gateway.get_payment("pi_1")
    gateway.close()


def test_a_payment_is_found_by_its_top_up(gateway: StripeGateway, customer: str, card: str) -> None:
    since = clock.now() - timedelta(minutes=1)
    assert gateway.find_payment(customer, TOP_UP, since=since) is None
    first, second = (create_payment(gateway, customer, key=key) for key in ("one", "two"))
    gateway.cancel_payment(second)
    assert gateway.find_payment(customer, TOP_UP, since=since) == first
    assert gateway.find_payment(customer, ACCOUNT, since=since) is None
    third = create_payment(gateway, customer, key="three")
    gateway.confirm_payment(first, card, idempotency_key="confirm")
    assert gateway.find_payment(customer, TOP_UP, since=since) == first != third


def test_refunds_are_seen_whoever_made_them_and_a_failed_one_comes_back(
    gateway: StripeGateway, payment: str, card: str, stripe_simulator: RunningSimulator
) -> None:
    gateway.confirm_payment(payment, card, idempotency_key="confirm")
    ours = gateway.create_refund(
        payment, refund_id="ours", amount=40_000, reason="half used", idempotency_key="refund"
    )
    assert (ours.state, ours.our_id, ours.amount, ours.reason) == ("succeeded", "ours", 40_000, "half used")
    stripe_simulator.control.refund(charge_of(stripe_simulator, payment).id, 100)
    found = gateway.get_payment(payment)
    assert {(refund.our_id, refund.amount) for refund in found.refunds} == {("ours", 40_000), (None, 100)}
    assert sorted(kinds(found)) == [("payment", 100_000, 2_930), ("refund", -40_000, 0), ("refund", -100, 0)]

    stripe_simulator.control.fail_refund(ours.id)
    found = gateway.get_payment(payment)
    (failed,) = [refund for refund in found.refunds if refund.our_id == "ours"]
    assert (failed.state, failed.failure is not None) == ("failed", True)
    assert ("refund_failure", 40_000, 0) in kinds(found)
    with pytest.raises(PaymentRefused):
        gateway.create_refund(payment, refund_id="more", amount=100_000, reason="all", idempotency_key="more")


def test_a_dispute_shows_what_it_took_and_gave_back(
    gateway: StripeGateway, payment: str, card: str, stripe_simulator: RunningSimulator
) -> None:
    gateway.confirm_payment(payment, card, idempotency_key="confirm")
    dispute = stripe_simulator.control.dispute(charge_of(stripe_simulator, payment).id)
    (opened,) = gateway.get_payment(payment).disputes
    assert (opened.id, opened.status, opened.amount) == (dispute["id"], "needs_response", 100_000)
    assert ("dispute", -100_000, 1_500) in kinds(gateway.get_payment(payment))
    stripe_simulator.control.win(dispute["id"])
    found = gateway.get_payment(payment)
    assert [one.status for one in found.disputes] == ["won"]
    assert ("dispute_reversal", 100_000) in [(kind, amount) for kind, amount, _ in kinds(found)]


def test_an_inquiry_is_a_dispute_that_took_nothing(
    gateway: StripeGateway, payment: str, card: str, stripe_simulator: RunningSimulator
) -> None:
    gateway.confirm_payment(payment, card, idempotency_key="confirm")
    stripe_simulator.control.dispute(charge_of(stripe_simulator, payment).id, inquiry=True)
    found = gateway.get_payment(payment)
    assert [one.status for one in found.disputes] == ["warning_needs_response"]
    assert kinds(found) == [("payment", 100_000, 2_930)]


def test_saved_cards_are_listed_until_they_are_removed(
    gateway: StripeGateway, customer: str, card: str, stripe_simulator: RunningSimulator
) -> None:
    other = save_card(stripe_simulator, customer, "pm_card_amex")
    stripe_simulator.control.change_card(card, exp_month=3, exp_year=2031)
    listed = {found.id: found for found in gateway.list_cards(customer)}
    assert listed[card] == Card(card, "Visa", "4242", 3, 2031)
    assert listed[other].brand == "American Express"
    for _ in range(2):
        gateway.remove_card(card)
    assert [found.id for found in gateway.list_cards(customer)] == [other]
    gateway.remove_card("pm_unknown")
