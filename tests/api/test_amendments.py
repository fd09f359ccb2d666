"""`supersedes`: a later, better figure for work already billed; only the difference moves."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.api.live import Customer, Live, posted, well_formed

HUNDRED = Decimal(100)


def event(customer: Customer, tokens: int = 1_000, **fields: object) -> dict[str, Any]:
    """An event whose cost is 1.08 a million for its input."""
    return customer.event(usage={"prompt_tokens": tokens, "completion_tokens": 0}, **fields)


def cost(tokens: int) -> Decimal:
    return Decimal(tokens) * Decimal("0.00000108")


def amendments(live: Live, customer: Customer) -> list[tuple[str, str, Decimal]]:
    query = """SELECT from_account, to_account, amount_usd FROM transfers
                WHERE account_id = %s AND kind = 'amendment' ORDER BY sequence"""
    return live.rows(query, customer.account_id)


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "later"])
@pytest.mark.parametrize(
    ("tokens", "transfers"),
    [
        (3_000, [("customer_credit", "revenue:usage", cost(2_000))]),
        (400, [("revenue:usage", "customer_credit", cost(600))]),
        (1_000, []),
        (0, [("revenue:usage", "customer_credit", cost(1_000))]),
    ],
)
def test_the_difference_is_posted_and_no_more(
    live: Live,
    customer: Customer,
    tokens: int,
    transfers: list[tuple[str, str, Decimal]],
    *,
    together: bool,
) -> None:
    first = event(customer)
    later = event(customer, tokens, supersedes=first["id"])
    if together:
        _, result = live.send([first, later])
    else:
        live.send([first])
        (result,) = live.send([later])
    assert (result["status"], result["cost_usd"]) == ("accepted", cost(tokens))
    assert result["balance"] == posted(live, customer) == HUNDRED - cost(tokens)
    assert amendments(live, customer) == transfers
    live.audit()


def test_the_history_has_the_later_event_in_place_of_the_first(live: Live, customer: Customer) -> None:
    first, other = event(customer), event(customer)
    later = event(customer, 3_000, supersedes=first["id"])
    live.send([first, other])
    live.send([later])
    usage = live.usage(customer)
    assert {one["id"] for one in usage["data"]} == {later["id"], other["id"]}
    assert usage["spend"]["total"] == sum(one["cost"]["amount"] for one in usage["data"]) == cost(4_000)
    assert (
        next(one for one in usage["data"] if one["id"] == later["id"])["metadata"]["supersedes"]
        == first["id"]
    )


def test_an_amendment_may_be_amended_and_the_first_may_not_be_again(live: Live, customer: Customer) -> None:
    first = event(customer)
    second = event(customer, 2_000, supersedes=first["id"])
    rival = event(customer, 7_000, supersedes=first["id"])
    third = event(customer, 500, supersedes=second["id"])
    live.send([first, second])
    (refused, result) = live.send([rival, third])
    error = well_formed(refused["error"])
    assert (refused["status"], error["param"]) == ("rejected", "supersedes")
    assert second["id"] in error["message"]
    assert result["balance"] == posted(live, customer) == HUNDRED - cost(500)
    live.audit()


def test_an_amendment_sent_again_changes_nothing(live: Live, customer: Customer) -> None:
    first = event(customer)
    later = event(customer, 3_000, supersedes=first["id"])
    live.send([first, later])
    (again,) = live.send([later])
    assert (again["status"], again["cost_usd"]) == ("duplicate", cost(3_000))
    (conflict,) = live.send([{**later, "supersedes": "another"}])
    assert conflict["status"] == "conflict"
    assert posted(live, customer) == HUNDRED - cost(3_000)
    live.audit()


def test_work_of_another_kind_moves_between_the_revenue_accounts(live: Live, customer: Customer) -> None:
    first = event(customer)
    later = event(customer, 1_000, supersedes=first["id"], source="hosted_agents")
    live.send([first])
    live.send([later])
    assert amendments(live, customer) == [
        ("revenue:usage", "customer_credit", cost(1_000)),
        ("customer_credit", "revenue:hosted_agents", cost(1_000)),
    ]
    spend = live.usage(customer)["spend"]
    assert (spend["model"], spend["hosted_agents"]) == (0, cost(1_000))
    live.audit()


def test_a_figure_without_a_price_is_replaced_by_one_that_has_one(live: Live, customer: Customer) -> None:
    first = event(customer, model="no-such-model")
    later = event(customer, supersedes=first["id"])
    (unpriced,) = live.send([first])
    (result,) = live.send([later])
    assert (unpriced["status"], result["status"]) == ("unpriced", "accepted")
    assert result["balance"] == HUNDRED - cost(1_000)
    live.audit()


@pytest.mark.parametrize("known_to_another", [True, False])
def test_what_is_not_recorded_here_can_not_be_superseded(
    live: Live, customer: Customer, *, known_to_another: bool
) -> None:
    (one,) = [event(live.customer() if known_to_another else customer)]
    if known_to_another:
        live.send([one])
    (result,) = live.send([event(customer, supersedes=one["id"])])
    assert (result["status"], well_formed(result["error"])["param"]) == ("rejected", "supersedes")
    assert posted(live, customer) == HUNDRED


def test_an_event_can_not_supersede_itself(live: Live, customer: Customer) -> None:
    (result,) = live.send([event(customer, id="me", supersedes="me")])
    assert (result["status"], well_formed(result["error"])["param"]) == ("rejected", "supersedes")


@pytest.mark.parametrize("field", ["hold_id", "api_key_id"])
def test_a_link_that_is_no_uuid_is_named(live: Live, customer: Customer, field: str) -> None:
    (result,) = live.send([event(customer) | {field: "nonsense"}])
    assert (result["status"], well_formed(result["error"])["param"]) == ("rejected", field)


def test_an_unknown_hold_is_no_reason_not_to_bill(live: Live, customer: Customer) -> None:
    hold_id = "00000000-0000-7000-8000-00000000000a"
    (result,) = live.send([event(customer, hold_id=hold_id)])
    assert (result["status"], result["cost_usd"]) == ("accepted", cost(1_000))
    assert result["hold"] == {"id": hold_id, "state": "unknown", "event_id": None}
