"""Holds: money set aside for work that is let in, extended while it runs, and released.

What a gateway asks before each request is answered in one transaction: is the key good, is the account
within its requests and tokens per minute, is there budget and credit. Capture is the event's business
(`services/posting.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from metering import clock, ids, telemetry
from metering.errors import AccountNotFound, InvalidParameter, InvalidUsage, ModelNotFound, NotFound
from metering.ledger.balance import Balance
from metering.ledger.holds import Hold, HoldState
from metering.ledger.notices import NoticeType
from metering.money import to_number
from metering.rating.engine import Rater
from metering.rating.rating import Unpriced
from metering.services.authorizing import Authorize, Authorizing, Command, Extend, Found, Held, Outcome
from metering.services.laid_lots import LaidLots
from metering.services.lots import settle_expiry
from metering.storage import api_key_spend, balances, holds, notices, request_rates
from metering.storage.api_key_spend import KeyStanding
from metering.storage.asked import Asked
from metering.storage.books import keep_books
from metering.storage.database import Database, driver
from metering.storage.holds import FoundByKey, FoundExtension
from metering.usage.normalize import count_tokens

# How far ahead holds are read that are about to expire: as long as it may take to get the locks.
_AHEAD: Final = timedelta(milliseconds=100)


class Estimate(NamedTuple):
    """What usage costs by the price book, and its input and output tokens."""

    amount_pico: int
    tokens: int


class HoldsPage(NamedTuple):
    """Some of an account's holds, oldest first, and its balance in the same moment."""

    holds: list[Hold]
    balance: Balance


class Holds:
    """The use cases, with the price book."""

    def __init__(self, database: Database, rater: Rater) -> None:
        self._database = database
        self._rater = rater

    def estimate(self, model: str, usage: Mapping[str, object], now: datetime) -> Estimate:
        """Price an upper estimate of usage. Raises `ModelNotFound`, and `InvalidParameter` for bad usage."""
        try:
            rating = self._rater.rate(model, usage, now)
        except InvalidUsage as error:
            raise InvalidParameter(error.message, param=f"usage.{error.param}") from error
        if isinstance(rating, Unpriced):
            if rating.meter is None:
                raise ModelNotFound(f"The price book has no model {model!r}.", param="model")
            raise InvalidParameter(rating.reason, param="usage")
        if not rating.line_items:
            # A slip of the pen must not pass for work that costs nothing.
            unknown = next(iter(rating.unbilled), None)
            raise InvalidParameter(
                "nothing here is charged for by the model", param=f"usage.{unknown}" if unknown else "usage"
            )
        tokens = count_tokens(rating.quantities)
        return Estimate(rating.cost_pico, tokens.input + tokens.output)

    def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Decide commands in order, all in one transaction; outcomes in order, refusals among them.

        Returns after COMMIT; raises if that failed.
        """
        asked = _Asked(commands)
        with self._database.transaction() as connection:
            raw = driver(connection)
            found, now = _read(raw, asked)
            for books in found.books:
                if books.next_expiry_at is not None and books.next_expiry_at <= now:
                    LaidLots.lock(raw, books, books.moment(now))
            authorizing = Authorizing(found, now)
            outcomes = [authorizing.decide(one) for one in commands]
            with raw.pipeline():
                _keep(raw, authorizing, now)
                keep_books(raw, [books for books in found.books if books.posted], now)
        for verb, number in Counter(map(_verb, outcomes)).items():
            telemetry.HOLDS_TOTAL.labels(verb).inc(number)
        return outcomes

    def get_hold(self, hold_id: str) -> Held:
        """The hold as it is now, with its account's balance; raises `NotFound`."""
        now = clock.now()
        held = self._get_hold(hold_id, now)
        if not held.balance.may_expire(now):
            return held
        settle_expiry(self._database, held.hold.account_id)
        return self._get_hold(hold_id, clock.now())

    def list_holds(
        self, account_id: str, *, state: HoldState | None, after: str | None, limit: int
    ) -> HoldsPage:
        """Up to `limit` of the account's holds, those after the id `after`; raises `AccountNotFound`."""
        now = clock.now()
        page = self._list_holds(account_id, state, after, limit, now)
        if not page.balance.may_expire(now):
            return page
        settle_expiry(self._database, account_id)
        return self._list_holds(account_id, state, after, limit, clock.now())

    def _get_hold(self, hold_id: str, now: datetime) -> Held:
        with self._database.snapshot() as connection:
            raw = driver(connection)
            found = list(holds.find_by_id(raw, [hold_id]))
            if not found:
                raise NotFound("There is no such hold.", param="hold_id")
            balance = balances.find_many(raw, [found[0].account_id], now)[found[0].account_id]
        return Held("read", at(found[0], now), balance)

    def _list_holds(
        self, account_id: str, state: HoldState | None, after: str | None, limit: int, now: datetime
    ) -> HoldsPage:
        with self._database.snapshot() as connection:
            raw = driver(connection)
            balance = balances.find_many(raw, [account_id], now).get(account_id)
            if balance is None:
                raise AccountNotFound("There is no such account.", param="account_id")
            found = holds.list_holds(raw, account_id, state, now, after=after, limit=limit)
        return HoldsPage([at(hold, now) for hold in found], balance)


