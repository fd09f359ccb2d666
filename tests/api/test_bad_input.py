"""Bad input, each with the right status, code and field; a bad event never sinks its batch."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from metering.services.api_keys import create_api_key, revoke_api_key
from metering.services.service_tokens import Scope, create_service_token
from tests.api.live import Customer, Event, Live, decode, encode, error_of, well_formed
from tests.contract.account_usage import validate_error

NOBODY = "00000000-0000-7000-8000-000000000000"
EVENTS = "/v1/usage/events"
ACCOUNT_USAGE = "/v1/account/usage"
NDJSON = {"Content-Type": "application/x-ndjson"}


def spelt(event: Event, name: str, text: str) -> bytes:
    """The event as JSON with that text, which may be no JSON, as the field's value."""
    body = json.dumps({**event, name: 0})
    assert body.endswith("0}"), "the field must come last"
    return f"{body[:-2]}{text}}}".encode()


def rejection(live: Live, bad: bytes, customer: Customer) -> dict[str, Any]:
    """The error of the bad event, which stands in the midst of good ones; alone and quoted it is the same."""
    good = [customer.event(), customer.event()]
    mixed = b"[%s,%s,%s]" % (encode(good[0]), bad, encode(good[1]))
    first, result, last = decode(live.post(mixed))["results"]
    assert (first["status"], result["status"], last["status"]) == ("accepted", "rejected", "accepted")
    assert set(result) == {"id", "status", "error"}
    for path in (EVENTS, "/v1/usage/quote"):
        alone = live.post(bad, path=path)
        assert alone.status_code == 200
        assert decode(alone)["results"] == [result]
    line = live.post(b"%s\n%s\n" % (bad, encode(good[0])), headers=NDJSON)
    assert decode(line)["results"][0] == result
    assert {event["id"] for event in live.usage(customer)["data"]} == {event["id"] for event in good}
    return well_formed(result["error"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", "body"),
        (b" \n", "body"),
        (b"hello", "body"),
        (b"{'id': 1}", "body"),
        (b'{"id": "a", "usage": {"prompt_tokens": 1}', "body"),
        (b'[{"id": "a"}', "body"),
        (b'{"id": "a"} {"id": "b"}', "body"),
        (b'{"id": "a", "usage": {"prompt_tokens": NaN}}', "body"),
        (b'[{"id": "a", "usage": {"prompt_tokens": -Infinity}}]', "body"),
        (b'{"id": "a", "usage": {"prompt_tokens": 01}}', "body"),
        (b'{"id": "a\\ud800"}', "body"),
        (b"[" * 100_000 + b"]" * 100_000, "body"),
        (b"[" * 100_000, "body"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "body"),
        (b'[{"id": "a", "metadata": %s}]' % (b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "body"),
        (b"<event/>", "body"),
        (b"null", "events"),
        (b"5", "events"),
        (b'"text"', "events"),
        (b'{"events": null}', "events"),
        (b'{"events": {}}', "events"),
        (b'{"events": [], "colour": 1}', "colour"),
    ],
    ids=lambda value: value[:30].decode(errors="replace") if isinstance(value, bytes) else value,
)
@pytest.mark.parametrize("path", [EVENTS, "/v1/usage/quote"])
def test_a_body_of_no_known_shape_is_refused(live: Live, path: str, body: bytes, param: str) -> None:
    answer = live.post(body, path=path)
    assert answer.status_code == 400, answer.text
    error = error_of(answer)
    assert (error["code"], error["param"]) == ("invalid_parameter", param)
    validate_error(answer.json())


@pytest.mark.parametrize(
    "content_type", ["application/xml", "application/cloudevents+avro", "multipart/form-data"]
)
def test_another_content_type_is_refused_for_what_it_is_not(live: Live, content_type: str) -> None:
    answer = live.post(b"<event/>", headers={"Content-Type": content_type})
    assert answer.status_code == 400
    assert error_of(answer)["param"] == "body"


@pytest.mark.parametrize(
    ("field", "text", "param"),
    [
        ("id", "5", "id"),
        ("id", '""', "id"),
        ("id", "null", "id"),
        ("id", json.dumps("i" * 256), "id"),
        ("account_id", "5", "account_id"),
        ("created_at", '"yesterday"', "created_at"),
        ("created_at", '"2026-01-01T00:00:00"', "created_at"),
        ("created_at", '"2026-02-30T00:00:00Z"', "created_at"),
        ("created_at", "1767225600", "created_at"),
        ("source", '"elsewhere"', "source"),
        ("source", "null", "source"),
        ("model", "5", "model"),
        ("model", '""', "model"),
        ("endpoint", "5", "endpoint"),
        ("endpoint", json.dumps("e" * 10_001), "endpoint"),
        ("status", '"ok"', "status"),
        ("status_code", '"200"', "status_code"),
        ("status_code", "-1", "status_code"),
        ("status_code", "1000", "status_code"),
        ("error", "{}", "error"),
        ("request_id", "5", "request_id"),
        ("latency_ms", "1.5", "latency_ms"),
        ("latency_ms", "-1", "latency_ms"),
        ("latency_ms", "true", "latency_ms"),
        ("latency_ms", "123456789012345678901234567890", "latency_ms"),
        ("usage", "null", "usage"),
        ("usage", "[]", "usage"),
        ("usage", '"5"', "usage"),
        ("output_urls", '"https://x/y"', "output_urls"),
        ("output_urls", "[5]", "output_urls[0]"),
        ("output_urls", '["https://x/y", "picture.png"]', "output_urls[1]"),
        ("output_urls", '["https://x/y\\n"]', "output_urls[0]"),
        ("metadata", "[]", "metadata"),
        ("metadata", '"x"', "metadata"),
        ("metadata", '{"a": 1e99999999999999999999}', "metadata"),
        ("colour", "1", "colour"),
        ("user_id", "null", "user_id"),
    ],
)
def test_a_bad_field_is_named(live: Live, customer: Customer, field: str, text: str, param: str) -> None:
    event = customer.event()
    event.pop(field, None)
    error = rejection(live, spelt(event, field, text), customer)
    assert (error["code"], error["param"]) == ("invalid_parameter", param)


@pytest.mark.parametrize("field", ["id", "account_id", "model"])
def test_a_missing_field_is_named(live: Live, customer: Customer, field: str) -> None:
    event = customer.event()
    del event[field]
    error = rejection(live, encode(event), customer)
    assert (error["code"], error["param"]) == ("invalid_parameter", field)


@pytest.mark.parametrize(
    ("usage", "param"),
    [
        ('{"prompt_tokens": -1}', "prompt_tokens"),
        ('{"completion_tokens": -1}', "completion_tokens"),
        ('{"prompt_tokens": 1.5}', "prompt_tokens"),
        ('{"prompt_tokens": "5"}', "prompt_tokens"),
        ('{"prompt_tokens": true}', "prompt_tokens"),
        ('{"prompt_tokens": [5]}', "prompt_tokens"),
        ('{"prompt_tokens": {"a": 5}}', "prompt_tokens"),
        ('{"prompt_tokens": 1e400}', "prompt_tokens"),
        ('{"prompt_tokens": 1e-400}', "prompt_tokens"),
        ('{"prompt_tokens": 1e15}', "prompt_tokens"),
        ('{"prompt_tokens": 123456789012345678901234567890}', "prompt_tokens"),
        ('{"prompt_tokens": 10, "cache_read_input_tokens": 11}', "cache_read_input_tokens"),
        ('{"cache_read_input_tokens": 1}', "cache_read_input_tokens"),
        (
            '{"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 11}}',
            "prompt_tokens_details.cached_tokens",
        ),
        (
            '{"input_tokens": 10, "input_tokens_details": {"cached_tokens": 11}}',
            "input_tokens_details.cached_tokens",
        ),
        (
            '{"prompt_tokens": 10, "cache_read_input_tokens": 6, "cache_creation_input_tokens": 6}',
            "cache_creation_input_tokens",
        ),
        ('{"input_tokens": -1}', "input_tokens"),
        ('{"input_tokens": "5"}', "input_tokens"),
        ('{"output_tokens": 0.1}', "output_tokens"),
        ('{"duration_seconds": -0.1}', "duration_seconds"),
        ('{"duration_seconds": "5"}', "duration_seconds"),
        ('{"duration_seconds": true}', "duration_seconds"),
        ('{"seconds": 0.1234567890123456789}', "seconds"),
        ('{"images": false}', "images"),
        ('{"upstream_cost_usd": -1}', "upstream_cost_usd"),
        ('{"upstream_cost_usd": "1"}', "upstream_cost_usd"),
        ('{"tool_usage": {"web_search": -1}}', "tool_usage.web_search"),
        ('{"tool_usage": {"web_search": "1"}}', "tool_usage.web_search"),
        (
            '{"tool_calls_details": {"web_search": {"invocation": 0.5}}}',
            "tool_calls_details.web_search.invocation",
        ),
        ('{"resolution": 1080}', "resolution"),
        ('{"audio": "yes"}', "audio"),
        ('{"surprise": 1e400}', "surprise"),
    ],
)
def test_bad_usage_is_named(live: Live, customer: Customer, usage: str, param: str) -> None:
    event = customer.event()
    del event["usage"]
    error = rejection(live, spelt(event, "usage", usage), customer)
    assert (error["code"], error["param"]) == ("invalid_parameter", f"usage.{param}")


@pytest.mark.parametrize("account_id", ["me", "", "a\0b", NOBODY, "0" * 32, "ü"])
def test_an_unknown_account_is_named(live: Live, customer: Customer, account_id: str) -> None:
    error = rejection(live, encode(customer.event(account_id=account_id)), customer)
    assert (error["code"], error["param"]) == ("account_not_found", "account_id")


@pytest.mark.parametrize("value", [None, 5, "text", [], [[]], True])
def test_what_is_no_event_at_all(live: Live, customer: Customer, value: object) -> None:
    first, bad, last = decode(live.post([customer.event(), value, customer.event()]))["results"]
    assert (first["status"], last["status"]) == ("accepted", "accepted")
    assert (bad["id"], bad["status"]) == (None, "rejected")
    assert well_formed(bad["error"])["param"] == "body"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"id": "a\0b"}, "id"),
        ({"model": "a\0b"}, "model"),
        ({"endpoint": "\0"}, "endpoint"),
        ({"error": "\0"}, "error"),
        ({"request_id": "\0"}, "request_id"),
        ({"output_urls": ["https://x/\0"]}, "output_urls[0]"),
        ({"usage": {"a\0b": 1}}, "usage.a?b"),
        ({"usage": {"a": "\0"}}, "usage.a"),
        ({"usage": {"a": [{"b": "\0"}]}}, "usage.a[0].b"),
        ({"metadata": {"\0": 1}}, "metadata.?"),
        ({"metadata": {"a": ["\0"]}}, "metadata.a[0]"),
    ],
)
def test_u_0000_is_refused_wherever_it_stands(
    live: Live, customer: Customer, change: Event, param: str
) -> None:
    error = rejection(live, encode(customer.event(**change)), customer)
    assert (error["code"], error["param"]) == ("invalid_parameter", param)


