"""`GET /v1/accounts/{id}/lots`: what is left of each credit, what became of the rest, and who may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from litestar.testing import TestClient

from metering import clock
from metering.services.service_tokens import Scope

Client = TestClient[Any]
Headers = dict[str, str]


@pytest.fixture(autouse=True)
def true_clock() -> Iterator[None]:
    """The clock as it is, after a test has moved it."""
    yield
    clock.run_ahead(timedelta(0))


@pytest.fixture
def grant(client: Client, service: Headers, account_id: str) -> Callable[..., dict[str, Any]]:
    """Give the account credit: `grant(150, kind="promotional")`."""

    def give(amount: float, **changes: object) -> dict[str, Any]:
        body = {"amount_usd": amount, "kind": "paid", "reason": "bank", "idempotency_key": str(amount)}
        answer = client.post(f"/v1/accounts/{account_id}/grants", headers=service, json=body | changes)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return give


def lots(client: Client, service: Headers, account_id: str, **query: str | int) -> dict[str, Any]:
    answer = client.get(f"/v1/accounts/{account_id}/lots", headers=service, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_an_account_without_credit_has_no_lots(client: Client, service: Headers, account_id: str) -> None:
    assert lots(client, service, account_id) == {
        "data": [],
        "has_more": False,
        "next_cursor": None,
        "rest_usd": 0,
        "receivable_usd": 0,
        "balance_usd": 0,
        "currency": "USD",
    }


def test_a_lot_says_what_became_of_its_credit(
    client: Client, service: Headers, account_id: str, grant: Callable[..., dict[str, Any]]
) -> None:
    paid = grant(10, priority=7)
    ends = (clock.now() + timedelta(hours=1)).isoformat()
    ending = grant(5, kind="promotional", expires_at=ends, reason="welcome", priority=1)
    taken = {"amount_usd": -2, "reason": "a slip", "idempotency_key": "a"}
    answer = client.post(f"/v1/accounts/{account_id}/adjustments", headers=service, json=taken)
    assert answer.status_code == 201
    body = lots(client, service, account_id)
    assert [lot["id"] for lot in body["data"]] == [ending["transfer_id"], paid["transfer_id"]]
    assert body["rest_usd"] == body["balance_usd"] == 13
    clock.run_ahead(timedelta(hours=2))
    body = lots(client, service, account_id, all="true")
    assert body["data"][0] == {
        "id": ending["transfer_id"],
        "object": "lot",
        "account_id": account_id,
        "kind": "promotional",
        "priority": 1,
        "expires_at": ending["expires_at"],
        "amount_usd": 5,
        "rest_usd": 0,
        "used_usd": 2,
        "expired_usd": 3,
        "taken_back_usd": 0,
        "grant_id": ending["id"],
        "top_up_id": None,
        "is_frozen": False,
        "reason": "welcome",
        "created_at": ending["created_at"],
    }
    assert [lot["id"] for lot in lots(client, service, account_id)["data"]] == [paid["transfer_id"]]
    balance = client.get(f"/v1/accounts/{account_id}", headers=service).json()["balance"]
    assert balance["posted"] == body["balance_usd"] == 10


def test_what_no_credit_has_paid_yet_is_receivable(
    client: Client, service: Headers, account_id: str, grant: Callable[..., dict[str, Any]]
) -> None:
    grant(0.0001)
    event = {"id": "e", "account_id": account_id, "model": "qwen3-max", "usage": {"prompt_tokens": 10_000}}
    answer = client.post("/v1/usage/events", headers=service, json=event).json()["results"][0]
    body = lots(client, service, account_id)
    assert body["data"] == []
    assert body["rest_usd"] == 0
    assert body["receivable_usd"] == -answer["balance"] > 0
    assert body["balance_usd"] == answer["balance"]


def test_lots_are_paged(
    client: Client, service: Headers, account_id: str, grant: Callable[..., dict[str, Any]]
) -> None:
    made = [grant(n, priority=n)["transfer_id"] for n in range(1, 6)]
    seen: list[str] = []
    query: dict[str, str] = {}
    while True:
        page = lots(client, service, account_id, limit=2, **query)
        seen += [lot["id"] for lot in page["data"]]
        assert page["rest_usd"] == 15
        if not page["has_more"]:
            break
        query = {"after": page["next_cursor"]}
    assert seen == made
    assert page["next_cursor"] is None


def test_only_who_may_read_accounts_reads_lots(
    client: Client, account_id: str, api_key: str, token_for: Callable[..., Headers]
) -> None:
    path = f"/v1/accounts/{account_id}/lots"
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"x-api-key": api_key}).status_code == 401
    assert client.get(path, headers=token_for(Scope.USAGE_WRITE)).status_code == 403
    assert client.get(path, headers=token_for(Scope.ACCOUNTS_READ)).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/accounts/00000000-0000-7000-8000-000000000000/lots", 404, "account_not_found"),
        ("/v1/accounts/{account}/lots?limit=0", 400, "invalid_parameter"),
        ("/v1/accounts/{account}/lots?limit=201", 400, "invalid_parameter"),
        ("/v1/accounts/{account}/lots?after=x", 400, "invalid_parameter"),
        ("/v1/accounts/{account}/lots?all=perhaps", 400, "invalid_parameter"),
    ],
)
def test_a_bad_question_is_refused(
    client: Client, service: Headers, account_id: str, path: str, status: int, code: str
) -> None:
    answer = client.get(path.format(account=account_id), headers=service)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