def at(hold: Hold, now: datetime) -> Hold:
    """The hold as it is at that moment, also where nobody has closed it yet."""
    if hold.state_at(now) is hold.state:
        return hold
    return hold._replace(state=HoldState.EXPIRED, closed_at=hold.expires_at)


class _Asked:
    """What commands name, by the ways in which they name it."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self.key_hashes: set[bytes] = set()
        self.keys: set[tuple[str, str]] = set()
        self.hold_ids: set[str] = set()
        self.extended_ids: set[str] = set()
        self.by_key: list[tuple[str | None, bytes | None, str]] = []
        self.extensions: list[tuple[str, str]] = []
        account_ids: set[str] = set()
        for one in commands:
            if isinstance(one, Authorize):
                if one.account_id is not None:
                    account_ids.add(one.account_id)
                    if one.api_key_id is not None:
                        self.keys.add((one.account_id, one.api_key_id))
                if one.key_hash is not None:
                    self.key_hashes.add(one.key_hash)
                if one.idempotency_key is not None:
                    self.by_key.append((one.account_id, one.key_hash, one.idempotency_key))
                continue
            self.hold_ids.add(one.hold_id)
            if isinstance(one, Extend):
                self.extended_ids.add(one.hold_id)
                if one.idempotency_key is not None:
                    self.extensions.append((one.hold_id, one.idempotency_key))
        self.accounts = Asked.of(account_ids, self.key_hashes, self.hold_ids)


@dataclass(slots=True)
class _Facts:
    """What stands in the database besides the balances; in a pipeline, to be read after its end."""

    limits: Iterable[request_rates.Granted]
    ending: Iterable[Hold]
    keys: Iterable[KeyStanding]
    holds: Iterable[Hold]
    by_key: Iterable[FoundByKey]
    extensions: Iterable[FoundExtension]

    @classmethod
    def ask(cls, raw: Any, asked: _Asked, now: datetime, until: datetime) -> _Facts:  # noqa: ANN401  (the driver's)
        """Those that the commands need, and no more."""
        names = asked.key_hashes, asked.keys, asked.extended_ids
        return cls(
            request_rates.find_many(raw, asked.accounts),
            holds.find_ending(raw, asked.accounts, until),
            api_key_spend.find_many(raw, *names, now) if any(names) else (),
            holds.find_by_id(raw, asked.hold_ids) if asked.hold_ids else (),
            holds.find_by_idempotency_key(raw, asked.by_key) if asked.by_key else (),
            holds.find_extensions(raw, asked.extensions) if asked.extensions else (),
        )


def _read(raw: Any, asked: _Asked) -> tuple[Found, datetime]:  # noqa: ANN401  (the driver's)
    """Lock the accounts and read what the commands need, in one round trip; and the moment of it."""
    before = clock.now()
    until = before + _AHEAD
    with raw.pipeline():
        holds.pin_plans(raw)
        locked = balances.lock_asked(raw, asked.accounts)
        facts = _Facts.ask(raw, asked, before, until)
    books = list(locked)
    now = clock.now()
    if now > until or now.astimezone(UTC).date() != before.date():
        # The locks were long in coming, and something expired, or a day began, meanwhile.
        with raw.pipeline():
            facts = _Facts.ask(raw, asked, now, now)
    limits = {one.account_id: (one.limits, one.rate) for one in facts.limits}
    found = Found(
        books,
        limits,
        list(facts.ending),
        list(facts.keys),
        list(facts.holds),
        list(facts.by_key),
        list(facts.extensions),
    )
    return found, now


def _keep(raw: Any, decided: Authorizing, now: datetime) -> None:  # noqa: ANN401  (the driver's)
    holds.insert_many(raw, decided.new)
    holds.extend_many(raw, list(decided.grown.values()), decided.extensions, now)
    holds.close_many(raw, decided.closings, now)
    balances.set_held(raw, decided.held())
    request_rates.keep_many(raw, decided.rates)
    api_key_spend.touch_many(raw, decided.used, now)
    for account_id, refused in decided.refused.items():
        told = {
            "code": refused.code,
            "wanted": to_number(refused.wanted_pico),
            "available": to_number(refused.available_pico),
            "currency": "USD",
        }
        notices.append(raw, account_id, ids.new_id(), NoticeType.HOLD_REFUSED, told, now)


def _verb(outcome: Outcome) -> str:
    return outcome.verb if isinstance(outcome, Held) else outcome.code