def test_what_only_looks_like_u_0000_is_kept(live: Live, customer: Customer) -> None:
    metadata = {"a": "\\u0000", "\\u0000": "\\\\u0000 \u2028 \U0001f600 \x7f \x01"}
    (result,) = live.send([customer.event(metadata=metadata)])
    assert result["status"] == "accepted"
    shown = live.usage(customer)["data"][0]["metadata"]
    assert {name: shown[name] for name in metadata} == metadata


@pytest.mark.parametrize(
    "bad",
    [
        b'{"id":"a","model":"\xff"}',
        b'{"id":"a","metadata":{"\xed\xa0\x80":1}}',
        b'{"id":"a","error":"\xc0\x80"}',
    ],
)
def test_what_is_not_utf_8_is_refused(live: Live, customer: Customer, bad: bytes) -> None:
    error = rejection(live, bad, customer)
    assert (error["code"], error["param"]) == ("invalid_parameter", "body")


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udc00\\ud800"', '"\\u12"', '"\n"', '"\\x"'])
def test_half_a_character_is_no_json(live: Live, customer: Customer, text: str) -> None:
    bad = spelt(customer.event(), "metadata", f'{{"a": {text}}}')
    answer = live.post(b"[%s]" % bad)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == "body"
    if b"\n" not in bad:
        refused, good = decode(live.post(b"%s\n%s" % (bad, encode(customer.event())), headers=NDJSON))[
            "results"
        ]
        assert (refused["status"], good["status"]) == ("rejected", "accepted")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("field", ["usage", "metadata"])
