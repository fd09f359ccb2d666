"""What the books should say, worked out as naively as can be: dicts and Decimals, one thing at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from metering import clock
from tests.services.ledger_prices import Edition, Event, created, price
from tests.services.lots_oracle import Lot, Move, Terms

Expected = dict[str, Any]

MAX_AGE: Final = timedelta(days=90)
MAX_FUTURE: Final = timedelta(seconds=300)
ZERO: Final = Decimal(0)
REVENUE: Final[Mapping[str, str]] = {
    "api": "revenue:usage",
    "playground": "revenue:usage",
    "gpu_cloud": "revenue:gpu_cloud",
    "hosted_agents": "revenue:hosted_agents",
}
GIVEN_FROM: Final[Mapping[str, str]] = {"paid": "cash:manual", "promotional": "promo_expense"}
REVERSIBLE: Final = frozenset({"usage", "grant", "adjustment", "goodwill"})


@dataclass
class Kept:
    """An event, how it was answered, and what became of it: `end` is superseded or reversed."""

    event: Event
    answer: Expected
    cost: Decimal | None
    end: str | None = None
    corrections: int = 0
    given_back: Decimal = ZERO
    key_id: str | None = None

    @property
    def revenue(self) -> str:
        return REVENUE[self.event["source"]]


@dataclass
class Hold:
    """Money set aside."""

    amount: Decimal
    authorized: Decimal
    expires_at: datetime
    key_id: str | None = None
    closed: str | None = None
    captured: Decimal | None = None
    event_id: str | None = None

    @property
    def state(self) -> str:
        """As it is now: time alone ends it."""
        return self.closed or ("open" if self.expires_at > clock.now() else "expired")


class Account:
    """One customer's books. `moved` is what should have moved, by kind of transfer and the other account."""

    def __init__(self) -> None:
        self.moved: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self.events: dict[str, Kept] = {}
        # By the verb and its idempotency key: what was asked first, and how it was answered.
        self.asked: dict[tuple[str, str], tuple[object, Any]] = {}
        self.budgets: dict[str, Decimal] = {}
        self.terms: dict[str, Terms] = {}
        self.holds: dict[str, Hold] = {}

    @property
    def posted(self) -> Decimal:
        return sum(self.moved.values(), ZERO)

    @property
    def held(self) -> Decimal:
        return sum((hold.amount for hold in self.holds.values() if hold.state == "open"), ZERO)

    @property
    def available(self) -> Decimal:
        return self.posted - self.held

    def spent(self, key_id: str) -> Decimal:
        """What the events that came through an API key cost, as they stand."""
        return sum((one.cost or ZERO for one in self.events.values() if one.key_id == key_id), ZERO)

    def history(self, **filters: str | datetime | None) -> list[Kept]:
        """The events that the filters let through, newest first, of the same moment the last recorded."""
        places = {name: place for place, name in enumerate(self.events)}
        kept = [
            one for one in self.events.values() if one.end != "superseded" and _passes(one.event, filters)
        ]
        return sorted(kept, key=lambda one: (created(one.event), places[one.event["id"]]), reverse=True)

    def spend(self, since: datetime | None = None, until: datetime | None = None) -> dict[str, Decimal]:
        """Dollars by source, of the events between the two moments, without the sources that cost nothing."""
        spent: defaultdict[str, Decimal] = defaultdict(Decimal)
        for one in self.history(since=since, until=until):
            spent[one.event["source"]] += one.cost or ZERO
        return {source: amount for source, amount in spent.items() if amount}

    def standing(self) -> list[Kept]:
        """The events that neither were reversed nor superseded."""
        return [one for one in self.events.values() if one.end is None]

    def rate(self, book: Edition, kept: Iterable[Kept]) -> list[Decimal]:
        """Price events by a book: the differences of those that cost something else now."""
        differences = []
        for one in kept:
            cost = price(one.event, book)
            if cost is not None and cost != one.cost:
                differences.append(cost - (one.cost or ZERO))
                self.change(one, "rating" if one.cost is None else "rerating", cost)
        return differences

    def reverse_event(self, event_id: str) -> tuple[str, Decimal]:
        """Give back what the event cost, once; it stays in the history, at nothing."""
        one = self.events.get(event_id)
        if one is None:
            return "not_found", ZERO
        if one.end is not None:
            return ("repeated" if one.end == "reversed" else "already_corrected"), one.given_back
        one.given_back = one.cost or ZERO
        self.change(one, "event_reversal", ZERO)
        one.end = "reversed"
        return "reversed", one.given_back

    def reverse_transfer(
        self, move: Move, carried: Iterable[str], lot: Lot | None, *, again: bool
    ) -> tuple[str, Decimal]:
        """Mirror a transfer, once; the events that it carried cost nothing from then on.

        `lot` is the one that it opened: credit of which a part has expired can't be taken back.
        """
        events = [self.events[event_id] for event_id in carried]
        if again:
            return "repeated", -move.effect
        if move.kind not in REVERSIBLE:
            return "invalid_parameter", ZERO
        if any(one.corrections for one in events) or (lot is not None and lot.has_expired(clock.now())):
            return "already_corrected", ZERO
        for one in events:
            one.given_back, one.cost, one.end = one.cost or ZERO, ZERO, "reversed"
            one.corrections += 1
        self.moved["reversal", move.other] -= move.effect
        return "reversed", -move.effect

    def change(self, one: Kept, kind: str, cost: Decimal) -> None:
        """Let an event cost something else, and post the difference."""
        self.moved[kind, one.revenue] -= cost - (one.cost or ZERO)
        one.cost = cost
        one.corrections += 1


