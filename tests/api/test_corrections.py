"""Adjustments and reversals over HTTP, and what a customer then sees of them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.live import Customer, Live, decode, encode, error_of

NOBODY = "00000000-0000-7000-8000-000000000000"
ADJUSTMENT = {"amount_usd": -2.5, "reason": "a slip", "idempotency_key": "k"}


def post(live: Live, customer: Customer, what: str, body: Any) -> httpx.Response:  # noqa: ANN401  (JSON)
    return live.post(encode(body), path=f"/v1/accounts/{customer.account_id}/{what}")


def test_an_adjustment_is_made_once(live: Live, customer: Customer) -> None:
    made = post(live, customer, "adjustments", ADJUSTMENT)
    assert made.status_code == 201
    body = decode(made)
    assert body["object"] == "adjustment"
    assert (body["kind"], body["amount_usd"], body["balance"]) == ("adjustment", -2.5, 97.5)
    again = post(live, customer, "adjustments", ADJUSTMENT)
    assert (again.status_code, decode(again)) == (200, body)
    other = post(live, customer, "adjustments", {**ADJUSTMENT, "amount_usd": "-2.51"})
    assert other.status_code == 409
    assert error_of(other)["code"] == "idempotency_conflict"


def test_the_key_may_be_a_header_and_the_amount_a_text(live: Live, customer: Customer) -> None:
    body = {"amount_usd": "1.000000000001", "reason": "sorry", "kind": "goodwill"}
    path = f"/v1/accounts/{customer.account_id}/adjustments"
    made = live.post(encode(body), path=path, headers={"Idempotency-Key": "k"})
    assert made.status_code == 201
    assert b'"balance":101.000000000001' in made.content


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"amount_usd": 0}, "amount_usd"),
        ({"amount_usd": "five"}, "amount_usd"),
        ({"amount_usd": "--5"}, "amount_usd"),
        ({"amount_usd": 1e10}, "amount_usd"),
        ({"amount_usd": -1, "kind": "goodwill"}, "amount_usd"),
        ({"kind": "paid"}, "kind"),
        ({"reason": " "}, "reason"),
        ({"idempotency_key": None}, "idempotency_key"),
        ({"more": 1}, "more"),
    ],
)
def test_an_adjustment_that_cannot_be(
    live: Live, customer: Customer, change: dict[str, Any], param: str
) -> None:
    answer = post(live, customer, "adjustments", ADJUSTMENT | change)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == param


def test_a_grant_is_reversed_once(live: Live, customer: Customer) -> None:
    grant = {"amount_usd": 10, "kind": "paid", "reason": "bank", "idempotency_key": "k"}
    transfer_id = decode(post(live, customer, "grants", grant))["transfer_id"]
    wanted = {"transfer_id": transfer_id, "reason": "it bounced"}
    made = post(live, customer, "reversals", wanted)
    assert made.status_code == 201
    body = decode(made)
    assert body["object"] == "reversal"
    assert (body["reverses_id"], body["amount_usd"], body["balance"]) == (transfer_id, -10, 100)
    again = post(live, customer, "reversals", wanted)
    assert (again.status_code, decode(again)) == (200, body)
    twice = post(live, customer, "reversals", {"transfer_id": body["transfer_id"], "reason": "x"})
    assert twice.status_code == 400
    assert error_of(twice)["param"] == "transfer_id"


def test_what_is_reversed_costs_the_customer_nothing(live: Live, customer: Customer) -> None:
    events = [customer.event(), customer.event()]
    live.post(encode(events))
    assert all(event["cost"]["amount"] for event in live.usage(customer)["data"])
    reversal = post(live, customer, "reversals", {"event_id": events[0]["id"], "reason": "it failed"})
    assert reversal.status_code == 201
    usage = live.usage(customer)
    shown = {event["id"]: event for event in usage["data"]}
    kept, gone = shown[events[1]["id"]], shown[events[0]["id"]]
    assert gone["cost"]["amount"] == 0
    assert gone["metadata"]["reversed"] is True
    assert gone["metadata"]["line_items"] == []
    assert gone["metadata"]["worker_usage"]["cost_usd"] == 0
    assert "reversed" not in kept["metadata"]
    assert usage["spend"]["total"] == usage["summary"]["total_cost"] == kept["cost"]["amount"]
    assert usage["balance"]["amount"] == 100 - kept["cost"]["amount"]


def test_a_superseded_event_is_not_shown(live: Live, customer: Customer) -> None:
    first = customer.event()
    live.post(encode(first))
    second = customer.event(supersedes=first["id"], usage={"prompt_tokens": 5})
    live.post(encode(second))
    (shown,) = live.usage(customer)["data"]
    assert (shown["id"], shown["metadata"]["supersedes"]) == (second["id"], first["id"])
    refused = post(live, customer, "reversals", {"event_id": first["id"], "reason": "x"})
    assert refused.status_code == 409
    assert error_of(refused)["code"] == "already_corrected"
    assert second["id"] in error_of(refused)["message"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"reason": "x"}, 400, "transfer_id"),
        ({"reason": "x", "transfer_id": NOBODY, "event_id": "a"}, 400, "transfer_id"),
        ({"reason": "x", "transfer_id": "a"}, 400, "transfer_id"),
        ({"event_id": "a"}, 400, "reason"),
        ({"reason": "x", "event_id": ""}, 400, "event_id"),
        ({"reason": "x", "event_id": "a\0"}, 404, "event_id"),
        ({"reason": "x", "event_id": "never sent"}, 404, "event_id"),
        ({"reason": "x", "transfer_id": NOBODY}, 404, "transfer_id"),
    ],
)
def test_a_reversal_that_cannot_be(
    live: Live, customer: Customer, body: dict[str, Any], status: int, param: str
) -> None:
    answer = post(live, customer, "reversals", body)
    assert answer.status_code == status
    assert error_of(answer)["param"] == param
    nobody = post(live, Customer(NOBODY, ""), "reversals", {"reason": "x", "event_id": "a"})
    assert error_of(nobody)["code"] == "account_not_found"
