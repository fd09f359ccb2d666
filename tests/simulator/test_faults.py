"""Faults: what a caller sees, and what has happened all the same."""

from __future__ import annotations

import time

import pytest
import stripe

from tests.simulator.fixtures import RunningSimulator
from tests.simulator.receiver import Receiver
from tests.simulator.shop import Shop


@pytest.mark.parametrize(("when", "charges"), [("before", 0), ("after", 1)])
def test_a_dropped_connection_hides_whether_money_moved(
    shop: Shop, stripe_simulator: RunningSimulator, when: str, charges: int
) -> None:
    stripe_simulator.control.fault("timeout", when=when, path="/v1/payment_intents")
    with pytest.raises(stripe.APIConnectionError):
        shop.pay(key="k")
    assert stripe_simulator.control.counts()["charges_succeeded"] == charges
    # The key tells: either it is done now, or the answer is replayed.
    assert shop.pay(key="k").status == "succeeded"
    assert stripe_simulator.control.counts()["charges_succeeded"] == 1


@pytest.mark.parametrize(("when", "charges"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("kept", [True, False])
def test_a_500_is_replayed_as_stripe_does_unless_told_otherwise(
    shop: Shop, stripe_simulator: RunningSimulator, when: str, charges: int, kept: bool
) -> None:
    stripe_simulator.control.fault("error_500", when=when, path="/v1/payment_intents", kept=kept)
    with pytest.raises(stripe.APIError) as raised:
        shop.pay(key="k")
    assert raised.value.http_status == 500
    assert stripe_simulator.control.counts()["charges_succeeded"] == charges
    if kept:
        with pytest.raises(stripe.APIError, match="unknown error"):
            shop.pay(key="k")
        assert stripe_simulator.control.counts()["charges_succeeded"] == charges
    else:
        shop.pay(key="k")
        assert stripe_simulator.control.counts()["charges_succeeded"] == charges + 1


def test_a_429_has_no_effect_and_leaves_the_key_free(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    stripe_simulator.control.fault("rate_limit")
    with pytest.raises(stripe.RateLimitError):
        shop.pay(key="k")
    assert shop.pay(key="k").status == "succeeded"


def test_a_slow_answer_comes_after_its_webhook(
    shop: Shop, receiver: Receiver, stripe_simulator: RunningSimulator
) -> None:
    stripe_simulator.control.fault("slow", when="after", path="/v1/customers", seconds=0.3)
    began = time.monotonic()
    shop.api.customers.create({})
    assert time.monotonic() - began >= 0.3
    assert receiver.types == ["customer.created"]


def test_faults_are_counted_matched_and_cleared(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    control = stripe_simulator.control
    control.fault("error_500", path="/v1/refunds.*", times=None)
    control.fault("error_500", path="/v1/customers/cus_.*", method="GET", times=2)
    for _ in range(3):
        shop.api.customers.create({})
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            shop.api.customers.retrieve(shop.customer)
    shop.api.customers.retrieve(shop.customer)
    assert [fault["hits"] for fault in control.faults()] == [0, 2]
    control.clear_faults()
    assert control.faults() == []


def test_chance_is_the_same_each_time(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    def struck() -> list[bool]:
        stripe_simulator.control.clear_faults()
        stripe_simulator.control.fault("error_500", probability=0.5, seed=7, times=None)
        return [stripe_simulator.call("POST", "/v1/customers", {}).status_code == 500 for _ in range(20)]

    first = struck()
    assert first == struck()
    assert 0 < sum(first) < 20


def test_a_simulator_that_was_reset_behaves(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    stripe_simulator.control.fault("error_500", times=None)
    stripe_simulator.control.webhooks(drop=True)
    stripe_simulator.control.reset()
    assert stripe_simulator.call("POST", "/v1/customers", {}).status_code == 200
    assert not stripe_simulator.simulator.webhooks.behaviour.drop
    with pytest.raises(stripe.InvalidRequestError):
        shop.api.customers.retrieve(shop.customer)


def test_a_replay_can_be_lost_as_well(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    stripe_simulator.control.fault("timeout", when="after", path="/v1/payment_intents", times=3)
    for _ in range(3):
        with pytest.raises(stripe.APIConnectionError):
            shop.pay(key="k")
    assert shop.pay(key="k").status == "succeeded"
    assert stripe_simulator.control.counts()["charges_succeeded"] == 1
