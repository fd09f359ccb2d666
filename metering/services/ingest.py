"""Usage ingest: rate events, record them once, take their cost from the balance, answer.

The batch is the unit. `Ingest.prepare` does all that needs no database; `Ingest.record` is the
transaction of the architecture's request path, under the locks of the accounts it touches.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from metering import clock, ids, telemetry
from metering.errors import AccountNotFound, InvalidParameter, InvalidUsage, MeteringError
from metering.ledger.books import Books
from metering.ledger.chart import LedgerAccount
from metering.ledger.posting_rules import post_usage, revenue_of
from metering.money import to_number
from metering.rating.engine import Rater
from metering.rating.rating import Rating, Unpriced
from metering.services.stamping import stamp
from metering.storage import balances, copying, usage_events
from metering.storage.books import keep_books, moment_of
from metering.storage.database import Database, driver
from metering.storage.usage_events import Documents, StoredEvent
from metering.storage.usage_rollups import RollupKey, Rollups, Sums
from metering.usage.event import UsageEvent
from metering.usage.normalize import count_tokens

_JSON: Final = msgspec.json.Encoder(decimal_format="number")
_DOCUMENT: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


class Recorded(NamedTuple):
    """An event that is kept: accepted, duplicate or unpriced, with the figures of its first answer.

    `line_items` and `usage` (stamped) are encoded JSON; `cost` and `balance`, the account's posted balance
    after the event, are dollars as text. Where there is no price, `cost` is None and `unpriced` says why.
    """

    status: str
    cost: str | None
    line_items: str | None
    usage: str
    unpriced: Mapping[str, Any] | None
    balance: str


class Refused(NamedTuple):
    """An event that is not kept: rejected, or in conflict with one of the same id."""

    status: str
    error: MeteringError


Outcome: TypeAlias = Recorded | Refused


class Prepared(NamedTuple):
    """An event, rated and encoded, as far as that goes without its account."""

    event: UsageEvent
    cost_pico: int | None
    cost: str | None
    rollup_key: RollupKey
    sums: Sums
    line_items: str | None
    stamped: str
    unpriced: Mapping[str, Any] | None
    unbilled: Collection[str]
    row: str


@dataclass(slots=True)
class _Account:
    """A locked account while its events are posted."""

    books: Books
    posted_pico: int
    has_new: bool = False
    costs: dict[LedgerAccount, tuple[str, int]] = field(default_factory=dict)


class Ingest:
    """The use case, with the price book and the policy's limits."""

    def __init__(
        self, database: Database, rater: Rater, *, max_age: timedelta, max_future: timedelta
    ) -> None:
        self._database = database
        self._rater = rater
        self._max_age = max_age
        self._max_future = max_future
        self._book_digest = copying.binary(rater.book.digest)

    def prepare(self, event: UsageEvent, now: datetime) -> Prepared | Refused:
        """Rate and encode one event; refused where its usage is bad or its time is in the future."""
        if event.created_at > now + self._max_future:
            limit = int(self._max_future.total_seconds())
            message = f"must not be more than {limit} seconds in the future"
            return Refused("rejected", InvalidParameter(message, param="created_at"))
        try:
            rating = self._rater.rate(
                event.model, event.usage, event.created_at, failed=event.status == "error"
            )
        except InvalidUsage as error:
            return Refused("rejected", InvalidParameter(error.message, param=f"usage.{error.param}"))
        return self._encode(event, rating)

    def _encode(self, event: UsageEvent, rating: Rating | Unpriced) -> Prepared:
        tokens = count_tokens(rating.quantities)
        usage = _JSON.encode(event.usage).decode()
        label = cost_pico = cost = line_items = unpriced = None
        if isinstance(rating, Rating):
            cost_pico, label = rating.cost_pico, rating.pricing_tier_label
            cost = to_number(cost_pico)
            line_items = f"[{','.join([item.as_json() for item in rating.line_items])}]"
        else:
            unpriced = {"meter": rating.meter, "reason": rating.reason}
        documents = Documents(
            usage,
            _JSON.encode(event.output_urls).decode() if event.output_urls else "[]",
            None if event.metadata is None else _JSON.encode(event.metadata).decode(),
            line_items,
            None if unpriced is None else _JSON.encode(unpriced).decode(),
            _JSON.encode(rating.unbilled).decode() if rating.unbilled else None,
        )
        at = event.created_at
        created_at = str(at if at.tzinfo is UTC else at.astimezone(UTC))
        row = usage_events.encode(event, created_at, documents, tokens, cost, label, self._book_digest)
        stamped = stamp(usage, event.usage, cost, label)
        hour = f"{created_at[:10]}T{created_at[11:13]}:00:00+00"
        key = (event.account_id, hour, event.model, event.source)
        is_error, is_unpriced = event.status == "error", cost_pico is None
        # The stated total is not summed: a page adds it up, and spend doesn't need it.
        sums = (1, int(is_error), int(is_unpriced), cost_pico or 0, *tokens[:4])
        return Prepared(
            event, cost_pico, cost, key, sums, line_items, stamped, unpriced, rating.unbilled, row
        )

    def quote(self, prepared: Sequence[Prepared | Refused]) -> list[Outcome]:
        """What `record` would answer at this moment, without effect."""
        kept, now = _kept(prepared), clock.now()
        posting = _Posting(now, oldest=now - self._max_age)
        with self._database.snapshot() as connection:
            raw = driver(connection)
            found = balances.find_many(raw, {p.event.account_id for p in kept}, now)
            for name, (posted_pico, held_pico, updated_at, _) in found.items():
                books = Books(name, posted_pico, held_pico, 0, 0, updated_at, None)
                posting.accounts[name] = _Account(books, posted_pico)
            posting.known = dict(
                usage_events.find_many(raw, ((p.event.account_id, p.event.id) for p in kept))
            )
        return [one if isinstance(one, Refused) else posting.post(one) for one in prepared]

    def record(self, prepared: Sequence[Prepared | Refused]) -> list[Outcome]:
        """Record each event once and post its cost, all in one transaction; outcomes in order.

        A known id with the same body is a duplicate and answers as the first time; with another body it
        is a conflict and changes nothing. Returns after COMMIT; raises if that failed.
        """
        kept = _kept(prepared)
        started = time.perf_counter()
        with self._database.transaction() as connection:
            raw = driver(connection)
            # A pipeline is one round trip. What is known is looked up after the locks are had.
            with raw.pipeline():
                locked = balances.lock_many(raw, sorted({p.event.account_id for p in kept}))
                known = usage_events.find_many(raw, ((p.event.account_id, p.event.id) for p in kept))
            accounts = {books.account_id: _Account(books, books.posted_pico) for books in locked}
            now = moment_of(account.books for account in accounts.values())
            posting = _Posting(now, oldest=now - self._max_age)
            posting.accounts = accounts
            posting.known = dict(known)
            outcomes = [one if isinstance(one, Refused) else posting.post(one) for one in prepared]
            usage_events.append(raw, posting.rows)
            with raw.pipeline():
                keep_books(raw, posting.moved(), now)
                posting.rollups.keep(raw)
        _count(outcomes, time.perf_counter() - started)
        for fields in posting.unbilled:
            telemetry.count_unbilled(fields)
        return outcomes


