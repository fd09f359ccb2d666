"""Checkout sessions through the API: how they are paid, fail, are saved with, run out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
from stripe.checkout import Session

from metering.payments.simulator.checkout_lines import make_line_item, taxed
from metering.payments.simulator.server import Simulator
from tests.simulator.control import Control
from tests.simulator.fixtures import RunningSimulator
from tests.simulator.shop import Shop

SHOP = "https://shop.example"


def line(cents: int = 5_000, quantity: int = 1, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A line that sells credit."""
    price = {"currency": "usd", "product_data": {"name": "Credit"}, "unit_amount": cents, **more}
    return {"price_data": price, "quantity": quantity}


def open_session(shop: Shop, **more: Any) -> Session:  # noqa: ANN401
    """A session of the shop's customer for fifty dollars, unless `more` says otherwise; None leaves out."""
    form: Any = {
        "mode": "payment",
        "customer": shop.customer,
        "line_items": [line()],
        "success_url": SHOP + "/paid?session={CHECKOUT_SESSION_ID}",
        "cancel_url": SHOP,
        **more,
    }
    for name in [name for name, value in form.items() if value is None]:
        del form[name]
    return shop.api.checkout.sessions.create(form)


def payment_of(shop: Shop, session: Any) -> stripe.PaymentIntent:  # noqa: ANN401
    """Its payment intent as it is now, with the charge."""
    return shop.api.payment_intents.retrieve(session["payment_intent"], {"expand": ["latest_charge"]})


def test_a_session_is_paid_with_what_it_was_given(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    session = open_session(
        shop,
        client_reference_id="top-up 1",
        metadata={"top_up": "1"},
        payment_intent_data={
            "description": "Credit",
            "metadata": {"top_up": "1"},
            "receipt_email": "mail@example.com",
            "statement_descriptor_suffix": "CREDIT",
        },
    )
    assert (session.status, session.payment_status, session.payment_intent) == ("open", "unpaid", None)
    assert session.url == f"{stripe_simulator.url}/c/pay/{session.id}"
    paid = stripe_simulator.control.pay(session.id, name="Jenny", postal_code="10001")
    assert (paid["status"], paid["payment_status"], paid["url"]) == ("complete", "paid", None)
    assert paid["customer_details"]["email"] == "buyer@example.com"
    payment = payment_of(shop, paid)
    assert (payment.status, payment.amount, payment.customer) == ("succeeded", 5_000, shop.customer)
    assert payment.metadata.to_dict() == {"top_up": "1"}
    assert isinstance(payment.latest_charge, stripe.Charge)
    assert payment.latest_charge.receipt_email == "mail@example.com"
    assert payment.latest_charge.calculated_statement_descriptor == "SIMULATOR* CREDIT"
    assert payment.latest_charge.billing_details.name == "Jenny"
    assert shop.types()[-5:] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
        "charge.updated",
    ]


def test_a_decline_leaves_the_session_open_for_another_try_of_the_same_payment(
    shop: Shop, stripe_simulator: RunningSimulator
) -> None:
    session = open_session(shop)
    declined = stripe_simulator.control.pay(session.id, "4000000000009995")
    assert (declined["status"], declined["payment_status"]) == ("open", "unpaid")
    error = payment_of(shop, declined).last_payment_error
    assert error is not None
    assert error.decline_code == "insufficient_funds"
    paid = stripe_simulator.control.pay(session.id)
    assert paid["payment_intent"] == declined["payment_intent"]
    assert paid["status"] == "complete"
    assert stripe_simulator.control.counts()["charges_succeeded"] == 1


def test_a_session_is_paid_once_and_not_after_it_is_closed(
    shop: Shop, stripe_simulator: RunningSimulator
) -> None:
    session = open_session(shop)
    stripe_simulator.control.pay(session.id)
    with pytest.raises(AssertionError, match="complete"):
        stripe_simulator.control.pay(session.id)
    with pytest.raises(stripe.InvalidRequestError, match="complete"):
        shop.api.checkout.sessions.expire(session.id)
    closed = shop.api.checkout.sessions.expire(open_session(shop).id)
    assert (closed.status, closed.url) == ("expired", None)
    with pytest.raises(AssertionError, match="expired"):
        stripe_simulator.control.pay(closed.id)


