"""Which holds are granted, worked out naively; `wanted` and `increment` are dollars.

Each answers with its verb, or with the code of the error, and what the caller reads beside it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from metering import clock
from tests.services.ledger_oracle import ZERO, Account, Hold


class Answer(NamedTuple):
    """What became of a command: the hold and the balance, or how much was left when it was refused.

    `minutes` is how long the hold still lasts: what ends does so at full ones, the clocks differ by less.
    """

    verb: str
    amount: Decimal | None = None
    state: str | None = None
    minutes: int | None = None
    posted: Decimal | None = None
    held: Decimal | None = None
    beyond: Decimal = ZERO
    left: Decimal | None = None


class Authorize(NamedTuple):
    """Set money aside under an id; `key_id` is the API key that the work came through."""

    hold_id: str
    wanted: Decimal
    lasts: timedelta
    key_id: str | None
    idempotency_key: str | None
    digest: bytes


class Extend(NamedTuple):
    """Set more aside for a hold that there is."""

    hold_id: str
    increment: Decimal
    lasts: timedelta | None
    idempotency_key: str | None
    digest: bytes


class Void(NamedTuple):
    """Release what is set aside."""

    hold_id: str


def decide(account: Account | None, asked: Authorize | Extend | Void) -> Answer:
    """What becomes of a command; no account has a hold that there isn't."""
    if account is None:
        return Answer("not_found")
    if isinstance(asked, Authorize):
        return _authorize(account, asked)
    return _extend(account, asked) if isinstance(asked, Extend) else _void(account, asked.hold_id)


def look(account: Account) -> None:
    """Whoever looks at an account's holds closes those whose time is up."""
    for hold in account.holds.values():
        if hold.state == "expired":
            hold.closed = "expired"


def _authorize(account: Account, asked: Authorize) -> Answer:
    known = account.asked.get(("hold", asked.idempotency_key or ""))
    if known is not None:
        first, first_id = known
        if first != asked.digest:
            return Answer("idempotency_conflict")
        return _answer("repeated", account, first_id)
    for left, refused in _limits(account, asked.key_id):
        if asked.wanted > max(ZERO, left):
            return Answer(refused, left=left)
    expires_at = clock.now() + asked.lasts
    account.holds[asked.hold_id] = Hold(asked.wanted, asked.wanted, expires_at, asked.key_id)
    if asked.idempotency_key is not None:
        account.asked["hold", asked.idempotency_key] = asked.digest, asked.hold_id
    return _answer("granted", account, asked.hold_id)


def _extend(account: Account, asked: Extend) -> Answer:
    hold = account.holds[asked.hold_id]
    name = f"extend {asked.hold_id}", asked.idempotency_key or ""
    if name in account.asked:
        first, beyond = account.asked[name]
        if first != asked:
            return Answer("idempotency_conflict")
        return _answer("repeated", account, asked.hold_id)._replace(beyond=beyond)
    if hold.state != "open":
        return Answer("hold_closed")
    for left, refused in _limits(account, hold.key_id):
        if left <= 0 and asked.increment > max(ZERO, left):
            return Answer(refused, left=left)
    beyond = max(ZERO, asked.increment - max(ZERO, account.available))
    hold.amount += asked.increment
    if asked.lasts is not None:
        hold.expires_at = max(hold.expires_at, clock.now() + asked.lasts)
    if asked.idempotency_key is not None:
        account.asked[name] = asked, beyond
    return _answer("extended", account, asked.hold_id)._replace(beyond=beyond)


def _void(account: Account, hold_id: str) -> Answer:
    hold = account.holds[hold_id]
    if hold.closed == "captured":
        return Answer("hold_closed")
    verb = "voided" if hold.state == "open" else "repeated"
    if hold.state == "open":
        hold.closed = "voided"
    return _answer(verb, account, hold_id)


def minutes_to(end: datetime) -> int:
    """How long it is until then."""
    return round((end - clock.now()) / timedelta(minutes=1))


def held_by(account: Account, key_id: str) -> Decimal:
    """What the open holds of an API key set aside."""
    return sum(
        (hold.amount for hold in account.holds.values() if hold.key_id == key_id and hold.state == "open"),
        ZERO,
    )


def _limits(account: Account, key_id: str | None) -> list[tuple[Decimal, str]]:
    """What is left of the key's budget and of the credit, and the error where that is too little."""
    limits = [(account.available, "insufficient_credits")]
    budget = account.budgets.get(key_id or "")
    if key_id is not None and budget is not None:
        left = budget - account.spent(key_id) - held_by(account, key_id)
        limits.insert(0, (left, "budget_exceeded"))
    return limits


def _answer(verb: str, account: Account, hold_id: str) -> Answer:
    hold = account.holds[hold_id]
    return Answer(verb, hold.amount, hold.state, minutes_to(hold.expires_at), account.posted, account.held)
