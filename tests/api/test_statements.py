"""`GET /v1/account/transactions` and the service's view of it: pages, CSV, what a customer isn't told."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from metering import clock
from metering.money import to_pico
from metering.services.grants import Wanted, grant_credit
from metering.services.statements import PAGE
from tests.api.live import Customer, Live, decode, error_of

PATH = "/v1/account/transactions"
COLUMNS = [
    "created_at", "id", "kind", "description", "amount_usd", "balance_after_usd", "reason", "reverses_id",
]  # fmt: skip


def read(live: Live, customer: Customer, **query: str | int) -> dict[str, Any]:
    answer = live.http.get(PATH, params=named(query), headers=customer.headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = decode(answer)
    return body


def named(query: dict[str, str | int]) -> dict[str, str | int]:
    return {name.rstrip("_"): value for name, value in query.items()}


def table(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; header=present; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def grant(live: Live, customer: Customer, reason: str, key: str, amount: str = "1") -> None:
    wanted = Wanted("paid", to_pico(amount), reason, "=ops")
    grant_credit(live.app.database, customer.account_id, wanted, key)


def test_a_statement_has_what_moved_the_balance_newest_first(live: Live, customer: Customer) -> None:
    (result,) = live.send([customer.event()])
    body = read(live, customer)
    used, given = body["data"]
    assert (body["object"], body["has_more"], body["next_cursor"]) == ("account_transactions", False, None)
    assert body["balance"]["posted"] == used["balance_after_usd"] == 100 - result["cost_usd"]
    assert used == {
        "id": used["id"],
        "object": "transaction",
        "kind": "usage",
        "amount_usd": -result["cost_usd"],
        "balance_after_usd": result["balance"],
        "description": "Usage",
        "reason": None,
        "reverses_id": None,
        "created_at": used["created_at"],
    }
    assert (given["kind"], given["amount_usd"], given["balance_after_usd"]) == ("grant", 100, 100)
    assert (given["description"], given["reason"]) == ("Promotional credit", "a test")
    assert used["created_at"] >= given["created_at"]
    assert used["created_at"].endswith("Z")


def test_the_service_sees_who_did_it_and_the_customer_does_not(live: Live, customer: Customer) -> None:
    path = f"/v1/accounts/{customer.account_id}/transactions"
    (shown,) = decode(live.http.get(path, headers=dict(live.service)))["data"]
    assert shown["actor"] == "tests"
    (own,) = read(live, customer)["data"]
    assert own == {name: value for name, value in shown.items() if name != "actor"}
    assert error_of(live.http.get(path, headers=customer.headers))["code"] == "invalid_api_key"
    nobody = path.replace(customer.account_id, "00000000-0000-7000-8000-000000000000")
    for query in ("", "?format=csv"):
        answer = live.http.get(f"{nobody}{query}", headers=dict(live.service))
        assert (answer.status_code, error_of(answer)["code"]) == (404, "account_not_found")


def test_following_the_cursor_visits_every_transaction_once(live: Live, customer: Customer) -> None:
    for n in range(7):
        live.send([customer.event(), customer.event(source="gpu_cloud", model="gpu-cloud:h100-nvl",
                                                    usage={"seconds": n + 1, "num_gpus": 1})])  # fmt: skip
    whole = read(live, customer)
    seen: list[dict[str, Any]] = []
    query: dict[str, str | int] = {"limit": 4}
    while True:
        page = read(live, customer, **query)
        assert len(page["data"]) == 4 or not page["has_more"]
        seen += page["data"]
        if not page["has_more"]:
            break
        query["before"] = page["next_cursor"]
    assert seen == whole["data"]
    assert len(seen) == 15
    assert {line["description"] for line in seen} == {"Usage", "GPU Cloud: usage", "Promotional credit"}
    assert page["next_cursor"] is None


def test_the_filters_are_those_of_usage_and_the_kind(live: Live, customer: Customer) -> None:
    live.send([customer.event()])
    used, given = read(live, customer)["data"]
    assert read(live, customer, kind="grant")["data"] == [given]
    assert read(live, customer, kind="expiry")["data"] == []
    assert read(live, customer, from_=used["created_at"])["data"] == [used]
    assert read(live, customer, to=given["created_at"])["data"] == [given]
    assert read(live, customer, before=used["created_at"], format="json")["data"] == [given]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("before=yesterday", "before"),
        ("from=2026-01-01", "from"),
        ("to=", "to"),
        ("kind=usages", "kind"),
        ("kind=usage&kind=usage", "kind"),
        ("format=xls", "format"),
        ("format=csv&limit=5", "limit"),
        ("format=csv&before=2026-01-01T00:00:00Z", "before"),
        ("source=api", "source"),
    ],
)
def test_a_bad_query_is_refused_with_its_parameter(
    live: Live, customer: Customer, query: str, param: str
) -> None:
    answer = live.http.get(f"{PATH}?{query}", headers=customer.headers)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == param


def test_csv_has_the_whole_window(live: Live, customer: Customer) -> None:
    for n in range(3):
        grant(live, customer, f"r{n}", f"k{n}", "0.000000000001")
    live.send([customer.event()])
    answer = live.http.get(PATH, params={"format": "csv"}, headers=customer.headers)
    filename = f"transactions-{customer.account_id}.csv"
    assert answer.headers["content-disposition"] == f'attachment; filename="{filename}"'
    rows = table(answer)
    shown = read(live, customer)["data"]
    assert [list(row) for row in rows] == [COLUMNS] * 5
    assert [row["id"] for row in rows] == [line["id"] for line in shown]
    for row, line in zip(rows, shown, strict=True):
        assert "e" not in (row["amount_usd"] + row["balance_after_usd"]).lower()
        for name in ("amount_usd", "balance_after_usd"):
            assert Decimal(row[name]) == line[name]
        for name in ("created_at", "kind", "description"):
            assert row[name] == line[name]
        assert row["reason"] == (line["reason"] or "")
    assert rows[1]["amount_usd"] == "0.000000000001"
    kinds = table(live.http.get(PATH, params={"format": "csv", "kind": "usage"}, headers=customer.headers))
    assert [row["kind"] for row in kinds] == ["usage"]


def test_csv_is_read_back_as_it_was_written_and_computes_nothing(live: Live, customer: Customer) -> None:
    reasons = ['=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "  =1", "＝1", 'a "b", c; ü']
    for n, reason in enumerate(reasons):
        grant(live, customer, reason, f"k{n}")
    grant(live, customer, "two\r\nlines", "k")
    path = f"/v1/accounts/{customer.account_id}/transactions?format=csv"
    rows = table(live.http.get(path, headers=dict(live.service)))
    assert [row["reason"] for row in rows[::-1]] == [
        "a test", *(f"'{reason}" for reason in reasons[:-1]), reasons[-1], "two\r\nlines",
    ]  # fmt: skip
    assert list(rows[0]) == [*COLUMNS, "actor"]
    assert rows[0]["actor"] == "'=ops"
    own = live.http.get(PATH, params={"format": "csv"}, headers=customer.headers)
    assert "ops" not in own.text
    assert own.text.count("\n") == own.text.count("\r\n")


def test_csv_of_nothing_is_its_header(live: Live, customer: Customer) -> None:
    later = (clock.now() + timedelta(days=1)).isoformat()
    answer = live.http.get(PATH, params={"format": "csv", "from": later}, headers=customer.headers)
    assert answer.text == ",".join(COLUMNS) + "\r\n"


def test_csv_of_many_pages_is_one_file(live: Live, customer: Customer) -> None:
    # Transfers of both revenue accounts in each call; more than two pages in all.
    calls = PAGE + 10
    events = [
        customer.event(source=source, usage={"prompt_tokens": 1, "completion_tokens": 1})
        for source in ("api", "hosted_agents")
    ]
    for n in range(calls):
        live.send([{**event, "id": f"{event['id']}-{n}"} for event in events])
    rows = table(live.http.get(PATH, params={"format": "csv"}, headers=customer.headers))
    assert len({row["id"] for row in rows}) == len(rows) == 2 * calls + 1
    balance = Decimal(0)
    for row in rows[::-1]:
        balance += Decimal(row["amount_usd"])
        assert Decimal(row["balance_after_usd"]) == balance
