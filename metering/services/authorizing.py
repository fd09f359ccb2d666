"""What one transaction decides about holds, command by command, under the locks of their accounts.

A command is answered with what is held, or with the error that refuses it: one refusal never sinks the
others of its group. What is to be written gathers here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from metering.errors import (
    AccountNotFound,
    BudgetExceeded,
    HoldClosed,
    InsufficientCredits,
    InvalidApiKey,
    MeteringError,
    NotFound,
    RateLimitExceeded,
)
from metering.ledger.balance import Balance
from metering.ledger.books import Books
from metering.ledger.holds import Closing, Hold, HoldState, may_extend, may_hold, overspend
from metering.ledger.request_rate import Limits, Rate
from metering.money import to_number
from metering.services.api_keys import NO_SUCH_KEY, NOTED_EVERY
from metering.services.idempotency import require_same
from metering.storage.api_key_spend import KeyStanding
from metering.storage.holds import Extension, FoundByKey, FoundExtension, NewHold


class Authorize(NamedTuple):
    """Set `amount_pico` aside for `lasts`, on the account that is named, or that has the key of this hash.

    `api_key_id` names a key of the account, instead of a hash. `id` will be the hold's. `refusal` is why the
    estimate has no amount, which counts for nothing where the idempotency key was used before.
    """

    id: str
    account_id: str | None
    key_hash: bytes | None
    api_key_id: str | None
    amount_pico: int
    model: str | None
    tokens: int
    lasts: timedelta
    idempotency_key: str | None
    body_digest: bytes
    refusal: MeteringError | None = None


class Extend(NamedTuple):
    """Add an increment to an open hold, and let it last so long from now at the least; `id` is its own.

    `refusal` as in `Authorize`.
    """

    id: str
    hold_id: str
    increment_pico: int
    lasts: timedelta | None
    idempotency_key: str | None
    body_digest: bytes
    refusal: MeteringError | None = None


class Void(NamedTuple):
    """Release a hold."""

    hold_id: str


Command: TypeAlias = Authorize | Extend | Void


class Held(NamedTuple):
    """A hold and its account's balance as the command left them.

    `verb` is granted, repeated, extended or voided; `overspend_pico` is by how much an extension went
    beyond what was available.
    """

    verb: str
    hold: Hold
    balance: Balance
    overspend_pico: int = 0


Outcome: TypeAlias = Held | MeteringError


@dataclass(slots=True)
class _Account:
    """A locked account while holds are decided."""

    books: Books
    held_pico: int
    limits: Limits
    rate: Rate


@dataclass(slots=True)
class Found:
    """What was read under the locks. `ending` are open holds whose time is up about now."""

    books: list[Books]
    limits: dict[str, tuple[Limits, Rate | None]]
    ending: list[Hold]
    keys: list[KeyStanding]
    holds: list[Hold]
    by_key: list[FoundByKey]
    extensions: list[FoundExtension]


class Authorizing:
    """Commands decided one by one, in order, at the moment `now`."""

    def __init__(self, found: Found, now: datetime) -> None:
        self.new: list[NewHold] = []
        self.extensions: list[Extension] = []
        self.grown: dict[str, Hold] = {}
        self.closings: list[Closing] = []
        self.rates: dict[str, Rate] = {}
        self.used: dict[tuple[str, str], None] = {}
        self.refused: dict[str, InsufficientCredits] = {}
        self._now = now
        self._accounts = {
            books.account_id: _Account(books, books.held_pico, *_limits(found, books.account_id, now))
            for books in found.books
        }
        # A window that a clock ahead of ours began was set back: unless that is kept, it never ends.
        for account_id, (_, kept) in found.limits.items():
            if kept is not None and kept.started_at > now and account_id in self._accounts:
                self.rates[account_id] = self._accounts[account_id].rate
        self._keys = {(key.account_id, key.id): key for key in found.keys}
        self._by_hash = {key.key_hash: key for key in found.keys}
        self._holds = {hold.id: hold for hold in found.holds}
        self._repeated: dict[tuple[str, str], tuple[str, bytes]] = {}
        for hold, key, digest in found.by_key:
            self._holds[hold.id] = hold
            self._repeated[hold.account_id, key] = hold.id, digest
        self._extended = {(one.hold_id, one.idempotency_key): one for one in found.extensions}
        for hold in found.ending:
            if hold.expires_at <= now and hold.account_id in self._accounts:
                self._close(hold, HoldState.EXPIRED, hold.expires_at)

    def decide(self, command: Command) -> Outcome:
        """The command's outcome, which later ones see."""
        try:
            if isinstance(command, Authorize):
                return self._authorize(command)
            hold = self._holds.get(command.hold_id)
            if hold is None or hold.account_id not in self._accounts:
                return NotFound("There is no such hold.", param="hold_id")
            return self._extend(command, hold) if isinstance(command, Extend) else self._void(hold)
        except InsufficientCredits as refused:
            self.refused.setdefault(self._account_of(command), refused)
            return refused
        except MeteringError as refused:
            return refused

    def held(self) -> list[Books]:
        """The books on which more or less is held than before, and nothing was posted."""
        return [
            one.books
            for one in self._accounts.values()
            if one.books.held_pico != one.held_pico and not one.books.posted
        ]

    def _account_of(self, command: Command) -> str:
        """The account of a command that came as far as its credit."""
        if isinstance(command, Authorize):
            return command.account_id or self._by_hash[command.key_hash or b""].account_id
        return self._holds[command.hold_id].account_id

    def _authorize(self, wanted: Authorize) -> Held:
        key = self._key(wanted)
        account_id = wanted.account_id or (key.account_id if key else "")
        account = self._accounts.get(account_id)
        if account is None:
            raise AccountNotFound("There is no such account.", param="account_id")
        first = self._repeated.get((account_id, wanted.idempotency_key or ""))
        if first is not None:
            require_same(first[1], wanted.body_digest)
            return self._answer("repeated", self._holds[first[0]])
        if wanted.refusal is not None:
            raise wanted.refusal
        wait_seconds = account.rate.wait_seconds(account.limits, wanted.tokens, self._now)
        if wait_seconds:
            raise _too_many(account.limits, wanted.tokens, wait_seconds)
        if key is not None and key.budget is not None:
            left_pico = key.budget.left_pico
            if not may_hold(wanted.amount_pico, left_pico):
                raise _over_budget(left_pico, wanted.amount_pico)
        available_pico = account.books.available_pico
        if not may_hold(wanted.amount_pico, available_pico):
            raise _no_credit(available_pico, wanted.amount_pico)
        return self._grant(account, wanted, None if key is None else key.id)

    def _key(self, wanted: Authorize) -> KeyStanding | None:
        """The key that the call names, which must be good; None where it names none."""
        if wanted.key_hash is None and wanted.api_key_id is None:
            return None
        if wanted.key_hash is not None:
            key = self._by_hash.get(wanted.key_hash)
        else:
            key = self._keys.get((wanted.account_id or "", wanted.api_key_id or ""))
        if key is None or not key.is_good(self._now):
            raise InvalidApiKey(NO_SUCH_KEY, param="api_key_id" if wanted.key_hash is None else "api_key")
        if key.last_used_at is None or key.last_used_at <= self._now - NOTED_EVERY:
            self.used[key.account_id, key.id] = None
        return self._keys[key.account_id, key.id]

    def _grant(self, account: _Account, wanted: Authorize, key_id: str | None) -> Held:
        account_id = account.books.account_id
        hold = Hold(
            id=wanted.id,
            account_id=account_id,
            state=HoldState.OPEN,
            authorized_pico=wanted.amount_pico,
            amount_pico=wanted.amount_pico,
            captured_pico=None,
            event_id=None,
            api_key_id=key_id,
            model=wanted.model,
            tokens=wanted.tokens,
            created_at=self._now,
            expires_at=self._now + wanted.lasts,
            closed_at=None,
        )
        self.new.append(NewHold(hold, wanted.idempotency_key, wanted.body_digest))
        self._holds[hold.id] = hold
        if wanted.idempotency_key is not None:
            self._repeated[account_id, wanted.idempotency_key] = hold.id, wanted.body_digest
        account.rate = self.rates[account_id] = account.rate.plus(wanted.tokens)
        self._hold(hold, wanted.amount_pico)
        return self._answer("granted", hold)

    def _extend(self, wanted: Extend, hold: Hold) -> Held:
        first = self._extended.get((hold.id, wanted.idempotency_key or ""))
        if first is not None:
            require_same(first.body_digest, wanted.body_digest)
            return self._answer("repeated", hold, first.overspend_pico)
        if wanted.refusal is not None:
            raise wanted.refusal
        _require_open(hold, self._now)
        increment_pico = wanted.increment_pico
        key = self._keys.get((hold.account_id, hold.api_key_id or ""))
        if key is not None and key.budget is not None:
            left_pico = key.budget.left_pico
            if not may_extend(increment_pico, left_pico):
                raise _over_budget(left_pico, increment_pico)
        books = self._accounts[hold.account_id].books
        available_pico = books.available_pico
        if not may_extend(increment_pico, available_pico):
            raise _no_credit(available_pico, increment_pico)
        beyond_pico = overspend(increment_pico, available_pico)
        expires_at = hold.expires_at
        if wanted.lasts is not None:
            expires_at = max(expires_at, self._now + wanted.lasts)
        hold = hold._replace(amount_pico=hold.amount_pico + increment_pico, expires_at=expires_at)
        self._holds[hold.id] = self.grown[hold.id] = hold
        self._hold(hold, increment_pico)
        key_and_digest = wanted.idempotency_key, wanted.body_digest
        self.extensions.append(
            Extension(hold.account_id, hold.id, wanted.id, increment_pico, beyond_pico, *key_and_digest)
        )
        if wanted.idempotency_key is not None:
            self._extended[hold.id, wanted.idempotency_key] = FoundExtension(
                hold.id, wanted.idempotency_key, wanted.body_digest, beyond_pico
            )
        return self._answer("extended", hold, beyond_pico)

    def _void(self, hold: Hold) -> Held:
        state = hold.state_at(self._now)
        if state is HoldState.CAPTURED:
            raise HoldClosed("The hold was captured: its cost is charged.", param="hold_id")
        if state is HoldState.OPEN:
            hold = self._close(hold, HoldState.VOIDED, self._now)
            return self._answer("voided", hold)
        return self._answer("repeated", hold)

    def _close(self, hold: Hold, state: HoldState, at: datetime) -> Hold:
        self.closings.append(Closing(hold.account_id, hold.id, state))
        self._hold(hold, -hold.amount_pico)
        closed = hold._replace(state=state, closed_at=at)
        self._holds[hold.id] = closed
        return closed

    def _hold(self, hold: Hold, more_pico: int) -> None:
        """Count more as held, or less, on the account and in the budget of the hold's key."""
        self._accounts[hold.account_id].books.held_pico += more_pico
        name = hold.account_id, hold.api_key_id or ""
        key = self._keys.get(name)
        if key is not None and key.budget is not None:
            budget = key.budget._replace(held_pico=key.budget.held_pico + more_pico)
            self._keys[name] = key._replace(budget=budget)

    def _answer(self, verb: str, hold: Hold, overspend_pico: int = 0) -> Held:
        books = self._accounts[hold.account_id].books
        return Held(verb, hold, Balance.of(books), overspend_pico)


