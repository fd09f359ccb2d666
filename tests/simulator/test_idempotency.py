"""Idempotency keys: an answer is replayed to the same call, and to no other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from tests.simulator.fixtures import RunningSimulator
from tests.simulator.shop import Shop

FORM = {"amount": "1000", "currency": "usd"}


def test_the_same_call_is_answered_alike_and_done_once(stripe_simulator: RunningSimulator) -> None:
    first, again = (
        stripe_simulator.call("POST", "/v1/payment_intents", FORM, idempotency_key="k") for _ in range(2)
    )
    assert first.json() == again.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["original-request"] == first.headers["request-id"]
    assert stripe_simulator.control.counts()["objects"]["payment_intent"] == 1


def test_a_decline_is_replayed(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    ids = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as raised:
            shop.pay("pm_card_visa_chargeDeclined", key="k")
        assert raised.value.error is not None
        assert raised.value.error.payment_intent is not None
        ids.append(raised.value.error.payment_intent.id)
    assert ids[0] == ids[1]
    assert stripe_simulator.control.counts()["objects"]["charge"] == 1


@pytest.mark.parametrize(
    ("path", "form"), [("/v1/payment_intents", {**FORM, "amount": "2000"}), ("/v1/customers", FORM)]
)
def test_other_parameters_or_another_path_are_an_error(
    stripe_simulator: RunningSimulator, path: str, form: dict[str, str]
) -> None:
    stripe_simulator.call("POST", "/v1/payment_intents", FORM, idempotency_key="k")
    answer = stripe_simulator.call("POST", path, form, idempotency_key="k")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "idempotency_error")


def test_what_failed_validation_is_not_kept(stripe_simulator: RunningSimulator) -> None:
    for path, form, status in (("/v1/payment_intents", {"amount": "x"}, 400), ("/v1/customers", {}, 200)):
        answer = stripe_simulator.call("POST", path, form, idempotency_key="k")
        assert answer.status_code == status


def test_a_key_is_forgotten_after_a_day(stripe_simulator: RunningSimulator) -> None:
    made = []
    for _ in range(2):
        made.append(stripe_simulator.call("POST", "/v1/customers", {}, idempotency_key="k").json()["id"])
        stripe_simulator.control.advance(86_400)
    assert made[0] != made[1]


def test_a_key_in_use_is_a_409_for_others(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    stripe_simulator.control.fault("slow", path="/v1/payment_intents", seconds=0.5)

    def pay(_: int) -> str:
        try:
            return shop.pay(key="k").status
        except stripe.APIError as error:
            return f"{error.http_status} {error.error and error.error.code}"

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(pay, range(4)))
    assert answers == [*["409 idempotency_key_in_use"] * 3, "succeeded"]
    assert stripe_simulator.control.counts()["charges_succeeded"] == 1


def test_a_get_ignores_the_key(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    def count() -> int:
        listed = stripe_simulator.call("GET", "/v1/customers", idempotency_key="k")
        data: list[Any] = listed.json()["data"]
        return len(data)

    before = count()
    shop.api.customers.create({})
    assert count() == before + 1


def test_events_name_the_call_and_its_key(shop: Shop) -> None:
    shop.pay(key="my-key")
    event = shop.api.events.list({"type": "payment_intent.succeeded"}).data[0]
    assert event.request is not None
    assert event.request.idempotency_key == "my-key"
    assert str(event.request.id).startswith("req_")
