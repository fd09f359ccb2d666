"""What one transaction posts for usage events, account by account, under the accounts' locks.

An event takes its cost from the balance; a batch's costs go into one transfer for each account and kind of
revenue. An event that supersedes another posts the difference as a transfer of its own. The hold that an
event captures is released here, so that in one transaction what was set aside becomes what was spent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from metering import ids
from metering.errors import AccountNotFound, InvalidParameter, MeteringError
from metering.ledger.books import Books
from metering.ledger.chart import LedgerAccount
from metering.ledger.holds import Closing, Hold, HoldState
from metering.ledger.posting_rules import post_cost_change, post_usage, revenue_of
from metering.ledger.transfers import TransferKind
from metering.money import to_number
from metering.services.stamping import stamp
from metering.storage import usage_events
from metering.storage.corrections import Correction, Standing
from metering.storage.usage_events import StoredEvent
from metering.storage.usage_rollups import RollupKey, Rollups, Sums, rollup_key
from metering.usage.event import Source, UsageEvent

_DOCUMENT: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_ACTOR: Final = "usage ingest"

# account_id and an event's or a hold's id
Key: TypeAlias = tuple[str, str]


class Recorded(NamedTuple):
    """An event that is kept: accepted, duplicate or unpriced, with the figures of its first answer.

    `line_items` and `usage` (stamped) are encoded JSON; `cost` and `balance`, the account's posted balance
    after the event, are dollars as text. Where there is no price, `cost` is None and `unpriced` says why.
    `hold` is the hold that the event named, as it is now; None where it named none, or none that exists.
    """

    status: str
    cost: str | None
    line_items: str | None
    usage: str
    unpriced: Mapping[str, Any] | None
    balance: str
    hold: Hold | None = None


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
    """A locked account while its events are posted, at its moment `at`.

    `posted_pico` runs ahead of the books' transfers.
    """

    books: Books
    posted_pico: int
    at: datetime
    recorded_at: str
    has_new: bool = False
    costs: dict[LedgerAccount, tuple[str, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Known:
    """What was read under the locks: recorded events, superseded ones as they stand, and holds."""

    events: dict[Key, StoredEvent]
    standing: dict[Key, Standing]
    holds: dict[Key, Hold]


class Posting:
    """Events posted one by one, in order; what is to be written gathers here."""

    def __init__(self, books: Iterable[Books], known: Known, now: datetime, *, oldest: datetime) -> None:
        self.rows: list[str] = []
        self.rollups = Rollups()
        self.unbilled: list[Collection[str]] = []
        self.corrections: list[Correction] = []
        self.closings: list[Closing] = []
        self.spent: dict[tuple[str, str, date], int] = {}
        self._accounts = {one.account_id: _opened(one, now, str(now)) for one in books}
        self._known = known
        self._now = now
        self._oldest = oldest
        self._in_batch: dict[Key, tuple[Prepared, Recorded, str | None]] = {}

    def post(self, one: Prepared) -> Outcome:
        """Post an event unless it is known or not acceptable."""
        event = one.event
        key = (event.account_id, event.id)
        account = self._accounts.get(event.account_id)
        if account is None:
            return _unknown_account(event)
        if key in self._known.events:
            stored = self._known.events[key]
            return self._again(event, stored.body_digest, _from_stored(stored))
        if key in self._in_batch:
            first, recorded, _ = self._in_batch[key]
            return self._again(event, first.event.body_digest, recorded)
        if event.created_at < self._oldest:
            days = (self._now - self._oldest).days
            return Refused(
                "rejected", InvalidParameter(f"must not be older than {days} days", param="created_at")
            )
        if event.supersedes is None:
            charged, transfer_id = one.cost_pico or 0, self._charge(account, one)
        else:
            superseded = self._superseded(event)
            if isinstance(superseded, Refused):
                return superseded
            charged, transfer_id = self._amend(account, one, superseded)
        return self._record(account, one, charged, transfer_id)

    def _record(self, account: _Account, one: Prepared, charged: int, transfer_id: str | None) -> Recorded:
        event = one.event
        account.posted_pico -= charged
        account.books.event_count += 1
        account.has_new = True
        hold = None if event.hold_id is None else self._capture(account.books, event, one.cost_pico or 0)
        api_key_id = event.api_key_id or (hold and hold.api_key_id)
        if api_key_id is not None and one.cost_pico:
            self._spend((event.account_id, api_key_id, account.at.astimezone(UTC).date()), one.cost_pico)
        balance = to_number(account.posted_pico)
        self.rows.append(
            usage_events.complete(
                one.row, account.books.event_count, account.recorded_at, transfer_id, balance, api_key_id
            )
        )
        self.rollups.add(one.rollup_key, one.sums)
        if one.unbilled:
            self.unbilled.append(one.unbilled)
        status = "accepted" if one.unpriced is None else "unpriced"
        recorded = Recorded(status, one.cost, one.line_items, one.stamped, one.unpriced, balance, hold)
        self._in_batch[event.account_id, event.id] = one, recorded, api_key_id
        return recorded

    def _spend(self, budget_day: tuple[str, str, date], amount_pico: int) -> None:
        self.spent[budget_day] = self.spent.get(budget_day, 0) + amount_pico

    @staticmethod
    def _charge(account: _Account, one: Prepared) -> str | None:
        """The id of the transfer that will carry the event's cost, if there is any."""
        if not one.cost_pico:
            return None
        revenue = revenue_of(one.event.source)
        transfer_id, sum_pico = account.costs.get(revenue) or (ids.new_id(), 0)
        account.costs[revenue] = (transfer_id, sum_pico + one.cost_pico)
        return transfer_id

    def _superseded(self, event: UsageEvent) -> Standing | Refused:
        """The event whose figures are replaced, as it stands; refused where that can't be."""
        key = (event.account_id, event.supersedes or "")
        standing = self._known.standing.get(key)
        if standing is None and key in self._in_batch:
            first, _, api_key_id = self._in_batch[key]
            standing = _standing_of(first, api_key_id, self._accounts[event.account_id].at)
        if standing is None:
            reason = "no event of this id is recorded"
        elif standing.superseded_by is not None:
            reason = f"was superseded by {standing.superseded_by!r} already: supersede that one"
        elif standing.last_kind == "reversal":
            reason = "was reversed: send an event of its own"
        else:
            return standing
        return Refused("rejected", InvalidParameter(reason, param="supersedes"))

    def _amend(self, account: _Account, one: Prepared, old: Standing) -> tuple[int, str | None]:
        """Post the difference to the superseded event: what it takes, and the transfer that carries it."""
        event, before, after = one.event, old.cost_pico or 0, one.cost_pico or 0
        self._flush(account)
        if revenue_of(old.source) is revenue_of(event.source):
            transfer_id = old_transfer_id = self._post_change(account, event, event.source, after - before)
        else:
            old_transfer_id = self._post_change(account, event, old.source, -before)
            transfer_id = self._post_change(account, event, event.source, after)
        correction = Correction(
            account_id=event.account_id,
            event_id=old.event_id,
            number=old.corrections + 1,
            kind="amendment",
            event_created_at=old.created_at,
            source=old.source,
            model=old.model,
            cost_pico=0,
            delta_pico=-before,
            line_items=None,
            pricing_tier_label=None,
            superseded_by=event.id,
            book_digest=None,
            transfer_id=old_transfer_id,
            reason="superseded by a later event",
            actor=_ACTOR,
        )
        self.corrections.append(correction)
        if old.budget_day is not None:
            self._spend(old.budget_day, -before)
        created_at = str(old.created_at.astimezone(UTC))
        sums = (1, int(old.status == "error"), int(old.cost_pico is None), before, *old.tokens)
        self.rollups.take(rollup_key(event.account_id, created_at, old.model, old.source), sums)
        self._known.standing[event.account_id, old.event_id] = old._replace(
            cost_pico=0,
            corrections=correction.number,
            last_kind=correction.kind,
            superseded_by=correction.superseded_by,
        )
        return after - before, transfer_id

    def _post_change(
        self, account: _Account, event: UsageEvent, source: Source, delta_pico: int
    ) -> str | None:
        if not delta_pico:
            return None
        transfer = post_cost_change(
            ids.new_id(),
            event.account_id,
            TransferKind.AMENDMENT,
            revenue_of(source),
            delta_pico,
            account.at,
            reason=f"event {event.supersedes!r} superseded by {event.id!r}",
            actor=_ACTOR,
        )
        account.books.post(transfer)
        return transfer.id

    def _capture(self, books: Books, event: UsageEvent, cost_pico: int) -> Hold | None:
        """The hold that the event names, released if it was open; what is served is billed all the same."""
        key = (event.account_id, event.hold_id or "")
        hold = self._known.holds.get(key)
        if hold is None or hold.state is not HoldState.OPEN:
            return hold
        books.held_pico -= hold.amount_pico
        state = HoldState.CAPTURED if hold.expires_at > self._now else HoldState.EXPIRED
        closing = Closing(event.account_id, hold.id, state, cost_pico, event.id)
        self.closings.append(closing)
        hold = hold._replace(state=state, captured_pico=cost_pico, event_id=event.id, closed_at=self._now)
        self._known.holds[key] = hold
        return hold

    def _flush(self, account: _Account) -> None:
        """Post what was charged so far, so that transfers stand in the order of their events."""
        for revenue, (transfer_id, amount_pico) in account.costs.items():
            account_id = account.books.account_id
            account.books.post(post_usage(transfer_id, account_id, revenue, amount_pico, account.at))
        account.costs.clear()

    def moved(self) -> list[Books]:
        """The books of each account that has a new event: one transfer for each kind of revenue charged."""
        moved = [account for account in self._accounts.values() if account.has_new]
        for account in moved:
            self._flush(account)
        return [account.books for account in moved]

    def _again(self, event: UsageEvent, first_digest: bytes, first: Recorded) -> Outcome:
        if first_digest != event.body_digest:
            return Refused(
                "conflict", InvalidParameter("this id was used for an event with another body", param="id")
            )
        hold = None if event.hold_id is None else self._known.holds.get((event.account_id, event.hold_id))
        return first._replace(status="duplicate", hold=hold)