def _limits(found: Found, account_id: str, now: datetime) -> tuple[Limits, Rate]:
    limits, rate = found.limits[account_id]
    return limits, Rate(now) if rate is None else rate.at(now)


def _require_open(hold: Hold, now: datetime) -> None:
    state = hold.state_at(now)
    if state is not HoldState.OPEN:
        raise HoldClosed(f"The hold is {state}: ask for a new one.", param="hold_id")


def _too_many(limits: Limits, tokens: int, wait_seconds: int) -> RateLimitExceeded:
    """Where waiting would not help, the message does not advise it."""
    if 0 in limits:
        of = "tokens" if limits.requests else "requests"
        told = f"The account may make no requests: its limit is 0 {of} a minute."
    elif tokens > limits.tokens:
        told = f"The request's {tokens:,} tokens alone are beyond the limit of {limits.tokens:,} a minute."
    else:
        told = f"The account has {limits.requests:,} requests and {limits.tokens:,} tokens a minute. "
        told += f"Try again in {wait_seconds} seconds."
    return RateLimitExceeded(told, retry_after_seconds=wait_seconds)


def _over_budget(left_pico: int, wanted_pico: int) -> BudgetExceeded:
    return BudgetExceeded(
        f"{to_number(wanted_pico)} is wanted, {to_number(left_pico)} is left of the API key's budget.",
        available_pico=left_pico,
        wanted_pico=wanted_pico,
    )


def _no_credit(available_pico: int, wanted_pico: int) -> InsufficientCredits:
    return InsufficientCredits(
        f"{to_number(wanted_pico)} is wanted, {to_number(available_pico)} is available: top up first.",
        available_pico=available_pico,
        wanted_pico=wanted_pico,
    )
