"""Holds over HTTP: what a gateway asks before each request, while it streams, and what it is told."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from metering import clock
from metering.ledger.budgets import BudgetPeriod, BudgetTerms
from metering.money import to_decimal, to_pico
from metering.services.accounts import create_account, get_account
from metering.services.api_keys import create_api_key
from metering.services.grants import Wanted, grant_credit
from tests.api.live import Customer, Live, decode, error_of, posted

PATH = "/v1/holds"
USAGE = {"prompt_tokens": 1_000, "completion_tokens": 100}


def rich(
    live: Live, credit: str = "1", *, requests: int = 100_000, budget: BudgetTerms | None = None
) -> Customer:
    """An account with credit, and with limits that are out of the way unless named."""
    database = live.app.database
    view = create_account(database, "Rich", requests_per_minute=requests, tokens_per_minute=10**12)
    account_id = view.account.account_id
    key = create_api_key(database, account_id, prefix="sk-test-", budget=budget)[1]
    grant_credit(database, account_id, Wanted("paid", to_pico(credit), "a test", "tests"), "opening")
    return Customer(account_id, key)


def ask(live: Live, customer: Customer, **changes: object) -> httpx.Response:
    """Ask for a cent; None leaves a field out."""
    body = {"account_id": customer.account_id, "amount_usd": "0.01", **changes}
    return live.post({name: value for name, value in body.items() if value is not None}, path=PATH)


def held(live: Live, customer: Customer, **changes: object) -> dict[str, Any]:
    """A new hold."""
    answer = ask(live, customer, **changes)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = decode(answer)
    return body


def on(live: Live, hold: dict[str, Any], verb: str, **body: object) -> httpx.Response:
    """Extend or void a hold."""
    return live.post(body, path=f"{PATH}/{hold['id']}/{verb}")


def read(live: Live, hold: dict[str, Any]) -> dict[str, Any]:
    """The hold as it is now."""
    answer = live.http.get(f"{PATH}/{hold['id']}", headers=live.service)
    assert answer.status_code == 200
    body: dict[str, Any] = decode(answer)
    return body


def available(live: Live, customer: Customer) -> Decimal:
    """As the gateway sees it."""
    return to_decimal(get_account(live.app.database, customer.account_id).balance.available_pico)


def test_a_hundred_holds_of_a_cent_are_in_a_dollar_however_many_ask_at_once(live: Live) -> None:
    customer = rich(live)
    with ThreadPoolExecutor(64) as crowd:
        answers = list(crowd.map(lambda _: ask(live, customer), range(500)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == 100
    assert statuses.count(402) == 400
    assert available(live, customer) == 0
    live.audit()


def test_a_hold_says_what_it_holds(live: Live) -> None:
    customer = rich(live, "5")
    body = held(live, customer, amount_usd="1.25", tokens=70, expires_in_seconds=60)
    balance = body.pop("balance")
    assert (balance["posted"], balance["held"], balance["available"]) == (5, Decimal("1.25"), Decimal("3.75"))
    assert {name: body[name] for name in ("object", "account_id", "state", "amount_usd", "tokens")} == {
        "object": "hold",
        "account_id": customer.account_id,
        "state": "open",
        "amount_usd": Decimal("1.25"),
        "tokens": 70,
    }
    assert body["captured_usd"] is body["event_id"] is body["closed_at"] is body["api_key_id"] is None
    assert {name: value for name, value in read(live, body).items() if name != "balance"} == body


def test_a_model_and_an_estimate_hold_what_the_event_will_cost(live: Live) -> None:
    customer = rich(live)
    body = held(live, customer, amount_usd=None, model="qwen3-max", usage=USAGE)
    (quoted,) = live.send([customer.event()], path="/v1/usage/quote")
    assert body["amount_usd"] == quoted["cost_usd"]
    assert (body["model"], body["tokens"]) == ("qwen3-max", 1_100)


def test_the_customers_key_names_the_account_and_is_named_for_the_event(live: Live) -> None:
    customer = rich(live)
    body = held(live, customer, account_id=None, api_key=customer.key)
    assert body["account_id"] == customer.account_id
    again = held(live, customer, api_key_id=body["api_key_id"])
    assert again["api_key_id"] == body["api_key_id"]
    refused = ask(live, customer, account_id=None, api_key="sk-test-wrong")
    assert (refused.status_code, error_of(refused)["code"]) == (401, "invalid_api_key")


def test_without_credit_the_answer_says_what_is_available_and_what_was_wanted(live: Live) -> None:
    refused = ask(live, rich(live), amount_usd="1.000000000001")
    error = decode(refused)["error"]
    assert (refused.status_code, error["code"], error["type"]) == (
        402,
        "insufficient_credits",
        "invalid_request_error",
    )
    assert (error["available_usd"], error["wanted_usd"]) == (1, Decimal("1.000000000001"))
    assert "1.000000000001" in error["message"]


def test_over_its_limit_an_account_is_told_when_to_come_again(live: Live) -> None:
    customer = rich(live, requests=2)
    for _ in range(2):
        held(live, customer)
    refused = ask(live, customer)
    assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limit_exceeded")
    seconds = int(refused.headers["retry-after"])
    assert 60 < seconds <= 90
    try:
        clock.run_ahead(timedelta(seconds=seconds))
        held(live, customer)
    finally:
        clock.run_ahead(timedelta(0))


def test_beyond_a_keys_budget_the_answer_says_so(live: Live) -> None:
    customer = rich(live, budget=BudgetTerms(to_pico("0.02"), BudgetPeriod.DAY))
    by_key = {"account_id": None, "api_key": customer.key}
    held(live, customer, **by_key)
    refused = ask(live, customer, **by_key, amount_usd="0.02")
    error = decode(refused)["error"]
    assert (refused.status_code, error["code"]) == (402, "budget_exceeded")
    assert (error["available_usd"], error["wanted_usd"]) == (Decimal("0.01"), Decimal("0.02"))


def test_what_a_key_was_charged_counts_in_its_budget(live: Live) -> None:
    customer = rich(live, budget=BudgetTerms(to_pico("0.02"), BudgetPeriod.MONTH))
    by_key = {"account_id": None, "api_key": customer.key, "amount_usd": "0.02"}
    hold = held(live, customer, **by_key)
    (result,) = live.send([customer.event(hold_id=hold["id"])])
    refused = decode(ask(live, customer, **by_key))["error"]
    assert refused["available_usd"] == Decimal("0.02") - result["cost_usd"]
    assert result["cost_usd"] > 0


@pytest.mark.parametrize("by_header", [True, False])
def test_the_same_idempotency_key_holds_once(live: Live, by_header: bool) -> None:
    customer = rich(live)
    key = secrets.token_hex(4)
    body = {"account_id": customer.account_id, "amount_usd": "0.01"}
    headers = {"Idempotency-Key": key} if by_header else {}
    body |= {} if by_header else {"idempotency_key": key}
    answers = [live.post(body, path=PATH, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert decode(answers[0]) == decode(answers[1])
    assert available(live, customer) == Decimal("0.99")
    other = live.post({**body, "amount_usd": "0.02"}, path=PATH, headers=headers)
    assert (other.status_code, error_of(other)["code"]) == (409, "idempotency_conflict")


def test_a_stream_overspends_by_one_increment_at_most_and_is_told(live: Live) -> None:
    customer = rich(live)
    hold = held(live, customer, amount_usd="0.90")
    assert decode(on(live, hold, "extend", amount_usd="0.05"))["overspend_usd"] == 0
    body = decode(on(live, hold, "extend", amount_usd="0.2", idempotency_key="last"))
    assert (body["overspend_usd"], body["amount_usd"]) == (Decimal("0.15"), Decimal("1.15"))
    assert (body["authorized_usd"], body["balance"]["available"]) == (Decimal("0.9"), Decimal("-0.15"))
    assert decode(on(live, hold, "extend", amount_usd="0.2", idempotency_key="last")) == body
    refused = on(live, hold, "extend", amount_usd="0.2")
    assert (refused.status_code, decode(refused)["error"]["available_usd"]) == (402, Decimal("-0.15"))


def test_less_than_held_gives_the_rest_back_and_more_takes_the_difference(live: Live) -> None:
    customer = rich(live)
    for amount in ("0.90", "0.000001"):
        hold = held(live, customer, amount_usd=amount)
        before = posted(live, customer)
        (result,) = live.send([customer.event(hold_id=hold["id"])])
        cost = result["cost_usd"]
        assert available(live, customer) == posted(live, customer) == before - cost
        captured = read(live, hold)
        assert (captured["state"], captured["captured_usd"], captured["amount_usd"]) == (
            "captured",
            cost,
            Decimal(amount),
        )
        assert captured["event_id"] == result["id"]
        for verb, body in (("void", {}), ("extend", {"amount_usd": "0.01"})):
            refused = on(live, hold, verb, **body)
            assert (refused.status_code, error_of(refused)["code"]) == (409, "hold_closed")
    live.audit()


def test_work_that_arrives_after_expiry_is_billed_all_the_same(live: Live) -> None:
    customer = rich(live)
    hold = held(live, customer, expires_in_seconds=1, amount_usd="1")
    try:
        clock.run_ahead(timedelta(seconds=1))
        assert read(live, hold)["state"] == "expired"
        assert available(live, customer) == 1
        (result,) = live.send([customer.event(hold_id=hold["id"])])
        assert result["status"] == "accepted"
        assert available(live, customer) == 1 - result["cost_usd"]
        assert read(live, hold)["state"] == "expired"
    finally:
        clock.run_ahead(timedelta(0))
    live.audit()


def test_a_released_hold_gives_its_money_back_once(live: Live) -> None:
    customer = rich(live)
    hold = held(live, customer, amount_usd="1")
    first, again = (decode(on(live, hold, "void")) for _ in range(2))
    assert first == again
    assert (first["state"], first["balance"]["available"]) == ("voided", 1)


def test_following_the_cursor_visits_every_hold_once(live: Live) -> None:
    customer = rich(live)
    made = [held(live, customer)["id"] for _ in range(5)]
    on(live, {"id": made[2]}, "void")

    def pages(**query: str) -> list[str]:
        found: list[str] = []
        path, after = f"/v1/accounts/{customer.account_id}/holds", None
        while True:
            params = {"limit": "2", **query} | ({"after": after} if after else {})
            page = decode(live.http.get(path, params=params, headers=live.service))
            found += [hold["id"] for hold in page["data"]]
            assert page["balance"]["available"] == Decimal("0.96")
            after = page["next_cursor"]
            assert page["has_more"] is (after is not None)
            if after is None:
                return found

    assert sorted(pages()) == sorted(made)
    assert sorted(pages(state="open")) == sorted(set(made) - {made[2]})
    assert pages(state="voided") == [made[2]]
    assert pages(state="captured") == []


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"account_id": None}, 400, "account_id"),
        ({"api_key": "sk-test-x"}, 400, "account_id"),
        ({"account_id": None, "api_key": "k", "api_key_id": "0" * 32}, 400, "api_key_id"),
        ({"amount_usd": None}, 400, "amount_usd"),
        ({"amount_usd": None, "model": "qwen3-max"}, 400, "amount_usd"),
        ({"model": "qwen3-max", "usage": USAGE}, 400, "usage"),
        ({"amount_usd": "0"}, 400, "amount_usd"),
        ({"amount_usd": "-1"}, 400, "amount_usd"),
        ({"amount_usd": "0.0000000000001"}, 400, "amount_usd"),
        ({"amount_usd": "1000000000.01"}, 400, "amount_usd"),
        ({"amount_usd": None, "model": "nobody's", "usage": USAGE}, 404, "model"),
        (
            {"amount_usd": None, "model": "qwen3-max", "usage": {"prompt_tokens": -1}},
            400,
            "usage.prompt_tokens",
        ),
        ({"amount_usd": None, "model": "qwen3-max", "usage": {"a": [[]] * 99}}, 400, "usage"),
        ({"tokens": -1}, 400, "tokens"),
        ({"expires_in_seconds": 0}, 400, "expires_in_seconds"),
        ({"expires_in_seconds": 86_401}, 400, "expires_in_seconds"),
        ({"account_id": "nobody"}, 400, "account_id"),
        ({"account_id": "00000000-0000-7000-8000-000000000000"}, 404, "account_id"),
        ({"api_key_id": "00000000-0000-7000-8000-000000000000"}, 401, "api_key_id"),
        ({"surprise": 1}, 400, "surprise"),
    ],
)
def test_what_is_wrong_with_a_hold_is_named(
    live: Live, customer: Customer, changes: dict[str, object], status: int, param: str
) -> None:
    refused = ask(live, customer, **changes)
    assert (refused.status_code, error_of(refused)["param"]) == (status, param)


def test_holds_need_their_scope(live: Live, customer: Customer) -> None:
    body = {"account_id": customer.account_id, "amount_usd": "1"}
    answer = live.http.post(PATH, json=body, headers=customer.headers)
    assert answer.status_code == 401


@pytest.mark.parametrize("verb", ["", "/extend", "/void"])
def test_a_hold_that_is_not_there_is_not_found(live: Live, verb: str) -> None:
    path = f"{PATH}/00000000-0000-7000-8000-000000000000{verb}"
    answer = live.post({"amount_usd": 1}, path=path) if verb else live.http.get(path, headers=live.service)
    assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


def test_the_outcomes_are_counted(live: Live) -> None:
    customer = rich(live, "0.01")
    held(live, customer)
    ask(live, customer)
    told = live.http.get("/metrics").text
    for outcome in ("granted", "insufficient_credits"):
        assert f'metering_holds_total{{outcome="{outcome}"}}' in told


@pytest.mark.parametrize(
    ("usage", "param"),
    [({"promt_tokens": 1_000_000}, "usage.promt_tokens"), ({}, "usage"), ({"x": "y"}, "usage")],
)
def test_a_slip_of_the_pen_is_no_estimate_of_nothing(
    live: Live, customer: Customer, usage: dict[str, object], param: str
) -> None:
    body = {"account_id": customer.account_id, "model": "qwen3-max", "usage": usage}
    answer = live.http.post("/v1/holds", json=body, headers=live.service)
    assert (answer.status_code, error_of(answer)["param"]) == (400, param)