def test_deep_nesting_sinks_its_own_event_at_most(
    live: Live, customer: Customer, field: str, opening: str, closing: str
) -> None:
    event = customer.event()
    del event["usage"]

    def nested(levels: int) -> bytes:
        return spelt(event, field, f'{{"a":{opening * levels}1{closing * levels}}}')

    # From about 900 the decoder's own limit lies, wherever exactly: what is beyond is no JSON to it.
    for levels in (65, 100, 500, *range(900, 1_000, 7), 2_000, 100_000):
        answer = live.post(b"[%s,%s]" % (nested(levels), encode(customer.event())))
        if answer.status_code == 400:
            assert levels >= 900
            assert error_of(answer)["param"] == "body"
        else:
            refused, good = decode(answer)["results"]
            assert (refused["status"], good["status"]) == ("rejected", "accepted")
            assert well_formed(refused["error"])["param"] in ({field} if levels < 900 else {field, "body"})
        answer = live.post(b"%s\n%s" % (nested(levels), encode(customer.event())), headers=NDJSON)
        assert [one["status"] for one in decode(answer)["results"]] == ["rejected", "accepted"]
    assert decode(live.post(nested(60)))["results"][0]["status"] != "rejected"


def test_numbers_that_mean_nothing_to_us_are_kept_as_they_are(live: Live, customer: Customer) -> None:
    metadata = {
        "long": 10**30,
        "negative": -(2**80),
        "huge": Decimal("1e400"),
        "tiny": Decimal("1e-400"),
        "places": Decimal("0.12345678901234567890"),
    }
    event = customer.event(metadata=metadata)
    assert [one["status"] for one in live.send([event]) + live.send([event])] == ["accepted", "duplicate"]
    shown = live.usage(customer)["data"][0]["metadata"]
    assert {name: shown[name] for name in metadata} == metadata


