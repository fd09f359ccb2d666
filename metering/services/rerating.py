"""Rating recorded events again: those that had no price, and those that a new price book prices otherwise.

The usage was recorded as it was sent, so that any book can rate it. What comes of it is a correction of the
event and a transfer of the difference, both of today; the event and its first price stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from metering import clock
from metering.errors import InvalidUsage
from metering.rating.engine import Rater
from metering.rating.rating import Rating
from metering.services.cost_changes import CostChanges, Price
from metering.services.price_books import keep_price_book
from metering.services.stopping import Stopped, never
from metering.services.texts import checked
from metering.storage import accounts, corrections, rateable_events
from metering.storage.books import lock_account
from metering.storage.database import Database, driver
from metering.storage.rateable_events import Place, RateableEvent

# In one transaction, which holds the account's lock.
CHUNK_EVENTS: Final = 500
_ACCOUNTS: Final = 1_000
_RATED_LATER: Final = "the price book has a price for it now"
_DOCUMENT: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


class RatedLater(NamedTuple):
    """How many unpriced events were looked at, how many have a price now, and what those cost together."""

    events: int = 0
    rated: int = 0
    cost_pico: int = 0


@dataclass(slots=True)
class Change:
    """What rating again makes of an account's events of one model.

    `before_pico` and `after_pico` are the costs of all `events`; `changed` is how many of them cost something
    else now, `unpriced` how many have no price under the new book: these are left as they are.
    """

    account_id: str
    model: str
    events: int = 0
    changed: int = 0
    unpriced: int = 0
    before_pico: int = 0
    after_pico: int = 0

    @property
    def difference_pico(self) -> int:
        """What is to be charged, or given back where it is negative."""
        return self.after_pico - self.before_pico


class Window(NamedTuple):
    """Which events: created from `since` to before `until`, of one account or all, of some models or all."""

    since: datetime
    until: datetime
    account_id: str | None = None
    models: tuple[str, ...] = ()


# Called with how many more events were looked at.
Told: TypeAlias = Callable[[int], None]


def _silent(_events: int) -> None:
    """Say nothing."""


def rate_unpriced(
    database: Database,
    rater: Rater,
    *,
    actor: str,
    account_id: str | None = None,
    told: Told = _silent,
    stopped: Stopped = never,
    chunk_events: int = CHUNK_EVENTS,
) -> RatedLater:
    """Rate the events that have no price yet, of one account or of all; charge those that have one now.

    In transactions of up to `chunk_events` of an account: it may be stopped, repeated, and run by several
    processes at once, and charges nothing twice. Raises `AccountNotFound`.
    """
    if account_id is not None:
        with database.snapshot() as connection:
            accounts.get_account(connection, account_id)
    keep_price_book(database, rater.book, clock.now())
    again = _Again(database, _RATED_LATER, actor, only_unpriced=True)
    events, after = 0, None
    while not stopped() and (chunk := _unpriced(database, account_id, after, chunk_events)):
        for owner, found in groupby(chunk, key=lambda one: one.standing.account_id):
            again.post(owner, _prices(rater, list(found)))
        events, after = events + len(chunk), chunk[-1].place
        told(len(chunk))
    return RatedLater(events, again.posted, again.difference_pico)


def preview_rerating(
    database: Database, rater: Rater, window: Window, *, told: Told = _silent
) -> list[Change]:
    """What the book would change in the window, by account and model; nothing is posted."""
    changes = _Changes()
    for chunk in _chunks(database, window, CHUNK_EVENTS):
        changes.add(chunk, _prices(rater, chunk))
        told(len(chunk))
    return changes.in_order()


def post_rerating(
    database: Database,
    rater: Rater,
    window: Window,
    *,
    reason: str,
    actor: str,
    told: Told = _silent,
    chunk_events: int = CHUNK_EVENTS,
) -> list[Change]:
    """Post what the book changes in the window, at today's date: what was changed, by account and model.

    Events that were reversed or superseded are skipped. Once more the same finds nothing to change.
    """
    checked(reason, "reason", most=2_000)
    keep_price_book(database, rater.book, clock.now())
    again = _Again(database, reason, actor, only_unpriced=False)
    changes = _Changes()
    for chunk in _chunks(database, window, chunk_events):
        prices = _prices(rater, chunk)
        changes.add(chunk, prices)
        moved = {
            one.standing.event_id: prices[one.standing.event_id]
            for one in chunk
            if one.standing.event_id in prices
            and prices[one.standing.event_id].cost_pico != one.standing.cost_pico
        }
        again.post(chunk[0].standing.account_id, moved)
        told(len(chunk))
    return changes.in_order()


@dataclass(slots=True)
class _Again:
    """Posts prices to events, chunk by chunk, and counts what it posted."""

    database: Database
    reason: str
    actor: str
    only_unpriced: bool = field(kw_only=True)
    posted: int = 0
    difference_pico: int = 0

    def post(self, account_id: str, prices: Mapping[str, Price]) -> None:
        """Give the account's events these prices, by id, where that is still a change."""
        if not prices:
            return
        with self.database.transaction() as connection:
            raw = driver(connection)
            books, now = lock_account(raw, account_id)
            changes = CostChanges(books, now, reason=self.reason, actor=self.actor)
            posted = difference_pico = 0
            # As it stands now: another process may have been here since the chunk was read.
            keys = ((account_id, event_id) for event_id in prices)
            for _, event in corrections.find_standing(raw, keys):
                price = prices[event.event_id]
                if event.last_kind in {"reversal", "amendment"} or event.cost_pico == price.cost_pico:
                    continue
                if event.cost_pico is None:
                    difference_pico += changes.change(event, "rating", price)
                elif self.only_unpriced:
                    continue
                else:
                    difference_pico += changes.change(event, "rerating", price)
                posted += 1
            changes.keep(raw)
        self.posted += posted
        self.difference_pico += difference_pico