def _opened(books: Books, now: datetime, recorded_at: str) -> _Account:
    at = books.moment(now)
    return _Account(books, books.posted_pico, at, recorded_at if at is now else str(at))


def _unknown_account(event: UsageEvent) -> Refused:
    return Refused(
        "rejected", AccountNotFound(f"There is no account {event.account_id}.", param="account_id")
    )


def _standing_of(one: Prepared, api_key_id: str | None, at: datetime) -> Standing:
    """An event of this very batch, which nothing can have corrected yet."""
    event, tokens = one.event, one.sums[4:8]
    return Standing(
        event.account_id,
        event.id,
        event.created_at,
        event.source,
        event.model,
        event.status,
        one.cost_pico,
        (tokens[0], tokens[1], tokens[2], tokens[3]),
        transfer_id=None,
        corrections=0,
        last_kind=None,
        superseded_by=None,
        api_key_id=api_key_id,
        recorded_at=at,
    )


def _from_stored(stored: StoredEvent) -> Recorded:
    usage = _DOCUMENT.decode(stored.usage)
    stamped = stamp(stored.usage, usage, stored.cost, stored.pricing_tier_label)
    return Recorded(
        "duplicate", stored.cost, stored.line_items, stamped, stored.unpriced, stored.balance_after
    )
