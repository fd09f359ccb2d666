"""The real services over a real database, each verb answering in the words of the oracle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec
import psycopg

from metering import clock
from metering.api.event_bodies import Received, read_events
from metering.api.usage_answers import results_json
from metering.errors import BudgetExceeded, InsufficientCredits, MeteringError
from metering.money import to_decimal
from metering.pricing.compiler import compile_book
from metering.rating.engine import Rater
from metering.services.authorizing import Command, Held
from metering.services.group_commit import GroupCommit
from metering.services.holds import Holds
from metering.services.ingest import Ingest
from metering.services.posting import Outcome, Prepared, Refused
from metering.services.price_books import keep_price_book
from metering.storage.database import Database
from metering.usage.event import UsageEvent
from tests.services.holds_oracle import Answer, minutes_to
from tests.services.ledger_oracle import MAX_AGE, MAX_FUTURE, Expected
from tests.services.ledger_prices import BOOKS, Edition, Event
from tests.services.lots_oracle import Move

T = TypeVar("T")

RATERS: Final[Mapping[Edition, Rater]] = MappingProxyType(
    {edition: Rater(compile_book(documents)) for edition, documents in BOOKS.items()}
)
_TABLES: Final = """
    accounts, balances, transfers, grants, adjustments, usage_events, usage_rollups, corrections, holds,
    hold_extensions, request_rates, lots, lot_movements, receivables, lot_positions, api_keys, api_key_spend
"""
_MOVES: Final = """
    SELECT id::text, kind, from_account, to_account, amount_usd, recorded_at, reverses_id::text
      FROM transfers WHERE account_id = %s ORDER BY sequence
"""

_CARRIED: Final = "SELECT id FROM usage_events WHERE account_id = %s AND transfer_id = %s"

_DEBTS: Final = "SELECT transfer_id::text, owed_usd FROM receivables WHERE account_id = %s AND owed_usd > 0"
_PAID: Final = """
    SELECT lot_id::text, transfer_id::text, sum(amount_usd) FROM lot_movements
     WHERE account_id = %s AND lot_id IS NOT NULL GROUP BY 1, 2 HAVING sum(amount_usd) <> 0
"""

Submitted = tuple[list[Event], list[Received], Future[list[Outcome]]]


class Service:
    """Everything that can be asked of the product; `owner` sees the rows."""

    def __init__(self, database: Database, owner: psycopg.Connection[Any]) -> None:
        self.database, self.owner = database, owner
        self.raters = RATERS
        self.ingests = {
            edition: Ingest(database, rater, max_age=MAX_AGE, max_future=MAX_FUTURE)
            for edition, rater in self.raters.items()
        }
        self.holds = Holds(database, self.raters["old"])
        for rater in self.raters.values():
            keep_price_book(database, rater.book, clock.now())
        self._commits: dict[Edition, GroupCommit[Prepared | Refused, Outcome]] = {
            edition: GroupCommit(ingest.record, max_waiting=10_000)
            for edition, ingest in self.ingests.items()
        }

    def empty(self) -> None:
        """Forget everything but the price books, and set the clock right."""
        clock.run_ahead(timedelta(0))
        self.owner.execute(f"TRUNCATE {_TABLES} CASCADE")

    def close(self) -> None:
        clock.run_ahead(timedelta(0))
        for commits in self._commits.values():
            commits.close()

    def submit(self, book: Edition, events: list[Event]) -> Submitted:
        """Send events to be recorded, without waiting."""
        received, prepared = self._read(book, events)
        return events, received, self._commits[book].submit(prepared)

    def quote(self, book: Edition, events: list[Event]) -> list[Expected]:
        """What recording the events would answer."""
        received, prepared = self._read(book, events)
        return answers(received, self.ingests[book].quote(prepared))

    def moves(self, account_id: str) -> list[Move]:
        """Every transfer of the account, in order."""
        return [Move(*row) for row in self.owner.execute(_MOVES, [account_id]).fetchall()]

    def carried(self, account_id: str, transfer_id: str) -> list[str]:
        """The ids of the events whose first cost the transfer carried."""
        return [name for (name,) in self.owner.execute(_CARRIED, [account_id, transfer_id])]

    def debts(self, account_id: str) -> dict[str, Decimal]:
        """What each transfer of the account still owes."""
        return dict(self.owner.execute(_DEBTS, [account_id]).fetchall())

    def paid(self, account_id: str) -> dict[tuple[str, str], Decimal]:
        """What each lot paid for each transfer."""
        return {(lot, paid): usd for lot, paid, usd in self.owner.execute(_PAID, [account_id])}

    def hold(self, commands: list[Command]) -> list[Answer]:
        """Decide about holds, all in one transaction."""
        return [_held(outcome) for outcome in self.holds.apply(commands)]

    def _read(self, book: Edition, events: list[Event]) -> tuple[list[Received], list[Prepared | Refused]]:
        now = clock.now()
        received = read_events(msgspec.json.encode(events), "application/json", {}, now)
        read = [one.event for one in received if isinstance(one.event, UsageEvent)]
        return received, [self.ingests[book].prepare(event, now) for event in read]


def same(found: object, expected: object) -> None:
    """Say what differs: only in a test's own file does pytest do that."""
    assert found == expected, f"found {found}, expected {expected}"


def dollars(pico: int | None) -> Decimal | None:
    return None if pico is None else to_decimal(pico)


def outcome_of(call: Callable[[], tuple[T, bool]], new: str) -> tuple[str, T | None]:
    """How a call went: the verb where it did something new, `repeated`, or the code of its error."""
    try:
        answer, is_new = call()
    except MeteringError as error:
        return error.code, None
    return (new if is_new else "repeated"), answer


def _held(outcome: Held | MeteringError) -> Answer:
    if isinstance(outcome, Held):
        hold, balance = outcome.hold, outcome.balance
        amounts = hold.amount_pico, balance.posted_pico, balance.held_pico, outcome.overspend_pico
        amount, posted, held, beyond = map(to_decimal, amounts)
        lasts = minutes_to(hold.expires_at)
        return Answer(outcome.verb, amount, hold.state.value, lasts, posted, held, beyond)
    left = outcome.available_pico if isinstance(outcome, InsufficientCredits | BudgetExceeded) else None
    return Answer(outcome.code, left=dollars(left))


def answers(received: Sequence[Received], outcomes: Sequence[Outcome]) -> list[Expected]:
    """What the client would read."""
    found: list[Expected] = json.loads(results_json(received, outcomes), parse_float=Decimal)["results"]
    return found


def agree(found: list[Expected], expected: list[Expected], events: list[Event]) -> None:
    """The answers are as expected, and say the same of the cost wherever they say it."""
    for answer, wanted, event in zip(found, expected, events, strict=True):
        line_items, usage = answer.pop("line_items", []), answer.pop("usage", None)
        answer.pop("unpriced", None)
        if "error" in answer:
            answer |= {"param": answer.pop("error")["param"]}
        same(answer, wanted)
        if "balance" in wanted:
            cost = wanted.get("cost_usd")
            same(usage, {**event["usage"], "cost_usd": cost, "pricing_tier_label": None})
            same(sum(item["amount"] for item in line_items), cost or 0)