def test_who_presses_the_button_many_times_pays_once(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    page = str(open_session(shop).url)
    form = {"number": "4242424242424242", "expiry": "12 / 34", "cvc": "123", "country": "US"}

    def press(_: int) -> httpx.Response:
        return httpx.post(page, data=form, trust_env=False)

    with ThreadPoolExecutor(8) as hands:
        answers = list(hands.map(press, range(16)))
    assert {answer.status_code for answer in answers} == {303}
    assert {answer.headers["location"].partition("?")[0] for answer in answers} == {f"{SHOP}/paid"}
    assert stripe_simulator.control.counts()["charges_succeeded"] == 1


def test_a_session_outlives_the_simulator(tmp_path: Path) -> None:
    opened: list[str] = []
    for _ in range(2):
        with Simulator(data=tmp_path / "objects.jsonl") as simulator:
            control = Control(simulator.url)
            running = RunningSimulator(simulator, control)
            if not opened:
                opened.append(open_session(Shop(running)).id)
            else:
                assert control.pay(opened[0])["payment_status"] == "paid"
            control.close()


def test_expiry_cancels_the_payment_that_was_begun(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    begun = stripe_simulator.control.pay(open_session(shop).id, "4000002760003184", authenticates=None)
    payment = payment_of(shop, begun)
    assert payment.status == "requires_action"
    for act in (shop.api.payment_intents.cancel, shop.api.payment_intents.confirm):
        with pytest.raises(stripe.InvalidRequestError, match="expire the Checkout Session"):
            act(payment.id)
    stripe_simulator.control.expire(begun["id"])
    assert payment_of(shop, begun).status == "canceled"
    assert shop.types()[-2:] == ["payment_intent.canceled", "checkout.session.expired"]


def test_a_session_runs_out(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    now = open_session(shop).created
    session = open_session(shop, expires_at=now + 31 * 60)
    stripe_simulator.control.advance(32 * 60)
    assert shop.types()[-1] == "checkout.session.expired"
    assert shop.api.checkout.sessions.retrieve(session.id).status == "expired"
    assert len(shop.api.checkout.sessions.list({"status": "open"}).data) == 1


@pytest.mark.parametrize(("succeeds", "status"), [(True, "complete"), (False, "open")])
def test_3d_secure_decides(
    shop: Shop,
    stripe_simulator: RunningSimulator,
    succeeds: bool,
    status: str,
) -> None:
    session = open_session(shop)
    waiting = stripe_simulator.control.pay(session.id, "4000002760003184", authenticates=None)
    assert waiting["status"] == "open"
    stripe_simulator.control.authenticate(waiting["payment_intent"], succeeded=succeeds)
    assert shop.api.checkout.sessions.retrieve(session.id).status == status


@pytest.mark.parametrize("settles", [True, False])
def test_a_bank_account_pays_later(
    shop: Shop,
    stripe_simulator: RunningSimulator,
    settles: bool,
) -> None:
    control = stripe_simulator.control
    done = control.pay(open_session(shop).id, method="us_bank_account")
    assert (done["status"], done["payment_status"]) == ("complete", "unpaid")
    assert payment_of(shop, done).status == "processing"
    (control.settle_payment if settles else control.fail_payment)(done["payment_intent"])
    assert shop.api.checkout.sessions.retrieve(done["id"]).payment_status == ("paid" if settles else "unpaid")
    types = [name for name in shop.types() if name.startswith("checkout.")]
    outcome = "succeeded" if settles else "failed"
    assert types == ["checkout.session.completed", f"checkout.session.async_payment_{outcome}"]


@pytest.mark.parametrize(
    "asked",
    [
        {"payment_intent_data": {"setup_future_usage": "off_session"}},
        {"payment_method_options": {"card": {"setup_future_usage": "off_session"}}},
    ],
)
def test_a_card_saved_while_paying_can_be_charged_without_its_holder(
    shop: Shop, stripe_simulator: RunningSimulator, asked: dict[str, Any]
) -> None:
    stripe_simulator.control.pay(open_session(shop, **asked).id, "4000002500003155")
    (saved,) = shop.api.customers.payment_methods.list(shop.customer).data
    assert saved.allow_redisplay == "limited"
    assert shop.pay(saved.id, off_session=True).status == "succeeded"


def test_the_box_below_the_card_saves_it_and_nothing_else_does(
    shop: Shop, stripe_simulator: RunningSimulator
) -> None:
    offered = {"saved_payment_method_options": {"payment_method_save": "enabled"}}
    stripe_simulator.control.pay(open_session(shop, **offered).id)
    assert shop.api.customers.payment_methods.list(shop.customer).data == []
    stripe_simulator.control.pay(open_session(shop, **offered).id, saves=True)
    (saved,) = shop.api.customers.payment_methods.list(shop.customer).data
    assert saved.allow_redisplay == "always"


def test_setup_mode_saves_a_card_and_charges_nothing(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    session = open_session(
        shop,
        mode="setup",
        line_items=None,
        allowed_payment_method_types=["card"],
        setup_intent_data={"metadata": {"account": "1"}},
    )
    assert isinstance(session.setup_intent, str)
    setup = shop.api.setup_intents.retrieve(session.setup_intent)
    assert (setup.status, setup.metadata and setup.metadata.to_dict()) == (
        "requires_payment_method",
        {"account": "1"},
    )
    failed = stripe_simulator.control.pay(session.id, "4000000000000002")
    assert failed["status"] == "open"
    done = stripe_simulator.control.pay(session.id, "4000002500003155")
    assert (done["status"], done["payment_status"]) == ("complete", "no_payment_required")
    (saved,) = shop.api.customers.payment_methods.list(shop.customer).data
    assert shop.pay(saved.id, off_session=True).status == "succeeded"
    assert stripe_simulator.control.counts()["charges_succeeded"] == 1


def test_tax_comes_with_the_address_and_the_customer_keeps_it(
    shop: Shop, stripe_simulator: RunningSimulator
) -> None:
    with stripe_simulator.tax("8.25"):
        asked = {"automatic_tax": {"enabled": True}, "customer_update": {"address": "auto"}}
        session = open_session(shop, **asked)
        assert (session.amount_total, session.automatic_tax.status) == (5_000, "requires_location_inputs")
        paid = stripe_simulator.control.pay(session.id, postal_code="10001")
        assert (paid["amount_total"], paid["total_details"]["amount_tax"]) == (5_413, 413)
        assert payment_of(shop, paid).amount == 5_413
        (bought,) = shop.api.checkout.sessions.line_items.list(session.id).data
        assert (bought.amount_subtotal, bought.amount_tax, bought.amount_total) == (5_000, 413, 5_413)
        address = shop.api.customers.retrieve(shop.customer).address
        assert address is not None
        assert address.postal_code == "10001"
        # Now that the address is known, the tax is there from the start.
        assert open_session(shop, **asked).amount_total == 5_413


@pytest.mark.parametrize(
    ("cents", "behavior", "tax", "total"),
    [
        (5_000, "exclusive", 413, 5_413),
        (1, "exclusive", 0, 1),
        (5_413, "inclusive", 413, 5_413),
        (100, "unspecified", 8, 108),
    ],
)
def test_tax_is_rounded_to_the_cent(
    stripe_simulator: RunningSimulator, cents: int, behavior: str, tax: int, total: int
) -> None:
    made = make_line_item(stripe_simulator.simulator.state, line(cents, tax_behavior=behavior))
    with stripe_simulator.tax("8.25") as percent:
        assert taxed(made, percent)["amount_tax"] == tax
        assert taxed(made, percent)["amount_total"] == total


def test_a_guest_is_no_customer_unless_one_is_wanted(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    guest = open_session(shop, customer=None, customer_email="guest@example.com")
    paid = stripe_simulator.control.pay(guest.id)
    assert (paid["customer"], paid["customer_details"]["email"]) == (None, "guest@example.com")
    wanted = open_session(shop, customer=None, customer_creation="always")
    paid = stripe_simulator.control.pay(wanted.id, email="new@example.com")
    assert shop.api.customers.retrieve(paid["customer"]).email == "new@example.com"


def test_sessions_are_found_and_expanded(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    paid = stripe_simulator.control.pay(open_session(shop, line_items=[line(1_000, quantity=3)]).id)
    open_session(shop)
    for wanted in (
        {"payment_intent": paid["payment_intent"]},
        {"status": "complete"},
        {"customer_details": {"email": "buyer@example.com"}, "limit": 1, "starting_after": "latest"},
    ):
        if "starting_after" in wanted:
            wanted["starting_after"] = shop.api.checkout.sessions.list({"limit": 1}).data[0].id
        form: Any = {**wanted, "expand": ["data.line_items", "data.payment_intent.latest_charge"]}
        (found,) = shop.api.checkout.sessions.list(form).data
        assert found.id == paid["id"]
        assert found.line_items is not None
        assert [(item.quantity, item.amount_total) for item in found.line_items.data] == [(3, 3_000)]
        assert isinstance(found.payment_intent, stripe.PaymentIntent)
        assert isinstance(found.payment_intent.latest_charge, stripe.Charge)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"line_items": None}, "line_items"),
        ({"line_items": [line(49)]}, "at least \\$0.50"),
        ({"success_url": None}, "success_url"),
        ({"success_url": "javascript:alert(1)"}, "Not a valid URL"),
        ({"expires_at": 1}, "at least 30 minutes"),
        ({"expires_at": 99_999_999_999}, "less than 24 hours"),
        ({"customer_email": "a@b.example"}, "only specify one"),
        ({"customer": "cus_none"}, "No such customer"),
        ({"setup_intent_data": {}, "mode": "subscription"}, "mode"),
        ({"mode": "setup"}, "line_items"),
        ({"mode": "setup", "line_items": None}, "currency"),
        ({"automatic_tax": {"enabled": True}}, "customer_update"),
        ({"invoice_creation": {"enabled": True}}, "not simulated"),
        ({"ui_mode": "elements"}, "ui_mode"),
        ({"discounts": [{"coupon": "x"}]}, "not simulated"),
        ({"line_items": [{**line(), "tax_rates": ["txr_1"]}]}, "not simulated"),
        ({"line_items": [{**line(), "nonsense": "1"}]}, "unknown parameter"),
        ({"payment_intent_data": {"statement_descriptor_suffix": "<>"}}, "statement_descriptor_suffix"),
    ],
)
def test_what_stripe_would_not_open_is_refused(shop: Shop, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=message):
        open_session(shop, **wrong)
    assert shop.api.checkout.sessions.list({}).data == []
