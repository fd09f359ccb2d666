"""What the books should say, worked out as naively as can be: dicts and Decimals, one event at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

Event = dict[str, Any]
Expected = dict[str, Any]

MAX_AGE: Final = timedelta(days=90)
MAX_FUTURE: Final = timedelta(seconds=300)
# A price book of its own: what is tested here is who pays when, not what things cost.
BOOK: Final[Mapping[str, object]] = {
    "book.yml": {"currency": "USD", "grammar": 1},
    "meters.yml": {
        "meters": {
            "prompt_tokens": {"type": "integer", "unit": "token"},
            "completion_tokens": {"type": "integer", "unit": "token"},
            "total_tokens": {
                "type": "integer",
                "unit": "token",
                "sum_of": ["prompt_tokens", "completion_tokens"],
            },
            "requests": {"type": "integer", "unit": "request"},
            "upstream_cost_usd": {"type": "number", "unit": "USD"},
        },
        "fields": {},
    },
    "plans.yml": {"plans": {}},
    "providers/p.yml": {
        "provider": "P",
        "models": {
            "chat": {
                "name": "Chat",
                "category": "Text",
                "charges": [
                    {"charge": "Input", "meter": "prompt_tokens", "per": "1M tokens", "rate": "1.08"},
                    {"charge": "Output", "meter": "completion_tokens", "per": "1M tokens", "rate": "5.40"},
                ],
            },
            "flat": {
                "name": "Flat",
                "category": "Text",
                "charges": [{"charge": "Request", "model": "flat", "per": "request", "rate": "0.0125"}],
            },
            "free": {
                "name": "Free",
                "category": "Text",
                "charges": [{"charge": "Request", "model": "flat", "per": "request", "rate": "0"}],
            },
        },
    },
}
MODELS: Final = ("chat", "flat", "free", "unheard-of")


def price(event: Event) -> Decimal | None:
    """What BOOK asks for the event in dollars; None where it has no price."""
    usage = event["usage"]
    tokens = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    if event["model"] == "chat":
        return Decimal(tokens[0] * 108 + tokens[1] * 540) / 100_000_000
    if event["model"] == "flat":
        # A request that failed with nothing done costs nothing; no charge of this model counts tokens.
        return Decimal(0) if event["status"] == "error" else Decimal("0.0125")
    return Decimal(0) if event["model"] == "free" else None


class Account:
    """One customer's books."""

    def __init__(self) -> None:
        self.balance = Decimal(0)
        self.grants: dict[str, tuple[str, Decimal]] = {}
        self.events: dict[str, tuple[Event, Expected]] = {}

    def history(self, **filters: str | datetime | None) -> list[Event]:
        """The events that the filters let through, newest first, of the same moment the last recorded."""
        kept = [event for event, _ in self.events.values() if _passes(event, filters)]
        places = {event["id"]: place for place, (event, _) in enumerate(self.events.values())}
        return sorted(kept, key=lambda event: (created(event), places[event["id"]]), reverse=True)

    def spend(self, since: datetime | None = None, until: datetime | None = None) -> dict[str, Decimal]:
        """Dollars by source, of the events between the two moments, without the sources that cost nothing."""
        spent: defaultdict[str, Decimal] = defaultdict(Decimal)
        for event in self.history(since=since, until=until):
            spent[event["source"]] += price(event) or 0
        return {source: amount for source, amount in spent.items() if amount}


class Oracle:
    """Every account, and what each call should answer."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    def post(self, batch: list[Event]) -> list[Expected]:
        """What recording the batch answers."""
        return [self._post(event) for event in batch]

    def quote(self, batch: list[Event]) -> list[Expected]:
        """What recording the batch would answer: so it is recorded, and forgotten again."""
        kept = {name: (account.balance, dict(account.events)) for name, account in self.accounts.items()}
        answers = self.post(batch)
        for name, (balance, events) in kept.items():
            self.accounts[name].balance, self.accounts[name].events = balance, events
        return answers

    def _post(self, event: Event) -> Expected:
        account = self.accounts.get(event["account_id"])
        bad = self._find_bad(event, account)
        if bad is not None:
            return {"id": event["id"], "status": "rejected", "param": bad}
        assert account is not None
        if event["id"] in account.events:
            first, answered = account.events[event["id"]]
            if first == event:
                return answered | {"status": "duplicate"}
            return {"id": event["id"], "status": "conflict", "param": "id"}
        cost = price(event)
        account.balance -= cost or 0
        answer: Expected = {"id": event["id"], "status": "unpriced", "balance": account.balance}
        if cost is not None:
            answer |= {"status": "accepted", "cost_usd": cost}
        account.events[event["id"]] = event, answer
        return answer

    @staticmethod
    def _find_bad(event: Event, account: Account | None) -> str | None:
        """The field for which the event is rejected."""
        now = datetime.now(UTC)
        if created(event) > now + MAX_FUTURE:
            return "created_at"
        if event["usage"].get("prompt_tokens", 0) < 0:
            return "usage.prompt_tokens"
        if account is None:
            return "account_id"
        # What is known already may be sent again at any age.
        if event["id"] not in account.events and created(event) < now - MAX_AGE:
            return "created_at"
        return None


def created(event: Event) -> datetime:
    """When the event says that it happened."""
    return datetime.fromisoformat(event["created_at"])


def _passes(event: Event, filters: Mapping[str, str | datetime | None]) -> bool:
    since, until = filters.get("since"), filters.get("until")
    if isinstance(since, datetime) and created(event) < since:
        return False
    if isinstance(until, datetime) and created(event) > until:
        return False
    return all(filters.get(name) in {None, event[name]} for name in ("source", "model", "status"))
