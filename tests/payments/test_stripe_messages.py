"""Messages: only Stripe's own, and recent; whom and what each is about; all of them again, for the sweep."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import stripe

from metering import clock
from metering.errors import InvalidSignature
from metering.payments.gateway import Message
from metering.payments.stripe_gateway import StripeGateway
from metering.payments.stripe_messages import message_of
from tests.payments.test_stripe_gateway import ACCOUNT, TOP_UP, create_payment, save_card
from tests.simulator.fixtures import SECRET, RunningSimulator

OURS = {"account_id": ACCOUNT, "top_up_id": TOP_UP}


def body(type: str = "payment_intent.succeeded", /, previous: object = None, **about: object) -> str:
    """An event as Stripe sends it."""
    data: dict[str, Any] = {"object": {"id": "pi_1", "object": type.rpartition(".")[0], **about}}
    if previous is not None:
        data["previous_attributes"] = previous
    return json.dumps(
        {"id": "evt_1", "object": "event", "type": type, "created": 1_700_000_000, "data": data}
    )


def signed(payload: str, secret: str = SECRET, *, seconds_old: int = 0) -> str:
    """The header that goes with it."""
    at = int(time.time()) - seconds_old
    return str(stripe.WebhookSignature.generate_signature_header(payload, secret, at))


def test_a_signed_message_is_read(gateway: StripeGateway) -> None:
    payload = body(metadata=OURS, customer="cus_1")
    message = gateway.read_message(payload.encode(), signed(payload))
    assert message == gateway.parse_message(payload)
    assert (message.id, message.type, message.payload) == ("evt_1", "payment_intent.succeeded", payload)
    assert (message.payment_id, message.customer_id) == ("pi_1", "cus_1")
    assert (message.account_id, message.top_up_id) == (ACCOUNT, TOP_UP)


@pytest.mark.parametrize("seconds_old", [0, 290])
def test_a_signature_may_be_five_minutes_old(gateway: StripeGateway, seconds_old: int) -> None:
    payload = body()
    assert gateway.read_message(payload.encode(), signed(payload, seconds_old=seconds_old)).id == "evt_1"


@pytest.mark.parametrize(
    ("sent", "header"),
    [
        (body(), lambda: signed(body(), "whsec_other")),
        (body(), lambda: signed(body(), seconds_old=310)),
        (body(), lambda: signed(body("charge.succeeded"))),
        (body(), lambda: ""),
        (body(), lambda: "t=now,v1=0"),
        (body(), lambda: f"v1={signed(body()).rpartition('=')[2]}"),
        ("\xff", lambda: signed(body())),
        ("no event", lambda: signed("no event")),
        ("{}", lambda: signed("{}")),
        ("[]", lambda: signed("[]")),
    ],
)
def test_a_message_of_somebody_else_or_of_long_ago_is_refused(
    gateway: StripeGateway, sent: str, header: Callable[[], str]
) -> None:
    with pytest.raises(InvalidSignature):
        gateway.read_message(sent.encode("latin-1"), header())


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (body("charge.succeeded", payment_intent="pi_2", customer="cus_1"), ("pi_2", None, "cus_1")),
        (body("charge.succeeded", payment_intent=None, customer=None), (None, None, None)),
        (body("charge.succeeded", payment_intent={"id": "pi_2"}), ("pi_2", None, None)),
        (body("refund.updated", payment_intent="pi_2"), ("pi_2", None, None)),
        (body("charge.dispute.created", object="dispute", payment_intent="pi_2"), ("pi_2", None, None)),
        (
            body("checkout.session.completed", id="cs_1", payment_intent="pi_2", customer="cus_1"),
            ("pi_2", "cs_1", "cus_1"),
        ),
        (body("setup_intent.succeeded", customer="cus_1"), (None, None, "cus_1")),
        (body("payment_method.attached", customer="cus_1"), (None, None, "cus_1")),
        (
            body("payment_method.detached", {"customer": "cus_1"}, customer=None),
            (None, None, "cus_1"),
        ),
        (body("customer.updated", id="cus_1"), (None, None, "cus_1")),
        (body("some.news"), (None, None, None)),
    ],
)
def test_a_message_says_what_it_is_about(
    payload: str, expected: tuple[str | None, str | None, str | None]
) -> None:
    message = message_of(payload)
    assert (message.payment_id, message.session_id, message.customer_id) == expected


def test_all_messages_are_there_again_oldest_first(
    gateway: StripeGateway, stripe_simulator: RunningSimulator
) -> None:
    since = clock.now() - timedelta(seconds=1)
    customer = gateway.create_customer(ACCOUNT, name="Ada", email=None, idempotency_key="customer")
    card = save_card(stripe_simulator, customer)
    for number in range(25):  # more events than a page holds
        payment = create_payment(gateway, customer, key=f"create-{number}")
        gateway.confirm_payment(payment, card, idempotency_key=f"confirm-{number}")
    messages = list(gateway.iter_messages(since))
    types = [message.type for message in messages]
    assert len({message.id for message in messages}) == len(messages) > 100
    assert types[0] == "customer.created"
    assert [message.occurred_at for message in messages] == sorted(
        message.occurred_at for message in messages
    )
    first = types.index("payment_intent.created")
    assert first < types.index("payment_intent.succeeded")
    assert (messages[first].account_id, messages[first].top_up_id) == (ACCOUNT, TOP_UP)
    assert list(gateway.iter_messages(clock.now() + timedelta(seconds=10))) == []


def test_a_swept_message_is_the_one_that_is_delivered(
    gateway: StripeGateway, stripe_simulator: RunningSimulator
) -> None:
    gateway.create_customer(ACCOUNT, name="Ada", email=None, idempotency_key="customer")
    (swept,) = gateway.iter_messages(clock.now() - timedelta(minutes=1))
    assert isinstance(swept, Message)
    assert (swept.customer_id is not None, swept.account_id) == (True, ACCOUNT)
    assert gateway.parse_message(swept.payload) == swept
