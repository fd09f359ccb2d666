"""Everything the simulator answers is as the SDK annotates it: all kinds, in all states, and in events."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest
import stripe

from metering.payments.simulator.calls import resources
from metering.payments.simulator.cards import CARDS
from tests.simulator.fixtures import RunningSimulator
from tests.simulator.honesty import lies_of
from tests.simulator.shop import Shop
from tests.simulator.test_checkout import open_session

# Kinds that Stripe lists, and where.
LISTS = {
    "balance_transaction": "/v1/balance_transactions",
    "charge": "/v1/charges",
    "checkout.session": "/v1/checkout/sessions",
    "customer": "/v1/customers",
    "dispute": "/v1/disputes",
    "event": "/v1/events",
    "payment_intent": "/v1/payment_intents",
    "payment_method": "/v1/customers/{customer}/payment_methods",
    "refund": "/v1/refunds",
    "setup_intent": "/v1/setup_intents",
    "webhook_endpoint": "/v1/webhook_endpoints",
}
SINGLE = {"balance": "/v1/balance"}


def pay_with_every_card(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    """On-session, off-session, saved, and in Checkout; what the issuer refuses is refused."""
    for card in CARDS:
        for session in (
            open_session(shop),
            open_session(shop, mode="setup", line_items=None, currency="usd"),
        ):
            stripe_simulator.control.pay(session.id, card.number, authenticates=card.brand == "visa")
        for options in ({}, {"off_session": True}, {"setup_future_usage": "off_session"}):
            method = shop.api.payment_methods.create(
                {
                    "type": "card",
                    "card": {"number": card.number, "exp_month": 1, "exp_year": 2_090, "cvc": "123"},
                }
            )
            with contextlib.suppress(stripe.CardError):
                shop.pay(method.id, **options)


def dispute_and_refund(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    """Every dispute status, every refund status."""
    control = stripe_simulator.control
    for inquiry in (False, True):
        for move in (control.win, control.lose):
            disputed = control.dispute(str(shop.pay().latest_charge), inquiry=inquiry)
            if inquiry and move == control.win:
                control.escalate(disputed["id"])
            move(disputed["id"])
    for number, settle in (("7726", control.settle_refund), ("7726", control.fail_refund), ("5126", None)):
        charge = stripe_simulator.control.pay(open_session(shop).id, f"400000000000{number}")
        made = shop.api.refunds.create({"payment_intent": charge["payment_intent"], "amount": 100})
        if settle:
            settle(made.id)
    canceled = shop.api.refunds.create({"payment_intent": pending(shop, stripe_simulator), "amount": 100})
    shop.api.refunds.cancel(canceled.id)


def pending(shop: Shop, stripe_simulator: RunningSimulator) -> str:
    """A payment whose refunds wait."""
    return str(stripe_simulator.control.pay(open_session(shop).id, "4000000000007726")["payment_intent"])


def begin_and_end(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    """What is canceled, expires, is detached, fails later, has every option."""
    control = stripe_simulator.control
    shop.api.payment_intents.cancel(
        shop.api.payment_intents.create({"amount": 1_000, "currency": "usd", "metadata": {"a": "b"}}).id
    )
    shop.api.setup_intents.cancel(shop.api.setup_intents.create({"customer": shop.customer}).id)
    control.expire(open_session(shop, allow_promotion_codes=True, client_reference_id="1").id)
    control.pay(open_session(shop, customer=None, customer_creation="always").id)
    later = control.pay(open_session(shop).id, method="us_bank_account")
    control.fail_payment(later["payment_intent"])
    later = control.pay(open_session(shop).id, method="us_bank_account")
    control.settle_payment(later["payment_intent"])
    with stripe_simulator.tax("8.25"):
        asked = {"automatic_tax": {"enabled": True}, "customer_update": {"address": "auto"}}
        saving = {"saved_payment_method_options": {"payment_method_save": "enabled"}}
        control.pay(open_session(shop, **asked, **saving).id, saves=True)
    saved = shop.save("pm_card_visa")
    control.change_card(saved, exp_month=5)
    shop.api.payment_methods.detach(saved)
    shop.api.webhook_endpoints.create({"url": "http://127.0.0.1:9/", "enabled_events": ["charge.failed"]})


@pytest.mark.parametrize("live", [pay_with_every_card, dispute_and_refund, begin_and_end])
def test_every_answer_is_as_the_sdk_annotates_it(
    shop: Shop, stripe_simulator: RunningSimulator, live: Callable[[Shop, RunningSimulator], None]
) -> None:
    live(shop, stripe_simulator)
    found: dict[str, set[str]] = {}
    for kind, path in {**LISTS, **SINGLE}.items():
        for answer in pages(stripe_simulator, path.format(customer=shop.customer)):
            for lie in lies_of(answer):
                found.setdefault(kind, set()).add(lie)
    assert found == {}


def pages(stripe_simulator: RunningSimulator, path: str) -> list[dict[str, Any]]:
    """All of a list; what isn't one, whole."""
    answers = [stripe_simulator.call("GET", f"{path}?limit=100" if path != "/v1/balance" else path).json()]
    while answers[-1].get("has_more"):
        last = answers[-1]["data"][-1]["id"]
        answers.append(stripe_simulator.call("GET", f"{path}?limit=100&starting_after={last}").json())
    return answers


