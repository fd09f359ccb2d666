"""Sending is idempotent: a retry is answered as the first time, and charged never again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from metering.pricing.book import PriceBook
from tests.api.live import Customer, Event, Live, ago, decode, lines, posted, running, statuses, well_formed

NDJSON = {"Content-Type": "application/x-ndjson"}
# 1,000 tokens in and 100 out, at 1.08 and 5.52 a million.
COST = Decimal("0.001632")


@pytest.fixture(scope="module")
def elsewhere(live: Live, example_book: PriceBook) -> Iterator[Live]:
    """Another process over the same database, weeks later: other prices, and shorter patience."""
    with running(live.database_url, example_book, {"METERING_MAX_EVENT_AGE_DAYS": "1"}) as service:
        yield service


def test_a_retry_is_answered_as_the_first_time_byte_for_byte(
    live: Live, elsewhere: Live, customer: Customer
) -> None:
    created_at = ago(days=40)
    usages: list[dict[str, Any]] = [
        {
            "prompt_tokens": 1_000,
            "completion_tokens": 100,
            "note": "é\n\t\\ \u2028",
            "share": Decimal("1.10"),
        },
        {"mode": "lite", "upstream_cost_usd": Decimal("0.123456789012345678"), "pricing_tier_label": "free"},
        {"prompt_tokens": 300_000_000},
        {},
    ]
    models = ["qwen3-max", "manus", "qwen3-max", "nobody-s-model"]
    events = [
        customer.event(usage=usage, model=model, created_at=created_at)
        for usage, model in zip(usages, models, strict=True)
    ]
    first = live.post(events)
    assert statuses(decode(first)["results"]) == ["accepted", "accepted", "unpriced", "unpriced"]
    live.send([customer.event()])
    expected = re.sub(r'"status":"(accepted|unpriced)"', '"status":"duplicate"', first.text)
    for service in (live, elsewhere):
        assert service.post(events).text == expected
        # In another shape, and in another company, it is still the same event.
        assert service.post({"events": list(reversed(events))}).status_code == 200
        assert service.post(lines(events), headers=NDJSON).text == expected
    assert len(live.usage(customer)["data"]) == 5
    live.audit()


def test_a_new_event_is_priced_by_the_book_of_its_process(
    elsewhere: Live, live: Live, customer: Customer
) -> None:
    (result,) = elsewhere.send([customer.event()])
    assert result["cost_usd"] == Decimal("0.00632")
    assert posted(live, customer) == 100 - Decimal("0.00632")


def test_too_old_names_the_limit_but_a_retry_is_never_too_old(
    live: Live, elsewhere: Live, customer: Customer
) -> None:
    known, late = (customer.event(created_at=ago(days=2)) for _ in range(2))
    assert statuses(live.send([known])) == ["accepted"]
    repeated, refused = elsewhere.send([known, late])
    assert repeated["status"] == "duplicate"
    assert refused["status"] == "rejected"
    assert well_formed(refused["error"])["param"] == "created_at"
    assert "1 days" in refused["error"]["message"]
    (older,) = live.send([customer.event(created_at=ago(days=91))])
    assert "90 days" in older["error"]["message"]
    assert len(live.usage(customer)["data"]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"usage": {"prompt_tokens": 1_000, "completion_tokens": 101}},
        {"model": "deepseek-v4-pro"},
        {"source": "playground"},
        {"status": "error"},
        {"metadata": {"a": 1}},
        {"request_id": "req_1"},
        {"created_at": ago(hours=1)},
    ],
)
def test_the_same_id_with_another_body_is_a_conflict_and_changes_nothing(
    live: Live, customer: Customer, change: Event
) -> None:
    event = customer.event()
    live.send([event])
    before = live.usage(customer)
    (result,) = live.send([{**event, **change}])
    assert (result["id"], result["status"]) == (event["id"], "conflict")
    assert set(result) == {"id", "status", "error"}
    assert well_formed(result["error"])["param"] == "id"
    assert live.usage(customer) == before
    live.audit()


def test_duplicates_and_conflicts_within_one_batch(live: Live, customer: Customer) -> None:
    event = customer.event()
    first, again, other = live.send([event, event, {**event, "model": "deepseek-v4-pro"}])
    assert (first["status"], again["status"], other["status"]) == ("accepted", "duplicate", "conflict")
    assert {**first, "status": "duplicate"} == again
    assert posted(live, customer) == 100 - COST
    live.audit()


def test_an_event_without_a_time_gets_ours_and_can_be_retried(live: Live, customer: Customer) -> None:
    event = customer.event()
    live.send([event])
    shown = live.usage(customer)["data"][0]
    assert ago(minutes=1) < shown["created_at"].replace("Z", "+00:00") <= ago()
    assert statuses(live.send([event])) == ["duplicate"]
    assert live.usage(customer)["data"][0] == shown


def test_calls_that_overlap_charge_each_event_once(live: Live) -> None:
    customers = [live.customer() for _ in range(3)]
    events = [one.event(id=f"e{n}") for n in range(40) for one in customers]
    batches = [events[start : start + 30] for start in range(0, 100, 10)] * 3
    with ThreadPoolExecutor(8) as threads:
        answers = [result for results in threads.map(live.send, batches) for result in results]
    assert Counter(statuses(answers)) == {"accepted": 120, "duplicate": 30 * 30 - 120}
    for customer in customers:
        assert posted(live, customer) == 100 - 40 * COST
    live.audit()
