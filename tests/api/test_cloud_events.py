"""CloudEvents 1.0 in its three modes: `id` and `source` are the identity, `subject` is the account."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.api.live import Customer, Live, ago, decode, encode, error_of, well_formed

STRUCTURED = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
BATCHED = {"Content-Type": "application/cloudevents-batch+json"}
MODES = ["structured", "batched", "binary"]
DATA = {
    "model": "qwen3-max",
    "usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "share": Decimal("1.10")},
}
COST = Decimal("0.001632")


def envelope(customer: Customer, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON)
    event = {"specversion": "1.0", "type": "usage", "source": "/gateway/a b#1", "id": "1"}
    return {**event, "subject": customer.account_id, "data": DATA, **changes}


def post(live: Live, mode: str, event: dict[str, Any]) -> httpx.Response:
    """One event in the mode; in headers, attributes are percent-encoded."""
    if mode == "structured":
        return live.post(event, headers=STRUCTURED)
    if mode == "batched":
        return live.post([event], headers=BATCHED)
    headers = {f"ce-{name}": quote(str(value)) for name, value in event.items() if name != "data"}
    return live.post(encode(event["data"]), headers=headers)


def send(live: Live, mode: str, event: dict[str, Any]) -> dict[str, Any]:
    answer = post(live, mode, event)
    assert answer.status_code == 200, answer.text
    (result,) = decode(answer)["results"]
    assert isinstance(result, dict)
    return result


@pytest.mark.parametrize("mode", MODES)
def test_an_event_in_each_mode(live: Live, customer: Customer, mode: str) -> None:
    time = ago(hours=3)
    result = send(live, mode, envelope(customer, time=time))
    assert (result["id"], result["status"], result["cost_usd"]) == ("1", "accepted", COST)
    assert result["balance"] == 100 - COST
    (shown,) = live.usage(customer)["data"]
    assert shown["id"] == result["event_id"]
    assert shown["created_at"] == time.replace("+00:00", "Z")
    assert shown["tokens"]["input"] == 1_000
    live.audit()


@pytest.mark.parametrize("second", MODES)
@pytest.mark.parametrize("first", MODES)
def test_a_retry_in_another_mode_is_a_duplicate(
    live: Live, customer: Customer, first: str, second: str
) -> None:
    event = envelope(customer, time=ago(hours=3))
    was = send(live, first, event)
    assert send(live, second, event) == {**was, "status": "duplicate"}
    other = {**event, "data": {**DATA, "model": "deepseek-v4-pro"}}
    conflict = send(live, second, other)
    assert conflict["status"] == "conflict"
    assert well_formed(conflict["error"])["param"] == "id"


def test_source_and_id_together_are_the_identity(live: Live, customer: Customer) -> None:
    identities = [("/a", "1"), ("/b", "1"), ("/a", "2"), ("/a#1", "1"), ("/a", "1#1"), ("/a%231", "1")]
    events = [envelope(customer, source=source, id=name) for source, name in identities]
    results = decode(live.post(events, headers=BATCHED))["results"]
    assert [(one["id"], one["status"]) for one in results] == [(name, "accepted") for _, name in identities]
    assert len({one["event_id"] for one in results}) == len(identities)
    assert len(live.usage(customer)["data"]) == len(identities)


def test_subject_is_the_account_whatever_the_data_says(live: Live, customer: Customer) -> None:
    other = live.customer()
    result = send(
        live, "structured", envelope(customer, data={**DATA, "account_id": other.account_id, "id": "x"})
    )
    assert result["balance"] == 100 - COST
    assert live.usage(other)["data"] == []
    plain = envelope(customer, id="2", data={**DATA, "account_id": customer.account_id})
    del plain["subject"]
    assert send(live, "structured", plain)["status"] == "accepted"


def test_extensions_are_left_alone(live: Live, customer: Customer) -> None:
    event = envelope(
        customer, datacontenttype="application/json", dataschema="https://x/y", traceparent="00-1"
    )
    assert send(live, "structured", event)["status"] == "accepted"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"specversion": "0.3"}, "invalid_parameter", "specversion"),
        ({"specversion": "1.1"}, "invalid_parameter", "specversion"),
        ({"id": ""}, "invalid_parameter", "id"),
        ({"id": "i" * 256}, "invalid_parameter", "id"),
        ({"source": ""}, "invalid_parameter", "source"),
        ({"source": "#" * 200}, "invalid_parameter", "source"),
        ({"source": "a\0b"}, "invalid_parameter", "source"),
        ({"id": "a\0b"}, "invalid_parameter", "id"),
        ({"type": ""}, "invalid_parameter", "type"),
        ({"time": "yesterday"}, "invalid_parameter", "time"),
        ({"time": "2026-01-01T00:00:00"}, "invalid_parameter", "time"),
        ({"subject": "me"}, "account_not_found", "account_id"),
        ({"data": {"usage": {}}}, "invalid_parameter", "model"),
        ({"data": {**DATA, "colour": 1}}, "invalid_parameter", "colour"),
        ({"data": {**DATA, "usage": {"prompt_tokens": -1}}}, "invalid_parameter", "usage.prompt_tokens"),
        ({"data": {**DATA, "usage": {"prompt_tokens": "5"}}}, "invalid_parameter", "usage.prompt_tokens"),
        ({"data": {**DATA, "source": "elsewhere"}}, "invalid_parameter", "source"),
        ({"data": {**DATA, "latency_ms": Decimal("1.5")}}, "invalid_parameter", "latency_ms"),
        ({"data": []}, "invalid_parameter", "data"),
    ],
)
def test_a_bad_event_is_rejected_with_the_field(
    live: Live, customer: Customer, mode: str, change: dict[str, Any], code: str, param: str
) -> None:
    result = send(live, mode, envelope(customer, **change))
    assert result["status"] == "rejected"
    error = well_formed(result["error"])
    assert (error["code"], error["param"]) == (code, param)
    assert live.usage(customer)["data"] == []


def test_a_bad_event_does_not_sink_its_batch(live: Live, customer: Customer) -> None:
    events = [
        envelope(customer),
        {"id": "half"},
        5,
        envelope(customer, specversion=1),
        envelope(customer, id="2"),
    ]
    results = decode(live.post(events, headers=BATCHED))["results"]
    assert [(one["id"], one["status"]) for one in results] == [
        ("1", "accepted"),
        ("half", "rejected"),
        (None, "rejected"),
        ("1", "rejected"),
        ("2", "accepted"),
    ]


@pytest.mark.parametrize("headers", [STRUCTURED, BATCHED, {"ce-specversion": "1.0"}])
def test_what_is_not_json_is_said_to_be_not_json(live: Live, headers: dict[str, str]) -> None:
    answer = live.post(b"{'model'", headers=headers)
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["code"], error["param"]) == ("invalid_parameter", "body")
