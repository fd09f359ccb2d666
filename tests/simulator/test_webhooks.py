"""Webhooks: signed as Stripe's, sent again until they are taken, and mistreated on demand."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.simulator.fixtures import RunningSimulator
from tests.simulator.receiver import Receiver
from tests.simulator.shop import Shop


def test_the_sdk_accepts_the_signature_and_reads_the_event(
    shop: Shop, receiver: Receiver, stripe_simulator: RunningSimulator
) -> None:
    shop.pay()
    receiver.wait_for(4)
    body, signature = receiver.arrived[-1]
    event = stripe_simulator.client().construct_event(body, signature, stripe_simulator.secret)
    assert event.type == "charge.updated"
    assert (event.livemode, event.api_version) == (False, stripe.api_version)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe_simulator.client().construct_event(body + b" ", signature, stripe_simulator.secret)


def test_an_event_shows_the_object_as_it_was(shop: Shop, receiver: Receiver) -> None:
    payment = shop.pay()
    receiver.wait_for(4)
    shown = {event["type"]: event["data"]["object"] for event in receiver.events}
    assert shown["payment_intent.created"]["status"] == "requires_payment_method"
    assert shown["payment_intent.succeeded"]["status"] == "succeeded"
    assert shown["charge.succeeded"]["balance_transaction"] is None
    assert shown["charge.updated"]["balance_transaction"] is not None
    assert not any(name.startswith("_") for kept in shown.values() for name in kept)
    assert shown["charge.updated"]["payment_intent"] == payment.id


def test_an_event_that_was_not_taken_comes_again(
    shop: Shop, receiver: Receiver, stripe_simulator: RunningSimulator
) -> None:
    receiver.statuses = [500, 302]
    made = shop.api.customers.create({})
    receiver.wait_for(3)
    stripe_simulator.control.wait_for_deliveries()
    assert len({event["id"] for event in receiver.events}) == 1
    assert receiver.events[0]["data"]["object"]["id"] == made.id
    (sent,) = stripe_simulator.control.deliveries()
    assert (sent["status"], sent["attempts"], sent["response_status"]) == ("delivered", 3, 200)
    assert shop.api.events.retrieve(sent["event_id"]).pending_webhooks == 0


def test_dropped_events_are_in_the_list_alone(
    shop: Shop, receiver: Receiver, stripe_simulator: RunningSimulator
) -> None:
    stripe_simulator.control.webhooks(drop=True, types=["payment_intent.succeeded"])
    shop.pay()
    stripe_simulator.control.wait_for_deliveries()
    assert receiver.types == ["payment_intent.created", "charge.succeeded", "charge.updated"]
    missed = shop.api.events.list({"types": ["payment_intent.succeeded"], "delivery_success": False}).data
    assert len(missed) == 1
    stripe_simulator.control.redeliver(missed[0].id)
    receiver.wait_for(4)
    assert receiver.types[-1] == "payment_intent.succeeded"


def test_events_come_twice(shop: Shop, receiver: Receiver, stripe_simulator: RunningSimulator) -> None:
    stripe_simulator.control.webhooks(duplicate=2)
    shop.api.customers.create({})
    receiver.wait_for(3)
    assert len({event["id"] for event in receiver.events}) == 1


def test_held_events_come_when_they_are_released_newest_first(
    shop: Shop, receiver: Receiver, stripe_simulator: RunningSimulator
) -> None:
    control = stripe_simulator.control
    control.webhooks(hold=True)
    shop.pay()
    assert [sent["status"] for sent in control.deliveries()] == ["held"] * 4
    first = control.deliveries()[0]["event_id"]
    assert control.release(first) == 1
    assert control.release(order="newest") == 3
    control.wait_for_deliveries()
    assert receiver.types == [
        "payment_intent.created",
        "charge.updated",
        "payment_intent.succeeded",
        "charge.succeeded",
    ]


def test_reordered_events_overtake_each_other_and_all_arrive(
    shop: Shop, receiver: Receiver, stripe_simulator: RunningSimulator
) -> None:
    stripe_simulator.control.webhooks(reorder=True)
    for _ in range(3):
        shop.pay()
    receiver.wait_for(12)
    sent = [delivery["event_id"] for delivery in stripe_simulator.control.deliveries()]
    arrived = [event["id"] for event in receiver.events]
    assert sorted(arrived) == sorted(sent)
    assert arrived != sent


def test_delayed_events_come_later(
    shop: Shop, receiver: Receiver, stripe_simulator: RunningSimulator
) -> None:
    stripe_simulator.control.webhooks(delay_seconds=0.3)
    shop.api.customers.create({})
    assert receiver.arrived == []
    receiver.wait_for(1)


def test_an_endpoint_made_by_the_api_has_a_secret_of_its_own(
    shop: Shop, receiver: Receiver, stripe_simulator: RunningSimulator
) -> None:
    endpoints = shop.api.webhook_endpoints
    made = endpoints.create({"url": receiver.url, "enabled_events": ["customer.updated"]})
    assert str(made.secret).startswith("whsec_")
    assert getattr(endpoints.retrieve(made.id), "secret", None) is None
    shop.api.customers.update(shop.customer, {"name": "A"})
    receiver.wait_for(2)
    accepted = [_accepts(body, signature, str(made.secret)) for body, signature in receiver.arrived]
    assert sorted(accepted) == [False, True]
    endpoints.delete(made.id)
    assert made.id not in [endpoint.id for endpoint in endpoints.list({}).data]


def _accepts(body: bytes, signature: str, secret: str) -> bool:
    verify: Any = stripe.WebhookSignature.verify_header
    try:
        verify(body.decode(), signature, secret, 300)
    except stripe.SignatureVerificationError:
        return False
    return True