class _Changes:
    """The sums of what rating again makes of events, by account and model."""

    def __init__(self) -> None:
        self._changes: dict[tuple[str, str], Change] = {}

    def add(self, chunk: Sequence[RateableEvent], prices: Mapping[str, Price]) -> None:
        """Add events and their prices by the new book."""
        for event, _, _ in chunk:
            key = event.account_id, event.model
            change = self._changes.setdefault(key, Change(*key))
            before_pico = event.cost_pico or 0
            price = prices.get(event.event_id)
            after_pico = before_pico if price is None else price.cost_pico
            change.events += 1
            change.changed += price is not None and price.cost_pico != event.cost_pico
            change.unpriced += price is None
            change.before_pico += before_pico
            change.after_pico += after_pico

    def in_order(self) -> list[Change]:
        """By account, then model."""
        return [self._changes[key] for key in sorted(self._changes)]


def _prices(rater: Rater, chunk: Sequence[RateableEvent]) -> dict[str, Price]:
    """What each event costs by the book, by its id; without those that have no price there."""
    prices = {}
    for event, _, usage in chunk:
        try:
            rating = rater.rate(
                event.model, _DOCUMENT.decode(usage), event.created_at, failed=event.status == "error"
            )
        except InvalidUsage:
            # Another book may read a field otherwise than the one by which the event was taken.
            continue
        if isinstance(rating, Rating):
            items = f"[{','.join([item.as_json() for item in rating.line_items])}]"
            price = Price(rating.cost_pico, items, rating.pricing_tier_label, rater.book.digest)
            prices[event.event_id] = price
    return prices


def _unpriced(
    database: Database, account_id: str | None, after: Place | None, limit: int
) -> list[RateableEvent]:
    with database.snapshot() as connection:
        return rateable_events.list_unpriced(driver(connection), account_id, after, limit)


def _chunks(database: Database, window: Window, limit: int) -> Iterator[list[RateableEvent]]:
    """The window's events, up to `limit` of one account at a time."""
    for account_id in _accounts(database, window.account_id):
        after = None
        while chunk := _chunk(database, account_id, window, after, limit):
            yield chunk
            after = chunk[-1].place


def _chunk(
    database: Database, account_id: str, window: Window, after: Place | None, limit: int
) -> list[RateableEvent]:
    with database.snapshot() as connection:
        return rateable_events.list_created(
            driver(connection),
            account_id,
            window.since,
            window.until,
            models=list(window.models) or None,
            after=after,
            limit=limit,
        )


def _accounts(database: Database, only: str | None) -> Iterator[str]:
    """The accounts' ids, or just the one; raises `AccountNotFound` where there is no such."""
    if only is not None:
        with database.snapshot() as connection:
            yield accounts.get_account(connection, only).account_id
        return
    after = None
    while True:
        with database.snapshot() as connection:
            page = accounts.list_accounts(connection, after=after, limit=_ACCOUNTS)
        if not page:
            return
        for account in page:
            yield account.account_id
        after = page[-1].account_id
