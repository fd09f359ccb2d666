"""`GET /v1/account/usage`: the contract, its figures, its filters, and what it never shows.

Every answer here went through the contract's schema (`Live.usage`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

import jsonschema
import pytest

from metering import clock
from metering.pricing.book import PriceBook
from tests.api.live import Customer, Event, Live, ago, decode, error_of, running
from tests.contract.account_usage import contract, validate

PATH = "/v1/account/usage"
COST = Decimal("0.001632")


@pytest.fixture(scope="module")
def example(live: Live, example_book: PriceBook) -> Iterator[Live]:
    """The service, at the prices of the contract's example."""
    with running(live.database_url, example_book) as service:
        yield service


def sent(customer: Customer, shown: Event, day: str, **changes: object) -> Event:
    """The event as a gateway sends it that the contract's example shows."""
    fields = (
        "id",
        "source",
        "model",
        "endpoint",
        "status",
        "status_code",
        "error",
        "request_id",
        "latency_ms",
    )
    event = {name: shown[name] for name in fields}
    tokens = {"prompt_tokens": shown["tokens"]["input"], "completion_tokens": shown["tokens"]["output"]}
    created_at = shown["created_at"].replace("2026-05-06", day)
    more = {"metadata": shown["metadata"], "output_urls": shown["output_urls"], "created_at": created_at}
    return {**event, **more, "usage": tokens, "account_id": customer.account_id, **changes}


