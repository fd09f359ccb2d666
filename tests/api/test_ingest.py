"""`POST /v1/usage/events` over a socket: recorded once, priced exactly, taken from the balance, answered."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from itertools import accumulate
from typing import Any

import httpx
import pytest

from metering.money import to_pico, to_text
from tests.api.live import Customer, Live, ago, decode, encode, error_of, lines, posted, statuses, well_formed
from tests.rating.goldens import goldens

NDJSON = {"Content-Type": "application/x-ndjson"}
NOBODY = "00000000-0000-7000-8000-000000000000"
# 1,000 tokens in and 100 out, at 1.08 and 5.52 a million.
COST = Decimal("0.001632")
QUOTE = "/v1/usage/quote"
MIB = 1024 * 1024


def transfers(live: Live, customer: Customer) -> list[tuple[str, str, Decimal]]:
    query = (
        "SELECT from_account, to_account, amount_usd FROM transfers WHERE account_id = %s AND kind = 'usage'"
    )
    return live.rows(query, customer.account_id)


@pytest.mark.parametrize("shape", ["single", "list", "wrapped", "lines"])
def test_events_come_in_any_shape_and_are_answered_in_order(
    live: Live, customer: Customer, shape: str
) -> None:
    events = [customer.event() for _ in range(1 if shape == "single" else 5)]
    bodies = {"single": events[0], "list": events, "wrapped": {"events": events}, "lines": lines(events)}
    answer = live.post(bodies[shape], headers=NDJSON if shape == "lines" else None)
    assert answer.status_code == 200, answer.text
    results = decode(answer)["results"]
    assert [(one["id"], one["status"], one["cost_usd"]) for one in results] == [
        (event["id"], "accepted", COST) for event in events
    ]
    balances = accumulate([Decimal(100), *([COST] * len(events))], lambda left, cost: left - cost)
    assert [one["balance"] for one in results] == list(balances)[1:]
    assert {event["id"] for event in live.usage(customer)["data"]} == {event["id"] for event in events}
    live.audit()


def test_a_priced_event_is_answered_with_its_line_items(live: Live, customer: Customer) -> None:
    (result,) = live.send([customer.event()])
    assert set(result) == {"id", "status", "cost_usd", "line_items", "usage", "balance"}
    assert [(item["meter"], item["quantity"], item["amount"]) for item in result["line_items"]] == [
        ("prompt_tokens", 1_000, Decimal("0.00108")),
        ("completion_tokens", 100, Decimal("0.000552")),
    ]
    assert result["usage"] == {
        "prompt_tokens": 1_000,
        "completion_tokens": 100,
        "cost_usd": COST,
        "pricing_tier_label": "≤32K",
    }


def test_one_bad_line_among_good_ones(live: Live, customer: Customer) -> None:
    good = [encode(customer.event()) for _ in range(2)]
    answer = live.post(b"\r\n".join([good[0], b'{"id": "half"', b"", good[1], b""]), headers=NDJSON)
    results = decode(answer)["results"]
    assert statuses(results) == ["accepted", "rejected", "accepted"]
    assert well_formed(results[1]["error"])["param"] == "body"


def test_far_in_the_future_is_rejected_and_a_clock_slightly_ahead_is_not(
    live: Live, customer: Customer
) -> None:
    soon, later, never = live.send(
        [
            customer.event(created_at=ago(seconds=-240)),
            customer.event(created_at=ago(seconds=-360)),
            customer.event(created_at="9999-12-31T23:59:59-12:00"),
        ]
    )
    assert soon["status"] == "accepted"
    for refused in (later, never):
        assert refused["status"] == "rejected"
        assert well_formed(refused["error"])["param"] == "created_at"
        assert "300 seconds" in refused["error"]["message"]


def test_an_id_is_unique_per_account_only(live: Live, customer: Customer) -> None:
    event = customer.event()
    other = live.customer()
    results = live.send([event, {**event, "account_id": other.account_id}])
    assert statuses(results) == ["accepted", "accepted"]
    assert posted(live, other) == posted(live, customer) == 100 - COST


def test_what_has_no_price_is_kept_shown_and_not_charged(live: Live, customer: Customer) -> None:
    beyond = customer.event(usage={"prompt_tokens": 300_000, "completion_tokens": 5})
    unknown = customer.event(model="nobody-s-model")
    results = live.send([beyond, unknown])
    assert statuses(results) == ["unpriced", "unpriced"]
    assert [one["unpriced"]["meter"] for one in results] == ["prompt_tokens", None]
    assert "300000" in results[0]["unpriced"]["reason"]
    assert "nobody-s-model" in results[1]["unpriced"]["reason"]
    for one in results:
        assert set(one) == {"id", "status", "unpriced", "usage", "balance"}
        assert one["balance"] == 100
        assert one["usage"]["cost_usd"] is None
    shown = live.usage(customer)
    assert [event["id"] for event in shown["data"]] == [unknown["id"], beyond["id"]]
    assert [event["cost"]["amount"] for event in shown["data"]] == [0, 0]
    assert transfers(live, customer) == []
    live.audit()


def test_what_failed_with_nothing_done_costs_nothing_and_is_recorded(live: Live, customer: Customer) -> None:
    # The second is charged by the request, the third stopped half-way: what was done is billed.
    events = [
        customer.event(status="error", status_code=500, error="The model is overloaded.", usage={}),
        customer.event(status="error", model="perplexity-pro-search", usage={"search_context_size": "low"}),
        customer.event(status="error", usage={"prompt_tokens": 1_000, "completion_tokens": 100}),
    ]
    results = live.send(events)
    assert [(one["status"], one["cost_usd"]) for one in results] == [
        ("accepted", 0),
        ("accepted", 0),
        ("accepted", COST),
    ]
    shown = live.usage(customer, status="error")
    assert shown["summary"]["errors"] == 3
    assert shown["data"][-1]["error"] == "The model is overloaded."
    assert [amount for *_, amount in transfers(live, customer)] == [COST]
    live.audit()


def test_an_event_that_costs_nothing_moves_nothing(live: Live, customer: Customer) -> None:
    (result,) = live.send([customer.event(usage={"prompt_tokens": 0})])
    assert (result["status"], result["cost_usd"], result["line_items"]) == ("accepted", 0, [])
    assert transfers(live, customer) == []
    assert posted(live, customer) == 100
    live.audit()


def test_a_cost_takes_the_balance_below_zero(live: Live) -> None:
    customer = live.customer(credit="0.001")
    (result,) = live.send([customer.event()])
    assert result["balance"] == Decimal("0.001") - COST == posted(live, customer)
    live.audit()


def test_every_golden_event_to_the_last_digit(live: Live) -> None:
    customer = live.customer(credit="1000000")
    wanted = goldens()
    events = [customer.event(id=f"line {one.line}", model=one.model, usage=one.usage) for one in wanted]
    results = live.send(events)
    for golden, result in zip(wanted, results, strict=True):
        if golden.cost_usd is None:
            assert (result["status"], result["unpriced"]["meter"]) == ("unpriced", golden.meter), golden
        else:
            assert result["status"] == "accepted", (golden, result)
            assert to_text(to_pico(result["cost_usd"])) == golden.cost_usd, golden
            assert sum(item["amount"] for item in result["line_items"]) == result["cost_usd"], golden
    total = sum(Decimal(one.cost_usd or 0) for one in wanted)
    assert results[-1]["balance"] == 1_000_000 - total == posted(live, customer)
    shown = {event["id"]: event for page in live.pages(customer, limit=200) for event in page["data"]}
    assert {f"line {one.line}": Decimal(one.cost_usd or 0) for one in wanted} == {
        name: event["cost"]["amount"] for name, event in shown.items()
    }
    live.audit()


def test_small_amounts_are_written_without_an_exponent(live: Live, customer: Customer) -> None:
    answer = live.post(customer.event(model="qwen3-5-9b", usage={"prompt_tokens": 1}))
    assert b'"cost_usd":0.00000009,' in answer.content
    assert b'"balance":99.99999991}' in answer.content
    shown = live.http.get("/v1/account/usage", headers=customer.headers).content
    assert b'"cost":{"amount":0.00000009,' in shown
    assert not re.search(rb"[:,\[]-?[0-9.]+[eE]", shown)


def test_our_own_cost_is_never_shown(live: Live, customer: Customer) -> None:
    # It is below what a task costs at the least, so no price gives it away.
    ours = {"upstream_cost_usd": Decimal("0.271828182845")}
    events = [
        customer.event(model="manus", usage={"mode": "standard", **ours}),
        customer.event(model="manus", usage={"mode": "nothing", **ours}),
        customer.event(usage={"prompt_tokens": 5, **ours}, metadata={"note": {**ours}}),
    ]
    answers = [live.post(events, path=path) for path in (QUOTE, "/v1/usage/events", "/v1/usage/events")]
    for answer in answers:
        assert statuses(decode(answer)["results"])[1] in {"unpriced", "duplicate"}
        assert "271828" not in answer.text
        assert all("upstream_cost_usd" not in one["usage"] for one in decode(answer)["results"])
    shown = live.http.get("/v1/account/usage", headers=customer.headers).text
    assert "271828" not in shown
    assert "upstream" not in shown


def test_stamps_are_made_and_never_trusted(live: Live, customer: Customer) -> None:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 100, "cost_usd": 0, "pricing_tier_label": "free"}
    (result,) = live.send([customer.event(usage=usage)])
    assert result["usage"]["cost_usd"] == result["cost_usd"] == COST
    assert result["usage"]["pricing_tier_label"] == "≤32K"


def test_each_source_has_its_revenue_and_a_batch_one_transfer_each(live: Live, customer: Customer) -> None:
    other = live.customer()
    sources = ["api", "playground", "gpu_cloud", "hosted_agents"]
    events = [one.event(source=source) for _ in range(3) for one in (customer, other) for source in sources]
    live.send(events)
    for one in (customer, other):
        assert sorted(transfers(live, one)) == [
            ("customer_credit", "revenue:gpu_cloud", COST * 3),
            ("customer_credit", "revenue:hosted_agents", COST * 3),
            ("customer_credit", "revenue:usage", COST * 6),
        ]
    assert live.usage(customer)["spend"] == {
        "currency": "USD",
        "total": COST * 12,
        "model": COST * 6,
        "gpu_cloud": COST * 3,
        "hosted_agents": COST * 3,
        "from": None,
        "to": None,
    }
    live.audit()


def test_a_quote_says_what_recording_will_and_changes_nothing(live: Live, customer: Customer) -> None:
    events = [
        customer.event(),
        customer.event(model="nobody-s-model"),
        customer.event(usage={"prompt_tokens": -1}),
        customer.event(created_at=ago(days=91)),
        customer.event(account_id=NOBODY),
        customer.event(),
    ]
    events.append({**events[0], "model": "manus"})
    before = live.usage(customer)
    quoted = live.post(events, path=QUOTE)
    assert live.usage(customer) == before
    assert live.rows("SELECT count(*) FROM usage_events WHERE account_id = %s", customer.account_id) == [(0,)]
    assert transfers(live, customer) == []
    assert live.post(events).text == quoted.text
    assert statuses(decode(quoted)["results"]) == [
        "accepted", "unpriced", "rejected", "rejected", "rejected", "accepted", "conflict",
    ]  # fmt: skip
    assert live.post(events, path=QUOTE).text == live.post(events).text


def test_unknown_accounts_do_not_sink_the_batch(live: Live, customer: Customer) -> None:
    events = [customer.event(account_id="me"), customer.event(), customer.event(account_id=NOBODY)]
    results = live.send(events)
    assert statuses(results) == ["rejected", "accepted", "rejected"]
    for refused in results[::2]:
        error = well_formed(refused["error"])
        assert (error["code"], error["param"]) == ("account_not_found", "account_id")


@pytest.mark.parametrize("spell", [str.upper, lambda text: text.replace("-", ""), "{{{}}}".format])
def test_an_account_s_id_may_be_spelt_otherwise(live: Live, customer: Customer, spell: Any) -> None:  # noqa: ANN401
    assert statuses(live.send([customer.event(account_id=spell(customer.account_id))])) == ["accepted"]
    assert posted(live, customer) == 100 - COST


def test_a_batch_of_10_000_is_taken_and_one_more_is_not(live: Live, customer: Customer) -> None:
    events = [customer.event(usage={"prompt_tokens": n}) for n in range(1, 10_002)]
    cloud = {"specversion": "1.0", "id": "a", "source": "b", "type": "c"}
    for content_type, body in (
        ("application/json", encode(events)),
        ("application/json", encode({"events": events})),
        ("application/x-ndjson", lines(events)),
        ("application/cloudevents-batch+json", encode([cloud] * 10_001)),
    ):
        answer = live.post(body, headers={"Content-Type": content_type})
        assert answer.status_code == 413
        assert error_of(answer)["code"] == "payload_too_large"
        assert "10,000" in error_of(answer)["message"]
    assert live.usage(customer)["data"] == []
    results = live.send(events[:-1])
    assert Counter(statuses(results)) == {"accepted": 10_000}
    assert results[-1]["balance"] == posted(live, customer)
    assert len(transfers(live, customer)) == 1
    live.audit()


@pytest.mark.parametrize("is_chunked", [False, True])
def test_16_mib_are_taken_and_17_are_not(live: Live, customer: Customer, is_chunked: bool) -> None:
    event = encode(customer.event())
    headers = {**live.service, "Content-Type": "application/json"}

    def send(size: int) -> httpx.Response:
        body = event + b" " * (size - len(event))
        chunks = (body[start : start + MIB] for start in range(0, size, MIB))
        return live.http.post("/v1/usage/events", headers=headers, content=chunks if is_chunked else body)

    answer = send(17 * MIB)
    assert answer.status_code == 413
    assert error_of(answer)["code"] == "payload_too_large"
    assert "16 MiB" in error_of(answer)["message"]
    assert send(16 * MIB).status_code == 200