def test_what_an_error_carries_is_honest(stripe_simulator: RunningSimulator) -> None:
    form = {"amount": "1000", "currency": "usd", "confirm": "true", "allowed_payment_method_types[]": "card"}
    error = stripe_simulator.call(
        "POST", "/v1/payment_intents", {**form, "payment_method": "pm_card_chargeDeclined"}
    ).json()["error"]
    assert lies_of(error["payment_intent"]) + lies_of(error["payment_method"]) == []


def test_no_kind_goes_unchecked() -> None:
    kept = {name for name in resources() if not name.startswith("_")}
    assert kept == set(LISTS) | set(SINGLE)


def test_what_is_expanded_is_honest_too(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    paid = stripe_simulator.control.pay(open_session(shop).id)
    control = stripe_simulator.control
    control.win(control.dispute(str(shop.pay().latest_charge))["id"])
    refund = shop.api.refunds.create({"payment_intent": paid["payment_intent"], "amount": 100})
    for path, expanded in (
        (f"checkout/sessions/{paid['id']}", "line_items customer payment_intent.latest_charge.refunds"),
        (
            f"payment_intents/{paid['payment_intent']}",
            "latest_charge.balance_transaction payment_method customer",
        ),
        (f"refunds/{refund.id}", "balance_transaction charge payment_intent"),
        ("balance_transactions", "data.source"),
        ("disputes", "data.charge data.payment_intent"),
        (f"checkout/sessions/{paid['id']}/line_items", ""),
    ):
        query = "&".join(f"expand[]={name}" for name in expanded.split())
        answer = stripe_simulator.call("GET", f"/v1/{path}?{query}")
        assert answer.is_success, answer.text
        assert lies_of(answer.json()) == []


def test_the_check_finds_every_sort_of_lie(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    shop.pay()
    charge = stripe_simulator.call("GET", "/v1/charges").json()["data"][0]

    def lied(change: Callable[[Any], object]) -> list[str]:
        changed = copy.deepcopy(charge)
        change(changed)
        return lies_of(changed)

    assert lied(lambda it: None) == []
    assert lied(lambda it: it.update(nonsense=1)) == ["charge.nonsense: not Stripe's"]
    assert lied(lambda it: it.pop("amount")) == ["charge.amount: absent"]
    assert lied(lambda it: it.update(amount="1")) == ["charge.amount: '1' is no int"]
    assert lied(lambda it: it.update(amount=True)) == ["charge.amount: True is no int"]
    assert lied(lambda it: it.update(amount=None)) == ["charge.amount: None is no int"]
    assert lied(lambda it: it.update(failure_code=None)) == []
    assert lied(lambda it: it.update(customer=7)) != []
    assert "is none of" in lied(lambda it: it.update(status="paid"))[0]
    assert lied(lambda it: it["outcome"].update(nonsense=1)) == ["charge.outcome.nonsense: not Stripe's"]
    assert lied(lambda it: it["metadata"].update(a=1)) == ["charge.metadata.a: 1 is no str"]
    assert lied(lambda it: it.update(object="nonsense")) == ["nonsense: the SDK knows no nonsense"]
    assert lies_of({"object": "list", "url": "/", "has_more": False, "data": [{"object": "charge"}]}) != []
