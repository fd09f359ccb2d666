"""An account's lots while its books are locked as well: up to date, and moved with each transfer.

What happens to certain lots, such as those of a top-up that is refunded or disputed, is posted here; all
else is laid on the lots behind the request path (`metering.services.lots`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Self

from metering import ids
from metering.errors import AccountNotFound
from metering.ledger.books import Books
from metering.ledger.lots import Entry, Needs, needs_of, terms_of
from metering.ledger.posting_rules import post_expiry
from metering.ledger.transfers import Transfer
from metering.storage import balances, lots
from metering.storage.lots import Position

# Transfers laid in one transaction: what a crash makes it do again, and what it keeps in memory.
CHUNK: Final = 5_000


class LaidLots:
    """Lots under both locks. Whatever it is told is written at once; the caller keeps the books.

    From `lock` on everything that the books get is posted through it, so that the lots stay up to date.
    """

    def __init__(self, raw: Any, books: Books, now: datetime, position: Position) -> None:  # noqa: ANN401  (the driver's, which stays in storage)
        """For `lock`, which makes sure of both locks."""
        self._raw = raw
        self._books = books
        self._now = now
        self._position = position

    @classmethod
    def lock(cls, raw: Any, books: Books, now: datetime) -> Self:  # noqa: ANN401  (the driver's)
        """Lock the lots of locked books, lay every transfer on them, and post the expiry of what has ended.

        To be called before anything else is posted to the books, and outside of a pipeline. The caller
        keeps the books, at `now`, where something was posted. Sets `next_expiry_at` anew.
        """
        if books.posted:
            raise ValueError("what has ended expires before anything else is posted")
        position, more = lock_lots(raw, books.account_id), CHUNK
        while more == CHUNK:
            position, more = lay_next(raw, books.account_id, position, CHUNK)
        laid = cls(raw, books, now, position)
        laid._expire()
        return laid

    def post(self, transfer: Transfer, lot_ids: Sequence[str] = ()) -> None:
        """Post a transfer to the books, and lay it on the lots.

        What it takes, it takes from `lot_ids` first, in that order and also where they are frozen; what it
        gives back goes there first, and then to others, as far as each has paid for what is reversed.
        """
        if len(self._books.posted) and self._books.posted[-1].sequence != self._position.sequence:
            raise ValueError("something was posted to the books past their lots")
        self._books.post(transfer)
        account_id, reverses_id = self._books.account_id, transfer.reverses_id
        paid = lots.list_paid(self._raw, account_id, reverses_id) if reverses_id and lot_ids else ()
        entry = Entry(
            transfer.id,
            self._books.transfer_count,
            self._now,
            transfer.kind,
            transfer.effect_pico,
            reverses_id,
            terms_of(transfer.kind),
            tuple(lot_ids),
            tuple(paid),
        )
        laid = lots.read_allocation(self._raw, account_id, self._position, needs_of([entry]))
        laid.lay(entry)
        self._position = lots.keep_allocation(self._raw, account_id, laid, self._position, entry)
        # Frozen lots may be empty, and be given something back.
        if self._books.frozen_pico or lot_ids:
            self._sum_frozen()

    def freeze(self, lot_ids: Sequence[str]) -> None:
        """Set these lots aside: until they are thawed, only what is posted with their ids touches them."""
        lots.set_frozen(self._raw, self._books.account_id, lot_ids, is_frozen=True)
        self._sum_frozen()

    def thaw(self, lot_ids: Sequence[str]) -> None:
        """Let these lots be used again; they first pay what is owed."""
        account_id = self._books.account_id
        lots.set_frozen(self._raw, account_id, lot_ids, is_frozen=False)
        needs = Needs(self.rest_pico(lot_ids), 0, all_lots=False)
        laid = lots.read_allocation(self._raw, account_id, self._position, needs)
        laid.thaw(lot_ids, self._now)
        self._position = lots.keep_allocation(self._raw, account_id, laid, self._position, None)
        self._sum_frozen()

    def rest_pico(self, lot_ids: Sequence[str]) -> int:
        """What is left in these lots together, frozen or not."""
        return lots.sum_rest(self._raw, self._books.account_id, lot_ids)

    def _sum_frozen(self) -> None:
        self._books.frozen_pico = lots.sum_frozen(self._raw, self._books.account_id)
        balances.set_frozen(self._raw, self._books)

    def _expire(self) -> None:
        account_id = self._books.account_id
        needs = Needs(0, 0, all_lots=False)
        for lot in lots.read_allocation(self._raw, account_id, self._position, needs).ended(self._now):
            self.post(post_expiry(ids.new_id(), account_id, lot.rest_pico, self._now))
        self._books.next_expiry_at = lots.find_next_end(self._raw, account_id, self._now)
        balances.set_next_expiry(self._raw, account_id, self._books.next_expiry_at)


def lock_lots(raw: Any, account_id: str) -> Position:  # noqa: ANN401  (the driver's)
    """How far the account's transfers are laid on its lots, locked; raises `AccountNotFound`."""
    position = lots.lock_position(raw, account_id)
    if position is None:
        raise AccountNotFound("There is no such account.", param="account_id")
    return position


def lay_next(raw: Any, account_id: str, position: Position, most: int) -> tuple[Position, int]:  # noqa: ANN401
    """Lay up to `most` transfers behind the locked position: the position then, and how many."""
    entries = lots.list_entries(raw, account_id, position, most)
    if not entries:
        return position, 0
    laid = lots.read_allocation(raw, account_id, position, needs_of(entries))
    for entry in entries:
        laid.lay(entry)
    return lots.keep_allocation(raw, account_id, laid, position, entries[-1]), len(entries)
