"""Payments by test card: which succeed, which fail and how, and what each leaves behind."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.simulator.fixtures import RunningSimulator
from tests.simulator.shop import Shop

DECLINES = [
    ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
    ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
    ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
    ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
    ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
]


def test_a_payment_has_a_charge_a_fee_and_its_events(shop: Shop) -> None:
    payment = shop.pay(metadata={"top_up": "1"}, statement_descriptor_suffix="CREDIT")
    assert (payment.status, payment.amount_received) == ("succeeded", 1_000)
    charge = shop.charge_of(payment)
    booked = charge.balance_transaction
    assert isinstance(booked, stripe.BalanceTransaction)
    assert (booked.amount, booked.fee, booked.net) == (1_000, 59, 941)
    assert (charge.paid, charge.calculated_statement_descriptor) == (True, "SIMULATOR* CREDIT")
    assert charge.metadata["top_up"] == "1"
    assert charge.payment_method_details is not None
    assert charge.payment_method_details.card is not None
    assert charge.payment_method_details.card.last4 == "4242"
    assert shop.types()[1:] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "charge.updated",
    ]


def test_the_balance_transaction_comes_after_the_answer_unless_capture_is_automatic(shop: Shop) -> None:
    for capture, is_there in (("automatic_async", False), ("automatic", True)):
        payment = shop.pay(capture_method=capture, expand=["latest_charge"])
        assert isinstance(payment.latest_charge, stripe.Charge)
        assert (payment.latest_charge.balance_transaction is not None) is is_there


@pytest.mark.parametrize(("card", "code", "decline_code"), DECLINES)
def test_a_declined_card_is_a_402_with_the_intent_in_it(
    shop: Shop, card: str, code: str, decline_code: str
) -> None:
    with pytest.raises(stripe.CardError) as raised:
        shop.pay(card)
    error = raised.value.error
    assert error is not None
    assert (raised.value.http_status, error.code, error.decline_code) == (402, code, decline_code)
    assert error.payment_intent is not None
    assert error.payment_intent.status == "requires_payment_method"
    kept = shop.api.payment_intents.retrieve(error.payment_intent.id, {"expand": ["latest_charge"]})
    assert kept.last_payment_error is not None
    assert kept.last_payment_error.decline_code == decline_code
    assert isinstance(kept.latest_charge, stripe.Charge)
    assert (kept.latest_charge.status, kept.latest_charge.failure_code) == ("failed", code)
    assert shop.types()[-2:] == ["charge.failed", "payment_intent.payment_failed"]


def test_a_declining_card_is_refused_when_it_is_attached_but_one_that_fails_later_is_not(shop: Shop) -> None:
    with pytest.raises(stripe.CardError, match="declined"):
        shop.save("pm_card_visa_chargeDeclined")
    card = shop.save("pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError, match="declined"):
        shop.pay(card, off_session=True)


def test_a_declined_intent_can_be_confirmed_with_another_card(shop: Shop) -> None:
    with pytest.raises(stripe.CardError) as raised:
        shop.pay("pm_card_visa_chargeDeclined")
    assert raised.value.error is not None
    assert raised.value.error.payment_intent is not None
    intent_id = raised.value.error.payment_intent.id
    done = shop.api.payment_intents.confirm(intent_id, {"payment_method": "pm_card_mastercard"})
    assert (done.status, done.last_payment_error) == ("succeeded", None)


@pytest.mark.parametrize("ending", ["succeeded", "canceled"])
def test_an_intent_that_has_ended_is_not_confirmed_or_canceled(shop: Shop, ending: str) -> None:
    if ending == "succeeded":
        intent = shop.pay()
    else:
        made = shop.pay(confirm=False)
        intent = shop.api.payment_intents.cancel(made.id, {"cancellation_reason": "abandoned"})
    assert intent.status == ending
    for act in (shop.api.payment_intents.confirm, shop.api.payment_intents.cancel):
        with pytest.raises(stripe.InvalidRequestError) as raised:
            act(intent.id)
        assert raised.value.code == "payment_intent_unexpected_state"


def test_off_session_a_card_that_wants_authentication_is_declined(shop: Shop) -> None:
    card = shop.save("pm_card_authenticationRequired")
    with pytest.raises(stripe.CardError) as raised:
        shop.pay(card, off_session=True)
    error = raised.value.error
    assert error is not None
    assert error.code == "authentication_required"
    assert error.payment_intent is not None
    assert error.payment_intent.status == "requires_payment_method"
    assert error.payment_method is not None
    assert error.payment_method.id == card


def test_on_session_it_asks_the_customer_who_passes_or_fails(
    shop: Shop, stripe_simulator: RunningSimulator
) -> None:
    for passes, status in ((True, "succeeded"), (False, "requires_payment_method")):
        asked = shop.pay("pm_card_authenticationRequired", return_url="https://example.com/back")
        assert asked.status == "requires_action"
        assert asked.next_action is not None
        assert asked.next_action.redirect_to_url is not None
        assert str(asked.next_action.redirect_to_url.url).startswith(stripe_simulator.url)
        stripe_simulator.control.authenticate(asked.id, succeeded=passes)
        assert shop.api.payment_intents.retrieve(asked.id).status == status
    assert stripe_simulator.control.counts()["charges_succeeded"] == 1


def test_a_card_set_up_once_pays_off_session_without_authentication(
    shop: Shop, stripe_simulator: RunningSimulator
) -> None:
    saved = shop.save("pm_card_authenticationRequiredOnSetup")
    with pytest.raises(stripe.CardError, match="authentication"):
        shop.pay(saved, off_session=True)
    setup = shop.api.setup_intents.create(
        {
            "customer": shop.customer,
            "payment_method": saved,
            "allowed_payment_method_types": ["card"],
            "confirm": True,
            "return_url": "https://example.com/back",
        }
    )
    assert setup.status == "requires_action"
    stripe_simulator.control.authenticate(setup.id)
    assert shop.pay(saved, off_session=True).status == "succeeded"


def test_a_payment_method_belongs_to_one_customer_or_is_used_once(shop: Shop) -> None:
    saved = shop.save("pm_card_visa")
    other = shop.api.customers.create({})
    with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
        shop.pay(saved, customer=other.id)
    loose = shop.api.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    shop.pay(loose.id)
    with pytest.raises(stripe.InvalidRequestError, match="previously used"):
        shop.pay(loose.id)
    shop.api.payment_methods.detach(saved)
    with pytest.raises(stripe.InvalidRequestError, match="previously used"):
        shop.pay(saved)


def test_saving_with_a_payment_attaches_the_card(shop: Shop) -> None:
    payment = shop.pay(setup_future_usage="off_session")
    cards = shop.api.payment_methods.list({"customer": shop.customer, "type": "card"}).data
    assert [card.id for card in cards] == [payment.payment_method]


def test_the_default_card_is_the_customers_and_goes_when_it_is_detached(shop: Shop) -> None:
    saved = shop.save("pm_card_visa")
    settings: Any = {"invoice_settings": {"default_payment_method": saved}}
    shop.api.customers.update(shop.customer, settings)
    expanded = shop.api.customers.retrieve(
        shop.customer, {"expand": ["invoice_settings.default_payment_method"]}
    )
    assert expanded.invoice_settings is not None
    assert isinstance(expanded.invoice_settings.default_payment_method, stripe.PaymentMethod)
    shop.api.payment_methods.detach(saved)
    left = shop.api.customers.retrieve(shop.customer).invoice_settings
    assert left is not None
    assert left.default_payment_method is None
    with pytest.raises(stripe.InvalidRequestError, match="must be attached"):
        shop.api.customers.update(shop.customer, settings)


def test_the_same_number_has_the_same_fingerprint_and_a_wrong_one_is_refused(shop: Shop) -> None:
    def card(number: str, year: int = 2035) -> stripe.PaymentMethod:
        given: Any = {"number": number, "exp_month": 5, "exp_year": year, "cvc": "123"}
        return shop.api.payment_methods.create({"type": "card", "card": given})

    made = [card(number).card for number in ("4242424242424242", "4242424242424242", "5555555555554444")]
    prints = [one.fingerprint for one in made if one is not None]
    assert prints[0] == prints[1] != prints[2]
    for number, year, code in (
        ("4242424242424241", 2035, "incorrect_number"),
        ("4111111111111111", 2035, "card_declined"),
        ("4242424242424242", 2020, "invalid_expiry_year"),
    ):
        with pytest.raises(stripe.CardError) as raised:
            card(number, year)
        assert raised.value.code == code


def test_a_saved_card_can_begin_to_decline_and_be_renewed(
    shop: Shop, stripe_simulator: RunningSimulator
) -> None:
    saved = shop.save("pm_card_visa")
    assert shop.pay(saved, off_session=True).status == "succeeded"
    stripe_simulator.control.change_card(saved, decline="insufficient_funds")
    with pytest.raises(stripe.CardError, match="insufficient funds"):
        shop.pay(saved, off_session=True)
    stripe_simulator.control.change_card(saved, decline="", exp_month=1, exp_year=2040)
    assert shop.pay(saved, off_session=True).status == "succeeded"
    renewed = shop.api.payment_methods.retrieve(saved).card
    assert renewed is not None
    assert renewed.exp_year == 2040
    assert "payment_method.automatically_updated" in shop.types()


@pytest.mark.parametrize("arrives", [True, False])
def test_a_payment_from_a_bank_account_is_decided_later(
    shop: Shop, stripe_simulator: RunningSimulator, arrives: bool
) -> None:
    payment = shop.pay("pm_usBankAccount", allowed_payment_method_types=["us_bank_account"])
    assert payment.status == "processing"
    if arrives:
        stripe_simulator.control.settle_payment(payment.id)
    else:
        stripe_simulator.control.fail_payment(payment.id)
    ended = shop.api.payment_intents.retrieve(payment.id)
    assert ended.status == ("succeeded" if arrives else "requires_payment_method")
    assert stripe_simulator.control.counts()["charges_succeeded"] == int(arrives)


@pytest.mark.parametrize(("amount", "code"), [(49, "amount_too_small"), (100_000_000, "amount_too_large")])
def test_an_amount_has_stripes_bounds(shop: Shop, amount: int, code: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as raised:
        shop.pay(amount=amount)
    assert raised.value.code == code


def test_an_intent_for_all_methods_wants_a_return_url(shop: Shop) -> None:
    form: Any = {"amount": 1_000, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        shop.api.payment_intents.create(form)
    form["automatic_payment_methods"] = {"enabled": True, "allow_redirects": "never"}
    assert shop.api.payment_intents.create(form).status == "succeeded"
