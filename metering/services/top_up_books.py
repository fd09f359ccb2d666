"""One top-up while its account's books are locked: what is posted for it, and what becomes of its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from metering import ids
from metering.ledger.chart import LedgerAccount
from metering.ledger.notices import NoticeType
from metering.ledger.posting_rules import Part, post_reversal, post_taken_back
from metering.ledger.top_ups import NOTHING, Parts
from metering.ledger.transfers import Transfer, TransferKind
from metering.money import to_number
from metering.services.laid_lots import LaidLots
from metering.storage import disputes, notices, refunds, top_ups, transfers
from metering.storage.books import keep_books, lock_account
from metering.storage.database import driver
from metering.storage.top_ups import Named

# Who did it, where it was not one of us.
PROCESSOR: Final = "payment processor"
_PARTS: Final[tuple[Part, ...]] = ("credit", "bonus", "tax")


class TopUpBooks:
    """A top-up under its account's lock: all is posted through it, and `keep` records it.

    Credit that was bought is only touched after `lock_lots`, which comes before anything is posted.
    """

    def __init__(self, connection: Any, account_id: str, top_up_id: str) -> None:  # noqa: ANN401  (a transaction's)
        """Lock the account, then read the top-up; raises `AccountNotFound` and `NotFound`."""
        self.connection = connection
        self.raw = driver(connection)
        self.books, self.now = lock_account(self.raw, account_id)
        self.top_up = top_ups.get_top_up(connection, account_id, top_up_id)
        self._laid: LaidLots | None = None
        self._changes: dict[str, Any] = {}
        self._named: list[Named] = []
        self._told: list[tuple[NoticeType, dict[str, object]]] = []
        self._is_moved = False

    @property
    def lots(self) -> LaidLots:
        """The account's lots, locked."""
        if self._laid is None:
            raise ValueError("the lots are locked before anything is posted")
        return self._laid

    def lock_lots(self) -> None:
        """Lock the account's lots as well, and bring them up to date."""
        self._laid = LaidLots.lock(self.raw, self.books, self.now)

    def change(self, **changes: Any) -> None:  # noqa: ANN401  (fields of the row)
        """Change fields of the top-up's row."""
        new = {name: value for name, value in changes.items() if getattr(self.top_up, name) != value}
        self._changes |= new
        self.top_up = self.top_up._replace(**new)

    def moved(self) -> None:
        """Let nothing be applied that was seen before: something of the top-up was written or checked."""
        self._is_moved = True

    def tell(self, kind: NoticeType, **data: object) -> None:
        """Tell the customer, with the balance as it will be."""
        self._told.append((kind, {"top_up_id": self.top_up.id, **data, "currency": "USD"}))

    def gone(self) -> Parts:
        """What of the payment has gone back, or is on its way: refunds that stand, and lost disputes."""
        key = self.top_up.account_id, self.top_up.id
        gone = [one.parts for one in refunds.list_refunds(self.connection, *key) if one.state != "failed"]
        gone += [one.parts for one in disputes.list_disputes(self.connection, *key) if one.stage == "lost"]
        total = NOTHING
        for parts in gone:
            total = total.plus(parts)
        return total

    def post(
        self,
        transfer: Transfer,
        *,
        lot_ids: Sequence[str] = (),
        refund_id: str | None = None,
        dispute_id: str | None = None,
    ) -> None:
        """Post a transfer of this top-up."""
        if self._laid is None:
            self.books.post(transfer)
        else:
            self._laid.post(transfer, lot_ids)
        self._named.append(Named(transfer.account_id, transfer.id, self.top_up.id, refund_id, dispute_id))

    def take(
        self,
        parts: Parts,
        kind: TransferKind,
        *,
        reason: str,
        actor: str = PROCESSOR,
        refund_id: str | None = None,
        dispute_id: str | None = None,
    ) -> None:
        """Post the parts of a refund, or of a lost dispute."""
        for part, amount_pico in zip(_PARTS, parts, strict=True):
            if amount_pico:
                key = ids.new_id(), self.top_up.account_id
                transfer = post_taken_back(
                    *key, kind, part, amount_pico, self.now, reason=reason, actor=actor
                )
                lot_ids = self._lots_of(transfer)
                self.post(transfer, lot_ids=lot_ids, refund_id=refund_id, dispute_id=dispute_id)

    def give_back(self, *, reason: str, refund_id: str | None = None, dispute_id: str | None = None) -> None:
        """Reverse what was posted for a refund, or for a dispute: the last first.

        What is owed is owed for the last one above all: so each reversal finds what its own has taken.
        """
        account_id = self.top_up.account_id
        names = {"refund_id": refund_id, "dispute_id": dispute_id}
        for transfer_id in reversed(top_ups.list_standing(self.connection, account_id, **names)):
            found = transfers.find(self.raw, account_id, transfer_id)
            if found is None:
                raise ValueError(f"the transfer {transfer_id} is named, and is not there")
            mirror = post_reversal(ids.new_id(), found.transfer, self.now, reason=reason, actor=PROCESSOR)
            lot_ids = self._lots_of(found.transfer)
            self.post(mirror, lot_ids=lot_ids, refund_id=refund_id, dispute_id=dispute_id)

    def keep(self) -> None:
        """Record what was posted, told and changed; does nothing where that is nothing."""
        top_up = self.top_up
        if self._laid is not None:
            known = disputes.list_disputes(self.connection, top_up.account_id, top_up.id)
            is_frozen = any(one.stage == "frozen" for one in known)
            self.change(frozen_pico=self._laid.rest_pico(top_up.lot_ids) if is_frozen else 0)
        if self.books.posted:
            keep_books(self.raw, [self.books], self.now)
        top_ups.name_transfers(self.connection, self._named)
        for kind, data in self._told:
            told = {**data, "balance": to_number(self.books.posted_pico)}
            notices.append(self.raw, top_up.account_id, ids.new_id(), kind, told, self.now)
        if self._changes or self._named or self._is_moved:
            # So that nobody applies what the processor said before that.
            self.change(version=top_up.version + 1)
            top_ups.update_top_up(self.connection, top_up.account_id, top_up.id, **self._changes)

    def _lots_of(self, transfer: Transfer) -> tuple[str, ...]:
        """The lots that such a part takes from first: those of the top-up, the bonus from its own before."""
        if not transfer.effect_pico:
            return ()
        lot_ids = self.top_up.lot_ids
        return lot_ids[::-1] if transfer.target is LedgerAccount.PROMO_EXPENSE else lot_ids
