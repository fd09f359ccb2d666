"""The verbs of money over HTTP: each asks until it is answered, looks at the answer and notes it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, Literal

from tests.crash.clients import Client
from tests.crash.service import Answer
from tests.crash.told import Credit, CreditTable, Extended, Held, Reversed, Sent, Told, Voided
from tests.crash.traffic import Event

_ACCEPTED = frozenset({"accepted", "unpriced", "duplicate", "conflict"})
_NO_CREDIT = frozenset({"insufficient_credits", "budget_exceeded"})


class Actor:
    """A client that speaks of money; every body carries what makes it safe to be sent twice."""

    def __init__(self, client: Client, told: Told) -> None:
        self._client = client
        self._told = told

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def credit(
        self, table: CreditTable, account_id: str, key: str, amount: Decimal, **fields: object
    ) -> Answer:
        """Give credit, or take it where an adjustment's amount is negative."""
        body = {"amount_usd": f"{amount}", "reason": "chaos", "idempotency_key": key, **fields}
        answer = self._client.post(f"/v1/accounts/{account_id}/{table}", body, table)
        if answer.status == 400 and "expires_at" in fields:
            return answer  # it came too late
        assert answer.status in {200, 201, 409}, answer
        self._told.note(Credit(table, account_id, key, amount, answer))
        return answer

    def reverse(self, account_id: str, field: Literal["transfer_id", "event_id"], id: str) -> Answer:
        """Reverse a transfer or an event; 409 where something else corrected it before."""
        body = {field: id, "reason": "chaos"}
        answer = self._client.post(f"/v1/accounts/{account_id}/reversals", body, f"reverse {field}")
        assert answer.status in {200, 201, 409}, answer
        self._told.note(Reversed(account_id, field, id, answer))
        return answer

    def send(self, *events: Event, verb: str = "event") -> list[Mapping[str, Any]]:
        """Send events: what became of each. One that supersedes another may be rejected."""
        body = events[0] if len(events) == 1 else list(events)
        answer = self._client.post("/v1/usage/events", body, verb)
        assert answer.status == 200, answer
        results: list[Mapping[str, Any]] = answer.body["results"]
        assert [result["id"] for result in results] == [event["id"] for event in events]
        for event, result in zip(events, results, strict=True):
            allowed = _ACCEPTED | ({"rejected"} if "supersedes" in event else set())
            assert result["status"] in allowed, (event, result)
            self._client.answers[f"{verb} {result['status']}"] += 1
        self._told.note(*map(Sent, events, results))
        return results

    def hold(self, account_id: str, key: str, wanted: Mapping[str, object]) -> str | None:
        """Ask leave: the hold's id, or None where it was refused."""
        answer = self._client.post("/v1/holds", {**wanted, "idempotency_key": key}, "hold")
        self._told.note(Held(account_id, key, answer, self._client.lost_last))
        if answer.status in {402, 429}:
            _check_refusal(answer)
            return None
        assert answer.status in {200, 201}, answer
        assert answer.body["account_id"] == account_id
        if answer.status == 201:
            assert answer.body["state"] == "open", answer
            assert answer.body["balance"]["available"] >= 0 or not answer.body["amount_usd"], answer
        return str(answer.body["id"])

    def extend(self, account_id: str, hold_id: str, key: str, amount: Decimal) -> Answer:
        """Ask for an increment."""
        body = {"amount_usd": f"{amount}", "idempotency_key": key}
        answer = self._client.post(f"/v1/holds/{hold_id}/extend", body, "extend")
        assert answer.status in {200, 402, 409}, answer
        if answer.status == 402:
            _check_refusal(answer)
        elif answer.status != 409:
            assert 0 <= answer.body["overspend_usd"] < amount, answer
        self._told.note(Extended(account_id, hold_id, key, amount, answer, self._client.lost_last))
        return answer

    def void(self, account_id: str, hold_id: str) -> Answer:
        """Give up a hold."""
        answer = self._client.post(f"/v1/holds/{hold_id}/void", {}, "void")
        assert answer.status == 409 or answer.body["state"] in {"voided", "expired"}, answer
        self._told.note(Voided(account_id, hold_id, answer))
        return answer

    def look_at_hold(self, hold_id: str) -> str:
        """Its state."""
        answer = self._client.get(f"/v1/holds/{hold_id}")
        assert answer.status == 200, answer
        state: str = answer.body["state"]
        return state

    def look_at_account(self, account_id: str) -> None:
        """The balance: available is posted less held, in each answer that has them."""
        answer = self._client.get(f"/v1/accounts/{account_id}")
        assert answer.status == 200, answer
        balance = answer.body["balance"]
        assert balance["available"] == balance["posted"] - balance["held"], answer
        open_holds = self._client.get(f"/v1/accounts/{account_id}/holds?state=open&limit=200")
        assert {hold["state"] for hold in open_holds.body["data"]} <= {"open"}, open_holds

    def look_at_statement(self, secret: str, pages: int) -> Sequence[Mapping[str, Any]]:
        """Some pages of the customer's transactions: each balance is the one before and the amount."""
        found: list[Mapping[str, Any]] = []
        before = ""
        for _ in range(pages):
            answer = self._client.get(f"/v1/account/transactions?limit=40{before}", secret=secret)
            assert answer.status == 200, answer
            found += answer.body["data"]
            if not answer.body["has_more"]:
                break
            before = f"&before={answer.body['next_cursor']}"
        assert len({one["id"] for one in found}) == len(found), "a transaction stands on two pages"
        for later, earlier in pairwise(found):
            expected = earlier["balance_after_usd"] + later["amount_usd"]
            assert later["balance_after_usd"] == expected, ("the statement doesn't add up", earlier, later)
        return found

    def look_at_usage(self, secret: str) -> None:
        """The customer's history: the page adds up to its summary."""
        answer = self._client.get("/v1/account/usage?limit=100", secret=secret)
        assert answer.status == 200, answer
        cost = sum(event["cost"]["amount"] for event in answer.body["data"])
        assert cost == answer.body["summary"]["total_cost"], "the history doesn't add up"

    def look_at_lots(self, account_id: str) -> None:
        """What is left of each credit: no more than it was."""
        answer = self._client.get(f"/v1/accounts/{account_id}/lots")
        assert answer.status == 200, answer
        for lot in answer.body["data"]:
            assert 0 <= lot["rest_usd"] <= lot["amount_usd"] - lot["used_usd"], lot


def _check_refusal(answer: Answer) -> None:
    """A refusal says why, and what to wait for."""
    error = answer.body["error"]
    if answer.status == 429:
        assert error["code"] == "rate_limit_exceeded", answer
        assert int(answer.headers["retry-after"]) >= 1, answer
        return
    assert error["code"] in _NO_CREDIT, answer
    assert error["wanted_usd"] > error["available_usd"], answer
