"""Parameters are named in errors as the client sent them, and none is passed over in silence."""

from __future__ import annotations

import httpx
import pytest

from tests.api.live import Customer, Live, decode, error_of

GRANT = {"amount_usd": 1, "kind": "paid", "reason": "bank transfer"}
CALLS: dict[str, dict[str, object]] = {
    "/v1/accounts/{account}/grants": GRANT,
    "/v1/accounts/{account}/adjustments": {"amount_usd": 1, "reason": "a slip"},
    "/v1/holds": {"account_id": "{account}", "amount_usd": 1},
    "/v1/holds/{hold}/extend": {"amount_usd": 1},
}


def send(live: Live, customer: Customer, path: str, header: str, **more: str) -> httpx.Response:
    """The call about the customer's account, or a hold of it."""
    filled = path.format(account=customer.account_id, hold="{hold}")
    if "{hold}" in path:
        made = live.post({"account_id": customer.account_id, "amount_usd": 1}, path="/v1/holds")
        filled = path.format(hold=decode(made)["id"])
    body = {
        name: customer.account_id if value == "{account}" else value for name, value in CALLS[path].items()
    }
    return live.post({**body, **more}, path=filled, headers={"Idempotency-Key": header})


@pytest.mark.parametrize("path", CALLS)
def test_two_idempotency_keys_are_one_too_many(live: Live, customer: Customer, path: str) -> None:
    refused = send(live, customer, path, "one", idempotency_key="another")
    assert (refused.status_code, error_of(refused)["param"]) == (400, "idempotency_key")
    assert send(live, customer, path, "one", idempotency_key="one").status_code in {200, 201}


@pytest.mark.parametrize("path", CALLS)
def test_a_header_is_named_as_it_was_sent(live: Live, customer: Customer, path: str) -> None:
    refused = send(live, customer, path, "k" * 256)
    assert (refused.status_code, error_of(refused)["param"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("/holds", "state=foo", "state"),
        ("/holds", "limit=x", "limit"),
        ("/lots", "all=maybe", "all"),
        ("/lots", "after=x", "after"),
        # Known to Python only.
        ("/holds", "wanted_state=open", "wanted_state"),
        ("/lots", "with_empty=true", "with_empty"),
        ("/holds", "colour=red", "colour"),
        ("/lots", "colour=red", "colour"),
        ("/transactions", "colour=red", "colour"),
        ("/keys", "colour=red", "colour"),
        ("", "colour=red", "colour"),
        ("/holds", "limit=1&limit=2", "limit"),
    ],
)
def test_a_query_parameter_is_named_as_it_was_sent(
    live: Live, customer: Customer, path: str, query: str, param: str
) -> None:
    answer = live.http.get(f"/v1/accounts/{customer.account_id}{path}?{query}", headers=live.service)
    assert (answer.status_code, error_of(answer)["param"]) == (400, param)


@pytest.mark.parametrize("path", ["/v1/account", "/v1/account/usage", "/v1/account/transactions"])
def test_a_customer_s_query_is_not_passed_over_either(live: Live, customer: Customer, path: str) -> None:
    answer = live.http.get(f"{path}?colour=red", headers=customer.headers)
    assert (answer.status_code, error_of(answer)["param"]) == (400, "colour")
    # Who may not ask is not told what may be asked.
    assert live.http.get(f"{path}?colour=red").status_code == 401


def test_the_list_of_accounts_knows_its_parameters(live: Live) -> None:
    known = live.http.get("/v1/accounts?limit=1&after=" + "0" * 32, headers=live.service)
    assert known.status_code == 200
    answer = live.http.get("/v1/accounts?page=2", headers=live.service)
    assert error_of(answer)["message"] == "unknown parameter; known are after, limit"


@pytest.mark.parametrize(
    ("change", "param"), [({"name": "a\nb"}, "name"), ({"name": "a", "metadata": {"a": "\t"}}, "metadata")]
)
def test_control_characters_are_called_by_their_name(
    live: Live, change: dict[str, object], param: str
) -> None:
    error = error_of(live.post(change, path="/v1/accounts"))
    assert error["message"] == "must not contain control characters"
    assert error["param"].split(".")[0] == param
