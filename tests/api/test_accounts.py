"""Accounts, keys and grants over HTTP: what works, and each bad input with its status, code and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from litestar.testing import TestClient

from metering.services.audit import check_books
from metering.services.service_tokens import Scope
from metering.storage.database import Database

Client = TestClient[Any]
Headers = dict[str, str]
GRANT = {"amount_usd": 150, "kind": "paid", "reason": "bank transfer", "idempotency_key": "g1"}
NESTED = "[" * 100_000 + "]" * 100_000


def error_of(answer: Any) -> dict[str, Any]:  # noqa: ANN401  (httpx's response)
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "code", "param"}
    assert body["error"]["type"] == ("api_error" if answer.status_code >= 500 else "invalid_request_error")
    error: dict[str, Any] = body["error"]
    return error


def test_an_account_is_opened_and_read(client: Client, service: Headers) -> None:
    made = client.post("/v1/accounts", headers=service, json={"name": "Ada", "metadata": {"crm": "7"}})
    assert made.status_code == 201
    account = made.json()
    assert account["name"] == "Ada"
    assert account["metadata"] == {"crm": "7"}
    assert account["balance"]["posted"] == account["balance"]["held"] == account["balance"]["available"] == 0
    assert (account["key_limit"], account["requests_per_minute"]) == (50, 50)
    assert account["tokens_per_minute"] == 2_000_000
    assert client.get(f"/v1/accounts/{account['id']}", headers=service).json() == account


def test_an_account_is_changed_where_it_is_asked_to_be(client: Client, service: Headers) -> None:
    made = client.post("/v1/accounts", headers=service, json={"name": "Ada", "metadata": {"crm": "7"}}).json()
    path = f"/v1/accounts/{made['id']}"
    wanted = {"name": "Bob", "key_limit": 3, "requests_per_minute": 70, "tokens_per_minute": 0}
    changed = client.patch(path, headers=service, json=wanted)
    assert changed.status_code == 200, changed.text
    assert changed.json() == {**made, **wanted}
    assert client.patch(path, headers=service, json={"metadata": None}).json()["metadata"] is None
    assert client.get(path, headers=service).json() == {**made, **wanted, "metadata": None}
    for wrong, param in (({"name": None}, "name"), ({"key_limit": None}, "key_limit"), ({"id": "x"}, "id")):
        refused = client.patch(path, headers=service, json=wrong)
        assert (refused.status_code, error_of(refused)["param"]) == (400, param)
    nobody = client.patch("/v1/accounts/00000000-0000-7000-8000-000000000000", headers=service, json={})
    assert (nobody.status_code, error_of(nobody)["code"]) == (404, "account_not_found")


def test_accounts_are_listed_page_by_page(client: Client, service: Headers) -> None:
    made = [
        client.post("/v1/accounts", headers=service, json={"name": f"n{n}"}).json()["id"] for n in range(5)
    ]
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = client.get("/v1/accounts", headers=service, params={"limit": 2, **after}).json()
        seen += [account["id"] for account in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["next_cursor"]}
    assert seen == made
    assert page["next_cursor"] is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b'"Ada"', "body"),
        (b"{}", "name"),
        (b'{"name": 5}', "name"),
        (b'{"name": ""}', "name"),
        (b'{"name": "  "}', "name"),
        (b'{"name": "a\\u0000b"}', "name"),
        (b'{"name": "\\ud800"}', "body"),
        (b'{"name": "%s"}' % (b"a" * 10_000), "name"),
        (b'{"name": "Ada", "colour": 1}', "colour"),
        (b'{"name": "Ada", "metadata": 5}', "metadata"),
        (b'{"name": "Ada", "metadata": {"a\\u0000": 1}}', "metadata"),
        (b'{"name": "Ada", "metadata": {"a": "\\u0000"}}', "metadata"),
        (b'{"name": "Ada", "key_limit": "5"}', "key_limit"),
        (b'{"name": "Ada", "key_limit": 1.5}', "key_limit"),
        (b'{"name": "Ada", "key_limit": -1}', "key_limit"),
        (b'{"name": "Ada", "key_limit": 1e400}', "key_limit"),
        (b'{"name": "Ada", "key_limit": NaN}', "body"),
        (b'{"name": "Ada", "key_limit": 99999999999999999999999}', "key_limit"),
        (b'{"name": "Ada", "metadata": %s}' % NESTED.encode(), "metadata"),
        (NESTED.encode(), "body"),
    ],
)
def test_a_bad_account_is_refused_with_the_field(
    client: Client, service: Headers, body: bytes, param: str
) -> None:
    answer = client.post("/v1/accounts", headers=service, content=body)
    assert answer.status_code == 400, answer.text
    error = error_of(answer)
    assert error["code"] == "invalid_parameter"
    assert error["param"].split(".")[0] == param, error


def test_a_body_beyond_16_mib_is_too_large(client: Client, service: Headers) -> None:
    answer = client.post("/v1/accounts", headers=service, content=b" " * (17 * 1024 * 1024))
    assert answer.status_code == 413
    assert error_of(answer)["code"] == "payload_too_large"


def test_credit_is_granted_once(
    client: Client, service: Headers, account_id: str, database: Database
) -> None:
    path = f"/v1/accounts/{account_id}/grants"
    first = client.post(path, headers=service, json=GRANT)
    assert first.status_code == 201
    assert first.json()["balance"] == 150
    client.post(path, headers=service, json={**GRANT, "idempotency_key": "g2", "kind": "promotional"})
    again = client.post(path, headers=service, json=GRANT)
    assert again.status_code == 200
    assert again.json() == first.json()
    balance = client.get(f"/v1/accounts/{account_id}", headers=service).json()["balance"]
    assert balance["posted"] == 300
    assert not check_books(database)


def test_the_idempotency_key_may_come_as_a_header(client: Client, service: Headers, account_id: str) -> None:
    body = {name: value for name, value in GRANT.items() if name != "idempotency_key"}
    path = f"/v1/accounts/{account_id}/grants"
    answers = [client.post(path, headers={**service, "Idempotency-Key": "h"}, json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]


@pytest.mark.parametrize(
    "change", [{"amount_usd": 151}, {"kind": "promotional"}, {"reason": "x"}, {"priority": 1}]
)
def test_the_same_key_for_another_grant_is_a_conflict(
    client: Client, service: Headers, account_id: str, change: dict[str, Any]
) -> None:
    path = f"/v1/accounts/{account_id}/grants"
    client.post(path, headers=service, json=GRANT)
    answer = client.post(path, headers=service, json={**GRANT, **change})
    assert answer.status_code == 409
    assert error_of(answer)["code"] == "idempotency_conflict"
    assert client.get(f"/v1/accounts/{account_id}", headers=service).json()["balance"]["posted"] == 150


@pytest.mark.parametrize(
    ("amount", "posted"),
    [
        ("0.000000000001", b'"posted":0.000000000001,'),
        ("100", b'"posted":100,'),
        ('"12.50"', b'"posted":12.5,'),
        ("123456789.123456789012", b'"posted":123456789.123456789012,'),
        ("1e2", b'"posted":100,'),
    ],
)
def test_an_amount_is_exact(
    client: Client, service: Headers, account_id: str, amount: str, posted: bytes
) -> None:
    body = json.dumps({**GRANT, "amount_usd": 0}).replace('"amount_usd": 0', f'"amount_usd": {amount}')
    made = client.post(f"/v1/accounts/{account_id}/grants", headers=service, content=body)
    assert made.status_code == 201, made.text
    assert posted in client.get(f"/v1/accounts/{account_id}", headers=service).content


@pytest.mark.parametrize(
    "amount",
    ["0", "-1", "1e400", '"1e400"', '"NaN"', '"Infinity"', '"ten"', "0.0000000000001", "1e-13", "true",
     "null", "[]", "10000000000", '""', "1e99999999999999999999"],
)  # fmt: skip
def test_a_bad_amount_is_refused(client: Client, service: Headers, account_id: str, amount: str) -> None:
    body = json.dumps({**GRANT, "amount_usd": 0}).replace('"amount_usd": 0', f'"amount_usd": {amount}')
    answer = client.post(f"/v1/accounts/{account_id}/grants", headers=service, content=body)
    assert answer.status_code == 400, answer.text
    assert error_of(answer)["param"] == "amount_usd"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"kind": "free"}, "kind"),
        ({"reason": ""}, "reason"),
        ({"reason": "a\0"}, "reason"),
        ({"reason": "a" * 10_000}, "reason"),
        ({"idempotency_key": None}, "idempotency_key"),
        ({"idempotency_key": "a" * 1_000}, "idempotency_key"),
        ({"priority": "1"}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2199-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_grant_is_refused_with_the_field(
    client: Client, service: Headers, account_id: str, change: dict[str, Any], param: str
) -> None:
    answer = client.post(f"/v1/accounts/{account_id}/grants", headers=service, json={**GRANT, **change})
    assert answer.status_code == 400, answer.text
    assert error_of(answer)["param"] == param


def test_what_is_not_there_is_not_found(client: Client, service: Headers, account_id: str) -> None:
    nobody = "00000000-0000-7000-8000-000000000000"
    for answer, code in (
        (client.get(f"/v1/accounts/{nobody}", headers=service), "account_not_found"),
        (client.get(f"/v1/accounts/{nobody}/keys", headers=service), "account_not_found"),
        (client.post(f"/v1/accounts/{nobody}/keys", headers=service, json={}), "account_not_found"),
        (client.post(f"/v1/accounts/{nobody}/grants", headers=service, json=GRANT), "account_not_found"),
        (client.delete(f"/v1/accounts/{account_id}/keys/{nobody}", headers=service), "not_found"),
        (client.get("/v1/accounts/me", headers=service), "not_found"),
        (client.get("/v1/nothing"), "not_found"),
    ):
        assert answer.status_code == 404
        assert error_of(answer)["code"] == code


def test_a_method_that_is_not_there(client: Client) -> None:
    answer = client.put("/v1/accounts", json={})
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    assert error_of(answer)["code"] == "method_not_allowed"


def test_a_key_is_shown_once_and_works_until_it_is_revoked(
    client: Client, service: Headers, account_id: str
) -> None:
    path = f"/v1/accounts/{account_id}/keys"
    made = client.post(path, headers=service, json={"name": "laptop"})
    assert made.status_code == 201
    secret = made.json()["key"]
    assert secret.startswith("sk-empiriolabs-")
    listed = client.get(path, headers=service)
    assert secret not in listed.text
    assert [(key["name"], key["last_four"]) for key in listed.json()["data"]] == [("laptop", secret[-4:])]
    for headers in ({"authorization": f"bearer {secret}"}, {"X-API-Key": secret}):
        assert client.get("/v1/account", headers=headers).json()["id"] == account_id
    client.delete(f"{path}/{made.json()['id']}", headers=service)
    refused = client.get("/v1/account", headers={"x-api-key": secret})
    assert refused.status_code == 401
    assert error_of(refused)["code"] == "invalid_api_key"


def test_an_account_has_only_so_many_keys(client: Client, service: Headers) -> None:
    account = client.post("/v1/accounts", headers=service, json={"name": "Few", "key_limit": 2}).json()
    path = f"/v1/accounts/{account['id']}/keys"
    made = [client.post(path, headers=service, json={}) for _ in range(3)]
    assert [answer.status_code for answer in made] == [201, 201, 409]
    assert error_of(made[-1])["code"] == "limit_reached"
    client.delete(f"{path}/{made[0].json()['id']}", headers=service)
    assert client.post(path, headers=service, json={}).status_code == 201


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/accounts"),
        ("GET", "/v1/accounts"),
        ("GET", "/v1/accounts/{id}"),
        ("PATCH", "/v1/accounts/{id}"),
        ("POST", "/v1/accounts/{id}/keys"),
        ("GET", "/v1/accounts/{id}/keys"),
        ("PATCH", "/v1/accounts/{id}/keys/{id}"),
        ("POST", "/v1/accounts/{id}/keys/{id}/rotate"),
        ("DELETE", "/v1/accounts/{id}/keys/{id}"),
        ("GET", "/v1/accounts/{id}/transactions"),
        ("POST", "/v1/accounts/{id}/grants"),
        ("POST", "/v1/accounts/{id}/adjustments"),
        ("POST", "/v1/accounts/{id}/reversals"),
        ("POST", "/v1/usage/events"),
        ("POST", "/v1/usage/quote"),
    ],
)
def test_a_service_s_address_wants_a_service_token_with_the_scope(
    client: Client,
    token_for: Callable[..., Headers],
    account_id: str,
    api_key: str,
    method: str,
    path: str,
) -> None:
    path = path.replace("{id}", account_id)

    def ask(headers: Headers) -> tuple[int, str]:
        answer = client.request(method, path, headers=headers, content=b"{}" if method == "POST" else None)
        return answer.status_code, error_of(answer)["code"]

    assert ask({}) == (401, "missing_api_key")
    assert ask({"Authorization": "Basic YTpi"}) == (401, "missing_api_key")
    assert ask({"Authorization": "Bearer "}) == (401, "missing_api_key")
    assert ask({"x-api-key": "mst-unknown"}) == (401, "invalid_api_key")
    assert ask({"x-api-key": "x" * 10_000}) == (401, "invalid_api_key")
    assert ask({"Authorization": f"Bearer {api_key}"}) == (401, "invalid_api_key")
    assert ask(token_for(Scope.FINANCE_READ)) == (403, "insufficient_scope")


@pytest.mark.parametrize("path", ["/v1/account", "/v1/account/usage", "/v1/account/transactions"])
def test_a_customer_s_address_wants_a_customer_s_key(
    client: Client, service: Headers, api_key: str, path: str
) -> None:
    assert error_of(client.get(path))["code"] == "missing_api_key"
    refused = client.get(path, headers=service)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert error_of(refused)["code"] == "invalid_api_key"
    assert client.get(path, headers={"x-api-key": api_key}).status_code == 200