@pytest.mark.parametrize("path", [EVENTS, "/v1/usage/quote"])
def test_ingest_wants_a_service_token_with_its_scope(live: Live, customer: Customer, path: str) -> None:
    every = set(Scope) - {Scope.USAGE_WRITE}
    lesser = create_service_token(live.app.database, name="lesser", scopes=every)[1]

    def ask(headers: dict[str, str]) -> tuple[int, str]:
        answer = live.http.post(path, headers=headers, content=encode(customer.event()))
        validate_error(answer.json())
        assert error_of(answer)["param"] == ("Authorization" if answer.status_code == 401 else "")
        return answer.status_code, error_of(answer)["code"]

    token = live.service["Authorization"].removeprefix("Bearer ")
    assert ask({}) == (401, "missing_api_key")
    assert ask({"Authorization": "Bearer mst-unknown"}) == (401, "invalid_api_key")
    assert ask({"Authorization": f"Bearer {token}x"}) == (401, "invalid_api_key")
    assert ask(customer.headers) == (401, "invalid_api_key")
    assert ask({"Authorization": f"Bearer {customer.key}"}) == (401, "invalid_api_key")
    assert ask({"x-api-key": lesser}) == (403, "insufficient_scope")
    assert ask({"Authorization": f"Bearer {lesser}"}) == (403, "insufficient_scope")
    # What is refused is not read: not even its size matters.
    assert live.http.post(path, content=b" " * (17 * 1024 * 1024)).status_code == 401
    assert live.usage(customer)["data"] == []
    answer = live.http.post(path, headers={"x-api-key": token}, content=encode(customer.event()))
    assert decode(answer)["results"][0]["status"] == "accepted"


def test_the_account_s_view_wants_the_account_s_key(live: Live, customer: Customer) -> None:
    key, secret = create_api_key(live.app.database, customer.account_id, prefix="sk-test-")

    def ask(headers: dict[str, str]) -> tuple[int, str]:
        answer = live.http.get(ACCOUNT_USAGE, headers=headers)
        validate_error(answer.json())
        assert error_of(answer)["param"] == ("Authorization" if answer.status_code == 401 else "")
        return answer.status_code, error_of(answer)["code"]

    assert ask({}) == (401, "missing_api_key")
    assert ask({"x-api-key": ""}) == (401, "missing_api_key")
    assert ask({"Authorization": f"Basic {customer.key}"}) == (401, "missing_api_key")
    assert ask({"x-api-key": f"{customer.key}x"}) == (401, "invalid_api_key")
    assert ask(dict(live.service)) == (401, "invalid_api_key")
    revoke_api_key(live.app.database, customer.account_id, key.id)
    assert ask({"x-api-key": secret}) == (401, "invalid_api_key")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_ingest_knows_no_other_method(live: Live, method: str) -> None:
    answer = live.http.request(method, EVENTS, headers=dict(live.service))
    assert answer.status_code == 405
    assert error_of(answer)["code"] == "method_not_allowed"