def test_the_figures_of_the_contract_s_example_come_out(example: Live) -> None:
    customer = example.customer(credit="42.749386")
    wanted = contract()["example"]
    day = (clock.now() - timedelta(days=1)).strftime("%Y-%m-%d")
    chat, agent, gpu = wanted["data"]
    events = [
        sent(customer, chat, day),
        sent(customer, agent, day),
        sent(customer, gpu, day, usage={"seconds": 147, "num_gpus": 1}),
    ]
    example.send(events)
    shown = example.usage(customer)
    # The example's average is not that of its own rows: here it is the mean of the latencies that are known.
    assert shown["summary"] == json.loads(
        json.dumps({**wanted["summary"], "avg_latency_ms": (1840 + 2210) // 2}), parse_float=Decimal
    )
    assert shown["spend"] == json.loads(json.dumps(wanted["spend"]), parse_float=Decimal)
    assert shown["balance"]["amount"] == Decimal("42.5")
    assert (shown["object"], shown["has_more"], shown["next_cursor"]) == ("account_usage", False, None)
    for event, model in zip(shown["data"], wanted["data"], strict=True):
        metadata = event.pop("metadata")
        assert {name: metadata[name] for name in model["metadata"]} == json.loads(
            json.dumps(model["metadata"]), parse_float=Decimal
        )
        expected = {**model, "created_at": model["created_at"].replace("2026-05-06", day)}
        del expected["metadata"]
        assert event == json.loads(json.dumps(expected), parse_float=Decimal)


SPOILS: dict[str, Callable[[Any], object]] = {
    "a text for a number": lambda body: body["balance"].update(amount="42.5"),
    "no date-time": lambda body: body["data"][0].update(created_at="2026-05-06 00:12:03"),
    "no source": lambda body: body["data"][0].update(source="gpu"),
    "no URI": lambda body: body["data"][0].update(output_urls=["picture.png"]),
    "one more field": lambda body: body["data"][0].update(ip="192.0.2.1"),
    "one field fewer": lambda body: body["summary"].pop("errors"),
    "a cursor that is no date-time": lambda body: body.update(next_cursor="19231"),
}


@pytest.mark.parametrize("name", SPOILS)
def test_the_check_against_the_contract_is_not_idle(name: str) -> None:
    example = json.loads(json.dumps(contract()["example"]))
    validate(example)
    SPOILS[name](example)
    with pytest.raises(jsonschema.ValidationError):
        validate(example)


def test_a_new_account_has_nothing_to_show(live: Live) -> None:
    customer = live.customer(credit="42.5")
    shown = live.usage(customer)
    assert shown["balance"]["amount"] == Decimal("42.5")
    assert shown["summary"] == {
        "requests": 0,
        "total_cost": 0,
        "total_tokens": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "errors": 0,
        "avg_latency_ms": None,
    }
    assert shown["spend"]["total"] == 0
    assert (shown["data"], shown["has_more"], shown["next_cursor"]) == ([], False, None)


def test_both_key_headers_open_it(live: Live, customer: Customer) -> None:
    live.send([customer.event()])
    for headers in (
        {"Authorization": f"Bearer {customer.key}"},
        {"authorization": f"bearer  {customer.key}"},
        {"x-api-key": customer.key},
        {"X-API-KEY": customer.key, "Authorization": "Basic YTpi"},
    ):
        answer = live.http.get(PATH, headers=headers)
        validate(decode(answer))
        assert len(answer.json()["data"]) == 1


def test_an_event_is_shown_as_it_was_sent(live: Live, customer: Customer) -> None:
    event = customer.event(
        created_at="2026-01-02T03:04:05.678901+05:30",
        source="playground",
        endpoint="/v1/messages",
        status="error",
        status_code=499,
        error="The client went away.",
        request_id="req_ü",
        latency_ms=2**40,
        usage={
            "input_tokens": 70,
            "output_tokens": 9,
            "cache_read_input_tokens": 20,
            "cache_creation_input_tokens": 10,
        },
        output_urls=["https://cdn.example/a.png?x=1", "s3://bucket/key"],
        metadata={"conversation_id": "c1", "nested": {"a": [1, None, True, "x", Decimal("0.10")]}},
    )
    event["created_at"] = (clock.now() - timedelta(hours=1)).astimezone(UTC).isoformat()
    (result,) = live.send([event])
    (shown,) = live.usage(customer)["data"]
    assert shown["created_at"] == event["created_at"].replace("+00:00", "Z")
    same = ("id", "source", "model", "endpoint", "status", "status_code", "error", "request_id", "latency_ms")
    assert {name: shown[name] for name in (*same, "output_urls")} == {
        name: event[name] for name in (*same, "output_urls")
    }
    assert shown["tokens"] == {"input": 100, "output": 9, "cache_read": 20, "cache_write": 10, "total": 109}
    assert shown["cost"] == {"amount": result["cost_usd"], "currency": "USD"}
    assert shown["metadata"]["nested"] == event["metadata"]["nested"]
    assert shown["metadata"]["conversation_id"] == "c1"


def test_metadata_explains_the_cost(live: Live, customer: Customer) -> None:
    usage = {"prompt_tokens": 40_000, "completion_tokens": 10, "tool_usage": {"web_search": 3}, "cost_usd": 9}
    metadata = {"worker_usage": "mine", "tool_breakdown": "mine", "plan": "gold"}
    (result,) = live.send([customer.event(usage=usage, metadata=metadata)])
    shown = live.usage(customer)["data"][0]["metadata"]
    assert (
        shown["worker_usage"]
        == result["usage"]
        == {
            "prompt_tokens": 40_000,
            "completion_tokens": 10,
            "tool_usage": {"web_search": 3},
            "cost_usd": result["cost_usd"],
            "pricing_tier_label": "32K-128K",
        }
    )
    (tool,) = shown["tool_breakdown"]
    rate = next(item["rate"] for item in result["line_items"] if item["meter"] == "tools.web_search")
    assert tool == {"tool": "web_search", "invocations": 3, "unit_cost_usd": rate, "cost_usd": rate * 3}
    assert shown["plan"] == "gold"


def test_what_is_private_is_never_shown(live: Live, customer: Customer) -> None:
    metadata = {
        "ip": "x", "client_ip": "x", "ip_address": "x", "x-forwarded-for": "x", "remote_addr": "x",
        "user_agent": "x", "User-Agent": "x", "userAgent": "x",
        "peer": "192.0.2.17", "v6": "2001:db8::17", "proxies": "192.0.2.17, 192.0.2.18",
        "socket": "192.0.2.17:443", "bracketed": "[2001:db8::17]:443", "net": "192.0.2.0/24",
        "upstream_cost_usd": 7.25, "provider_cost": 7.25, "internal_cost_usd": 7.25, "margin": 7.25,
        "deep": [{"deeper": {"ip": "x", "user_agent": "x", "upstream_cost": 7.25, "kept": "k"}}, "192.0.2.1"],
        "version": "1.2.3.4.5", "time": "12:30", "chip": "k", "ship_to": "k", "cost_center": "k",
    }  # fmt: skip
    usage = {
        "prompt_tokens": 1,
        "client_ip": "192.0.2.17",
        "upstream_cost_usd": Decimal("7.25"),
        "user_agent": "x",
    }
    live.send([customer.event(metadata=metadata, usage=usage)])
    answer = live.http.get(PATH, headers=customer.headers)
    for secret in ('"x"', "192.0.2", "2001:db8", "7.25", "agent", "upstream", "margin"):
        assert secret not in answer.text.replace("hosted_agents", ""), secret
    shown = answer.json()["data"][0]["metadata"]
    assert shown["deep"] == [{"deeper": {"kept": "k"}}]
    for name in ("version", "time", "chip", "ship_to", "cost_center"):
        assert shown[name] == metadata[name]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("category", "agents", "chat"),
        ("category", "gpu_cloud", None),
        ("agent_type", "hermes", ["hermes"]),
        ("agent_name", "My Assistant", 5),
        ("agent_instance_id", "8bf95e48", None),
        ("gpu_slug", "h100-nvl", {}),
        ("gpu_display", "H100 NVL", True),
        ("seconds", 147, "147"),
        ("seconds", Decimal("0.5"), None),
        ("price_hourly", Decimal("5.6"), True),
        ("conversation_id", "c1", 5),
    ],
)
def test_metadata_that_breaks_the_contract_is_left_out(
    live: Live, customer: Customer, name: str, good: object, bad: object
) -> None:
    results = live.send([customer.event(metadata={name: value, "other": bad}) for value in (good, bad)])
    assert [one["status"] for one in results] == ["accepted", "accepted"]
    second, first = (event["metadata"] for event in live.usage(customer)["data"])
    assert first[name] == good
    assert name not in second
    assert first["other"] == second["other"] == bad


