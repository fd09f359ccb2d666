"""Keys over HTTP: their end, their rotation, their budget, and each bad input with its field."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from litestar.testing import TestClient

from metering import clock
from tests.api.live import error_of

Client = TestClient[Any]
Headers = dict[str, str]
BUDGET = {"amount_usd": "12.50", "period": "month"}
SHOWN = {"amount_usd": 12.5, "period": "month", "spent_usd": 0, "held_usd": 0}


@pytest.fixture(autouse=True)
def clock_of_the_machine() -> Iterator[None]:
    """The clock, set back at the end."""
    yield
    clock.run_ahead(timedelta(0))


@pytest.fixture
def path(account_id: str) -> str:
    """Where the account's keys are."""
    return f"/v1/accounts/{account_id}/keys"


def later(**time: float) -> str:
    return (clock.now() + timedelta(**time)).isoformat().replace("+00:00", "Z")


def make(client: Client, service: Headers, path: str, **body: object) -> dict[str, Any]:
    answer = client.post(path, headers=service, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def status(client: Client, secret: str) -> int:
    return client.get("/v1/account", headers={"x-api-key": secret}).status_code


def listed(client: Client, service: Headers, path: str) -> list[dict[str, Any]]:
    answer = client.get(path, headers=service)
    assert answer.status_code == 200, answer.text
    keys: list[dict[str, Any]] = answer.json()["data"]
    return keys


def test_a_key_has_a_name_an_end_and_a_budget(
    client: Client, service: Headers, path: str, account_id: str
) -> None:
    ends = later(days=1)
    made = make(client, service, path, name="laptop", expires_at=ends, budget=BUDGET)
    secret = made.pop("key")
    assert made == {
        "id": made["id"],
        "object": "api_key",
        "account_id": account_id,
        "name": "laptop",
        "prefix": "sk-empiriolabs-",
        "last_four": secret[-4:],
        "created_at": made["created_at"],
        "revoked_at": None,
        "expires_at": ends,
        "last_used_at": None,
        "replaces_id": None,
        "budget": SHOWN,
    }
    assert listed(client, service, path) == [made]
    assert secret not in client.get(path, headers=service).text


def test_an_end_counts_at_once_also_for_a_key_just_used(client: Client, service: Headers, path: str) -> None:
    secret = make(client, service, path, expires_at=later(hours=1))["key"]
    assert status(client, secret) == 200
    clock.run_ahead(timedelta(hours=1))
    assert status(client, secret) == 401
    assert listed(client, service, path)[0]["last_used_at"] is not None


def test_rotation_answers_a_key_that_replaces_the_old_one(
    client: Client, service: Headers, path: str
) -> None:
    old = make(client, service, path, name="laptop", budget=BUDGET)
    assert status(client, old["key"]) == 200
    new = make(client, service, f"{path}/{old['id']}/rotate", overlap_seconds=60)
    assert (new["name"], new["budget"], new["replaces_id"]) == ("laptop", SHOWN, old["id"])
    assert new["key"] != old["key"]
    assert (status(client, old["key"]), status(client, new["key"])) == (200, 200)
    first, second = listed(client, service, path)
    assert first["expires_at"] is not None
    assert second["expires_at"] is None
    again = client.post(f"{path}/{old['id']}/rotate", headers=service)
    assert (again.status_code, error_of(again)["code"]) == (409, "key_closed")
    longer = client.patch(f"{path}/{old['id']}", headers=service, json={"expires_at": None})
    assert (longer.status_code, error_of(longer)["param"]) == (409, "expires_at")
    newest = client.post(f"{path}/{new['id']}/rotate", headers=service).json()
    assert [status(client, key["key"]) for key in (old, new, newest)] == [200, 401, 200]
    clock.run_ahead(timedelta(seconds=61))
    assert [status(client, key["key"]) for key in (old, new, newest)] == [401, 401, 200]


def test_a_change_leaves_the_rest_as_it_is(client: Client, service: Headers, path: str) -> None:
    made = make(client, service, path, name="a", budget=BUDGET)
    secret = made.pop("key")
    one = f"{path}/{made['id']}"
    assert client.patch(one, headers=service, json={}).json() == made
    ends = later(hours=1)
    body = {"name": "b", "expires_at": ends, "budget": {"amount_usd": 3, "period": "day"}}
    changed = client.patch(one, headers=service, json=body)
    assert changed.status_code == 200
    budget = {**SHOWN, "amount_usd": 3, "period": "day"}
    assert changed.json() == {**made, "name": "b", "expires_at": ends, "budget": budget}
    bare = client.patch(one, headers=service, json={"name": None, "expires_at": None, "budget": None})
    assert bare.json() == {**made, "name": None, "budget": None}
    assert listed(client, service, path) == [bare.json()]
    client.delete(one, headers=service)
    closed = client.patch(one, headers=service, json={"name": "c"})
    assert (closed.status_code, error_of(closed)["code"]) == (409, "key_closed")
    assert status(client, secret) == 401


def test_a_budget_is_exact(client: Client, service: Headers, path: str) -> None:
    for amount in ("0.000000000001", "123456789.123456789012"):
        made = make(client, service, path, budget={"amount_usd": amount, "period": "total"})
        shown = client.get(path, headers=service).text
        assert f'"amount_usd":{amount},' in shown
        assert Decimal(str(made["budget"]["spent_usd"])) == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2199-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"budget": 5}, "budget"),
        ({"budget": {}}, "budget.amount_usd"),
        ({"budget": {"amount_usd": 5}}, "budget.period"),
        ({"budget": {"amount_usd": 5, "period": "week"}}, "budget.period"),
        ({"budget": {"amount_usd": 0, "period": "day"}}, "budget.amount_usd"),
        ({"budget": {"amount_usd": -1, "period": "day"}}, "budget.amount_usd"),
        ({"budget": {"amount_usd": 1e10, "period": "day"}}, "budget.amount_usd"),
        ({"budget": {"amount_usd": "NaN", "period": "day"}}, "budget.amount_usd"),
        ({"budget": {**BUDGET, "colour": 1}}, "budget.colour"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_bad_key_is_refused_with_the_field(
    client: Client, service: Headers, path: str, body: dict[str, Any], param: str
) -> None:
    made = make(client, service, path)
    for answer in (
        client.post(path, headers=service, json=body),
        client.patch(f"{path}/{made['id']}", headers=service, json=body),
    ):
        assert answer.status_code == 400, answer.text
        assert error_of(answer)["param"] == param
    assert len(listed(client, service, path)) == 1


@pytest.mark.parametrize(
    "end", ["9999-12-31T23:59:59-14:00", "9999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"]
)
def test_an_end_that_no_calendar_can_tell_is_refused_and_leaves_the_keys_readable(
    client: Client, service: Headers, path: str, end: str
) -> None:
    made = make(client, service, path, expires_at="9998-12-31T23:59:59Z")
    one = f"{path}/{made['id']}"
    for answer in (
        client.post(path, headers=service, json={"expires_at": end}),
        client.patch(one, headers=service, json={"expires_at": end}),
    ):
        assert (answer.status_code, error_of(answer)["param"]) == (400, "expires_at")
    made.pop("key")
    assert listed(client, service, path) == [made]


@pytest.mark.parametrize("overlap", [-1, 30 * 86_400 + 1, "60", 1.5, None])
def test_a_bad_overlap_is_refused(client: Client, service: Headers, path: str, overlap: object) -> None:
    one = f"{path}/{make(client, service, path)['id']}/rotate"
    answer = client.post(one, headers=service, json={"overlap_seconds": overlap})
    assert answer.status_code == 400
    assert error_of(answer)["param"] == "overlap_seconds"


def test_an_account_s_keys_are_its_own(client: Client, service: Headers, path: str) -> None:
    made = make(client, service, path)
    other = client.post("/v1/accounts", headers=service, json={"name": "Eve"}).json()["id"]
    nobody = "00000000-0000-7000-8000-000000000000"
    for account, code in ((other, "not_found"), (nobody, "account_not_found")):
        one = f"/v1/accounts/{account}/keys/{made['id']}"
        for answer in (
            client.patch(one, headers=service, json={"name": "mine"}),
            client.post(f"{one}/rotate", headers=service),
        ):
            assert (answer.status_code, error_of(answer)["code"]) == (404, code)
