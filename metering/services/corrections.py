"""Corrections: credit adjusted by hand, transfers and events reversed; nothing recorded is changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from metering import ids
from metering.errors import AlreadyCorrected, InvalidParameter, NotFound
from metering.ledger.adjustments import TRANSFER_KINDS, AdjustmentKind
from metering.ledger.books import Books
from metering.ledger.grants import MAX_GRANT_PICO
from metering.ledger.posting_rules import post_adjustment, post_reversal
from metering.ledger.transfers import TransferKind
from metering.money import to_number
from metering.services.cost_changes import CostChanges, Price
from metering.services.idempotency import require_same
from metering.services.laid_lots import LaidLots
from metering.services.texts import checked
from metering.storage import adjustments, corrections, lot_history, transfers
from metering.storage.adjustments import Adjustment
from metering.storage.books import keep_books, lock_account
from metering.storage.corrections import Standing
from metering.storage.database import Database, driver
from metering.storage.transfers import RecordedTransfer

MAX_REASON: Final = 2_000
_NOTHING: Final = Price(0, None, None, None)
# Nearly all events are recorded within this time of their creation; where that is not all, all time is read.
_SOON: Final = timedelta(days=1)
_MIRRORED: Final = frozenset({TransferKind.GRANT, TransferKind.ADJUSTMENT, TransferKind.GOODWILL})
_PROCESSOR: Final = "it follows the payment processor, and is undone by what happens there"
_INSTEAD: Final[dict[TransferKind, str]] = {
    TransferKind.EXPIRY: "an expiry can't be reversed: grant the credit again",
    TransferKind.REVERSAL: "a reversal can't be reversed: grant, adjust or record again what it took back",
    TransferKind.EVENT_REVERSAL: "an event's reversal can't be reversed: send its usage as a new event",
    TransferKind.RERATING: "it applied another price book: rate the period again by the former one",
    TransferKind.RATING: "it charged events that had no price when they came: reverse those events instead",
    TransferKind.AMENDMENT: "it put an event in the place of another: send one more that supersedes it",
    TransferKind.TOP_UP: "it was paid: refund the top-up instead",
    TransferKind.BONUS: "it belongs to a top-up: refund that instead, which takes the bonus back with it",
    TransferKind.REFUND: _PROCESSOR,
    TransferKind.DISPUTE: _PROCESSOR,
    TransferKind.TAX: _PROCESSOR,
    TransferKind.FEE: _PROCESSOR,
    TransferKind.SETTLEMENT: _PROCESSOR,
}


class WantedAdjustment(NamedTuple):
    """The adjustment that is asked for, negative where it takes; `actor` is who asks."""

    kind: AdjustmentKind
    amount_pico: int
    reason: str
    actor: str

    def digest(self) -> bytes:
        """SHA-256 of what is asked for, whoever asks: the same key with another digest is a conflict."""
        text = "\n".join([self.kind, str(self.amount_pico), self.reason])
        return hashlib.sha256(text.encode()).digest()


class Reversal(NamedTuple):
    """What was reversed: a transfer, or an event (of which a transfer may have carried several).

    `amount_pico` is the effect on the balance; `transfer_id` is the transfer that had it, None where nothing
    moved, and `balance_after_pico` the posted balance that it left.
    """

    account_id: str
    transfer_id: str | None
    reverses_id: str | None
    event_id: str | None
    amount_pico: int
    reason: str
    actor: str
    balance_after_pico: int
    created_at: datetime


def adjust_credit(
    database: Database, account_id: str, wanted: WantedAdjustment, idempotency_key: str
) -> tuple[Adjustment, bool]:
    """Give or take credit by hand, once per idempotency key: the adjustment, and whether it is new.

    The same again gets the first adjustment. Raises `AccountNotFound`, `IdempotencyConflict` where the key
    stands for another adjustment, and `InvalidParameter`.
    """
    _check(wanted)
    key = checked(idempotency_key, "idempotency_key")
    with database.transaction() as connection:
        books, now = lock_account(driver(connection), account_id)
        first = adjustments.find_by_idempotency_key(connection, account_id, key)
        if first is not None:
            require_same(first.body_digest, wanted.digest(), used="for another adjustment")
            return first, False
        transfer = post_adjustment(
            ids.new_id(),
            account_id,
            TRANSFER_KINDS[wanted.kind],
            wanted.amount_pico,
            now,
            reason=wanted.reason,
            actor=wanted.actor,
        )
        books.post(transfer)
        keep_books(driver(connection), [books], now)
        adjustment = Adjustment(
            id=ids.new_id(),
            account_id=account_id,
            transfer_id=transfer.id,
            idempotency_key=key,
            body_digest=wanted.digest(),
            balance_after_pico=books.posted_pico,
            created_at=now,
            **wanted._asdict(),
        )
        adjustments.insert_adjustment(connection, adjustment)
    return adjustment, True


def _check(wanted: WantedAdjustment) -> None:
    checked(wanted.reason, "reason", most=MAX_REASON)
    if not 0 < abs(wanted.amount_pico) <= MAX_GRANT_PICO:
        most = to_number(MAX_GRANT_PICO)
        raise InvalidParameter(f"must not be zero, and at most {most} either way", param="amount_usd")
    if wanted.kind == "goodwill" and wanted.amount_pico < 0:
        raise InvalidParameter("must be more than zero: goodwill only gives", param="amount_usd")


def reverse_transfer(
    database: Database, account_id: str, transfer_id: str, *, reason: str, actor: str
) -> tuple[Reversal, bool]:
    """Mirror a transfer, once: the reversal, and whether it is new.

    Where the transfer carried usage, each of its events costs nothing from then on. Raises
    `AccountNotFound`, `NotFound`, `AlreadyCorrected` where one of those events was corrected since, and
    `InvalidParameter` for a transfer that can't be reversed.
    """
    checked(reason, "reason", most=MAX_REASON)
    # What a transfer was, and carried, never changes: it is read before the account is locked.
    with database.snapshot() as connection:
        found = transfers.find(driver(connection), account_id, transfer_id)
    carried = [] if found is None else _carried(database, found)
    with database.transaction() as connection:
        raw = driver(connection)
        books, now = lock_account(raw, account_id)
        if found is None:
            raise NotFound("The account has no such transfer.", param="transfer_id")
        first = transfers.find_reversal(raw, account_id, transfer_id)
        if first is not None:
            return _of_transfer(first), False
        _require_reversible(found)
        _require_unexpired(raw, books, found, now)
        mirror = post_reversal(ids.new_id(), found.transfer, now, reason=reason, actor=actor)
        changes = CostChanges(books, now, reason=reason, actor=actor)
        for event in _untouched(corrections.find_standing(raw, ((account_id, one) for one in carried))):
            changes.change(event, "reversal", _NOTHING, carried_by=mirror.id)
        books.post(mirror)
        changes.keep(raw)
        posted = books.posted[-1]
    recorded = RecordedTransfer(mirror, posted.sequence, posted.balance_after_pico, now)
    return _of_transfer(recorded), True


def reverse_event(
    database: Database, account_id: str, event_id: str, *, reason: str, actor: str
) -> tuple[Reversal, bool]:
    """Let an event cost nothing from now on, and give back what it cost: the reversal, and whether it is new.

    It stays in the history. Raises `AccountNotFound`, `NotFound`, and `AlreadyCorrected` where another
    event has taken its place.
    """
    checked(reason, "reason", most=MAX_REASON)
    with database.transaction() as connection:
        raw = driver(connection)
        books, now = lock_account(raw, account_id)
        # No text of PostgreSQL's holds U+0000, so no event's id does.
        keys = [] if "\0" in event_id else [(account_id, event_id)]
        event = next((standing for _, standing in corrections.find_standing(raw, keys)), None)
        if event is None:
            raise NotFound("The account has no such event.", param="event_id")
        if event.superseded_by is not None:
            raise AlreadyCorrected(
                f"The event was superseded by {event.superseded_by!r}: reverse that one instead.",
                param="event_id",
            )
        is_new = event.last_kind != "reversal"
        if is_new:
            changes = CostChanges(books, now, reason=reason, actor=actor)
            changes.change(event, "reversal", _NOTHING)
            changes.keep(raw)
        last = corrections.list_of_event(raw, account_id, event_id)[-1]
        carrier = None if last.transfer_id is None else transfers.find(raw, account_id, last.transfer_id)
    return Reversal(
        account_id=account_id,
        transfer_id=last.transfer_id,
        reverses_id=carrier and carrier.transfer.reverses_id,
        event_id=event_id,
        amount_pico=-last.delta_pico,
        reason=last.reason,
        actor=last.actor,
        balance_after_pico=books.posted_pico if carrier is None else carrier.balance_after_pico,
        created_at=last.recorded_at,
    ), is_new


def _of_transfer(found: RecordedTransfer) -> Reversal:
    mirror = found.transfer
    return Reversal(
        account_id=mirror.account_id,
        transfer_id=mirror.id,
        reverses_id=mirror.reverses_id,
        event_id=None,
        amount_pico=mirror.effect_pico,
        reason=mirror.reason or "",
        actor=mirror.actor or "",
        balance_after_pico=found.balance_after_pico,
        created_at=found.recorded_at,
    )


def _require_reversible(found: RecordedTransfer) -> None:
    kind = found.transfer.kind
    if kind is not TransferKind.USAGE and kind not in _MIRRORED:
        raise InvalidParameter(_INSTEAD[kind], param="transfer_id")


def _require_unexpired(raw: Any, books: Books, found: RecordedTransfer, now: datetime) -> None:  # noqa: ANN401  (the driver's)
    """Refuse to take credit back of which a part is gone already; its account is locked."""
    if found.transfer.effect_pico <= 0:
        return
    LaidLots.lock(raw, books, now)
    lot = lot_history.find_lot(raw, found.transfer.account_id, found.transfer.id)
    if lot is not None and lot.expired_pico:
        raise AlreadyCorrected(
            f"{to_number(lot.expired_pico)} of this credit has expired, and can't be taken back as well: "
            "take the rest by an adjustment.",
            param="transfer_id",
        )


def _carried(database: Database, found: RecordedTransfer) -> list[str]:
    """The ids of the events that a usage transfer carried: those whose costs are its amount."""
    if found.transfer.kind is not TransferKind.USAGE:
        return []
    account_id, transfer_id = found.transfer.account_id, found.transfer.id
    since, until = found.recorded_at - _SOON, found.recorded_at + _SOON
    with database.snapshot() as connection:
        raw = driver(connection)
        costs = corrections.list_carried(raw, account_id, transfer_id, since, until)
        if sum(costs.values()) != found.transfer.amount_pico:
            costs = corrections.list_carried(raw, account_id, transfer_id)
    return list(costs)


def _untouched(found: Iterable[tuple[tuple[str, str], Standing]]) -> list[Standing]:
    """The events as they stand; raises `AlreadyCorrected` unless that is as they were recorded."""
    events = [standing for _, standing in found]
    for event in events:
        if event.corrections:
            raise AlreadyCorrected(
                f"Its event {event.event_id!r} was corrected since: reverse its events one by one instead.",
                param="transfer_id",
            )
    return events