def test_what_has_no_price_yet_costs_nothing(live: Live, customer: Customer) -> None:
    live.send([customer.event(model="nobody-s-model"), customer.event()])
    shown = live.usage(customer)
    assert [event["cost"]["amount"] for event in shown["data"]] == [COST, 0]
    assert shown["data"][1]["tokens"]["total"] == 1_100
    assert shown["data"][1]["metadata"]["worker_usage"]["cost_usd"] is None
    assert shown["summary"]["requests"] == 2
    assert shown["summary"]["total_cost"] == shown["spend"]["total"] == COST


def test_the_summary_is_of_the_page_and_the_spend_of_the_window(live: Live, customer: Customer) -> None:
    live.send([customer.event(latency_ms=n, status=("error" if n % 2 else "success")) for n in range(1, 6)])
    page = live.usage(customer, limit=2)
    assert page["summary"] == {
        "requests": 2,
        "total_cost": 2 * COST,
        "total_tokens": 2_200,
        "input_tokens": 2_000,
        "output_tokens": 200,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "errors": 1,
        "avg_latency_ms": 4,
    }
    assert page["spend"]["total"] == 5 * COST
    assert 100 - page["balance"]["amount"] == 5 * COST


def test_nobody_sees_another_account_s_events(live: Live, customer: Customer) -> None:
    other = live.customer()
    live.send([customer.event(id="mine"), other.event(id="theirs")])
    for one, name in ((customer, "mine"), (other, "theirs")):
        for query in ({}, {"model": "qwen3-max"}, {"source": "api"}, {"from_": ago(hours=1)}):
            shown = live.usage(one, **query)
            assert [event["id"] for event in shown["data"]] == [name]
            assert shown["spend"]["total"] == COST
    refused = live.http.get(PATH, params={"account_id": other.account_id}, headers=customer.headers)
    assert refused.status_code == 400
    assert error_of(refused)["param"] == "account_id"