class _Posting:
    """What one transaction posts, account by account, under their locks."""

    def __init__(self, now: datetime, *, oldest: datetime) -> None:
        self.now = now
        self._recorded_at = str(now)
        self.oldest = oldest
        self.accounts: dict[str, _Account] = {}
        self.known: dict[tuple[str, str], StoredEvent] = {}
        self.rows: list[str] = []
        self.rollups = Rollups()
        self.unbilled: list[Collection[str]] = []
        self._in_batch: dict[tuple[str, str], tuple[bytes, Recorded]] = {}

    def post(self, one: Prepared) -> Outcome:
        event = one.event
        key = (event.account_id, event.id)
        account = self.accounts.get(event.account_id)
        if account is None:
            return _unknown_account(event)
        if key in self.known:
            stored = self.known[key]
            return _again(event, stored.body_digest, _from_stored(stored))
        if key in self._in_batch:
            return _again(event, *self._in_batch[key])
        if event.created_at < self.oldest:
            days = (self.now - self.oldest).days
            return Refused(
                "rejected", InvalidParameter(f"must not be older than {days} days", param="created_at")
            )
        transfer_id = self._charge(account, one)
        balance = to_number(account.posted_pico)
        row = usage_events.complete(
            one.row, account.books.event_count, self._recorded_at, transfer_id, balance
        )
        self.rows.append(row)
        self.rollups.add(one.rollup_key, one.sums)
        if one.unbilled:
            self.unbilled.append(one.unbilled)
        recorded = _recorded(one, balance)
        self._in_batch[key] = (event.body_digest, recorded)
        return recorded

    def _charge(self, account: _Account, one: Prepared) -> str | None:
        """Take the cost from the account; the id of the transfer that will carry it, if there is any."""
        account.books.event_count += 1
        account.has_new = True
        if not one.cost_pico:
            return None
        account.posted_pico -= one.cost_pico
        revenue = revenue_of(one.event.source)
        transfer_id, sum_pico = account.costs.get(revenue) or (ids.new_id(), 0)
        account.costs[revenue] = (transfer_id, sum_pico + one.cost_pico)
        return transfer_id

    def moved(self) -> list[Books]:
        """The books of each account that has a new event: one transfer for each kind of revenue charged."""
        moved = [account for account in self.accounts.values() if account.has_new]
        for account in moved:
            for revenue, (transfer_id, amount_pico) in account.costs.items():
                account.books.post(
                    post_usage(transfer_id, account.books.account_id, revenue, amount_pico, self.now)
                )
        return [account.books for account in moved]


def _kept(prepared: Iterable[Prepared | Refused]) -> list[Prepared]:
    return [one for one in prepared if isinstance(one, Prepared)]


def _unknown_account(event: UsageEvent) -> Refused:
    return Refused(
        "rejected", AccountNotFound(f"There is no account {event.account_id}.", param="account_id")
    )


def _recorded(one: Prepared, balance: str) -> Recorded:
    status = "accepted" if one.unpriced is None else "unpriced"
    return Recorded(status, one.cost, one.line_items, one.stamped, one.unpriced, balance)


def _from_stored(stored: StoredEvent) -> Recorded:
    usage = _DOCUMENT.decode(stored.usage)
    stamped = stamp(stored.usage, usage, stored.cost, stored.pricing_tier_label)
    return Recorded(
        "duplicate", stored.cost, stored.line_items, stamped, stored.unpriced, stored.balance_after
    )


def _again(event: UsageEvent, first_digest: bytes, first: Recorded) -> Outcome:
    if first_digest != event.body_digest:
        return Refused(
            "conflict", InvalidParameter("this id was used for an event with another body", param="id")
        )
    return first._replace(status="duplicate")


def _count(outcomes: Sequence[Outcome], seconds: float) -> None:
    telemetry.COMMIT_SECONDS.observe(seconds)
    telemetry.GROUP_EVENTS.observe(len(outcomes))
    for status, number in Counter(outcome.status for outcome in outcomes).items():
        telemetry.EVENTS_TOTAL.labels(status).inc(number)