class Oracle:
    """Every account, and what each call should answer; `book` is the one that events are priced with."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.book: Edition = "old"

    def post(self, batch: list[Event]) -> list[Expected]:
        """What recording the batch answers."""
        return [self._post(event) for event in batch]

    def _post(self, event: Event) -> Expected:
        account = self.accounts.get(event["account_id"])
        bad = self._find_bad(event, account)
        if bad is not None:
            return {"id": event["id"], "status": "rejected", "param": bad}
        assert account is not None
        known = account.events.get(event["id"])
        if known is not None and known.event == event:
            return known.answer | {"status": "duplicate"} | _hold_of(event, account)
        if known is not None:
            return {"id": event["id"], "status": "conflict", "param": "id"}
        cost = price(event, self.book)
        self._charge(event, account, cost)
        hold = account.holds.get(event.get("hold_id", ""))
        if hold is not None and hold.closed is None:
            hold.closed = "captured" if hold.state == "open" else "expired"
            hold.captured, hold.event_id = cost or ZERO, event["id"]
        answer: Expected = {"id": event["id"], "status": "unpriced", "balance": account.posted}
        if cost is not None:
            answer |= {"status": "accepted", "cost_usd": cost}
        key_id = event.get("api_key_id") or (None if hold is None else hold.key_id)
        account.events[event["id"]] = Kept(event, answer, cost, key_id=key_id)
        return answer | _hold_of(event, account)

    @staticmethod
    def _charge(event: Event, account: Account, cost: Decimal | None) -> None:
        """Take the cost, and give back that of the event superseded."""
        kind = "usage"
        if "supersedes" in event:
            old = account.events[event["supersedes"]]
            kind, old.end = "amendment", "superseded"
            account.change(old, kind, ZERO)
        account.moved[kind, REVENUE[event["source"]]] -= cost or ZERO

    @staticmethod
    def _find_bad(event: Event, account: Account | None) -> str | None:  # noqa: PLR0911  (a list of rules)
        """The field for which the event is rejected."""
        now = clock.now()
        supersedes = event.get("supersedes")
        if supersedes == event["id"]:
            return "supersedes"
        if created(event) > now + MAX_FUTURE:
            return "created_at"
        if event["usage"].get("prompt_tokens", 0) < 0:
            return "usage.prompt_tokens"
        if account is None:
            return "account_id"
        # What is known already may be sent again at any age, whatever became of it or of what it superseded.
        if event["id"] in account.events:
            return None
        if created(event) < now - MAX_AGE:
            return "created_at"
        old = account.events.get(supersedes or "")
        return "supersedes" if supersedes and (old is None or old.end is not None) else None


def _hold_of(event: Event, account: Account) -> Expected:
    """What the answer says of the hold that the event names."""
    if "hold_id" not in event:
        return {}
    hold = account.holds.get(event["hold_id"])
    state, ended_by = ("unknown", None) if hold is None else (hold.closed, hold.event_id)
    return {"hold": {"id": event["hold_id"], "state": state, "event_id": ended_by}}


def _passes(event: Event, filters: Mapping[str, str | datetime | None]) -> bool:
    since, until = filters.get("since"), filters.get("until")
    if isinstance(since, datetime) and created(event) < since:
        return False
    if isinstance(until, datetime) and created(event) > until:
        return False
    return all(filters.get(name) in {None, event[name]} for name in ("source", "model", "status"))
