"""Which credit paid for what: an account's transfers, in their order, laid on its lots (accounting.md).

Credit given opens a lot, which first pays what is owed, oldest first. What is taken comes out of the lots
in the order of spending, as far as they have not ended by the time of the transfer; what none of them
can pay is owed. Usage that turned out to cost less cancels what is owed, newest first, and then refills
the lots in the reverse order, those that have ended last. Expiry takes the rest of lots that have ended.
A reversed credit takes its own lot's rest first, and the lot is never refilled.

A refund or a lost dispute takes from the lots of its top-up first; that is no use of them, and where it is
undone, it goes back there. While a dispute is open those lots are frozen: nothing else touches them.

Sum of the lots' rest - sum of what is owed = the balance after the transfer, at each transfer. The same
transfers, with the same freezing between them, give the same lots and movements, in however many parts they
are laid.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias

from metering.ledger.grants import DEFAULT_PRIORITY, GrantKind
from metering.ledger.transfers import NEW_CREDIT, TransferKind

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
Turn: TypeAlias = tuple[int, datetime, bool, int]


class Terms(NamedTuple):
    """On what terms credit was given; these where nobody said."""

    kind: GrantKind = "promotional"
    priority: int = DEFAULT_PRIORITY
    expires_at: datetime | None = None


def terms_of(kind: TransferKind) -> Terms:
    """The terms of credit that such a transfer brings, but for a grant's, which say so themselves."""
    return Terms("paid" if kind is TransferKind.TOP_UP else "promotional")


class Entry(NamedTuple):
    """A transfer as lots see it: `effect_pico` is what it adds to the credit, `terms` on what terms.

    `lot_ids` are the lots of the top-up that it refunds or disputes, in the order in which they are touched.
    Where it reverses such a transfer, `paid` is what each lot has paid for that, the last one first.
    """

    transfer_id: str
    sequence: int
    recorded_at: datetime
    kind: TransferKind
    effect_pico: int
    reverses_id: str | None = None
    terms: Terms = Terms()
    lot_ids: tuple[str, ...] = ()
    paid: tuple[tuple[str, int], ...] = ()

    @property
    def gives_back(self) -> bool:
        """Whether it returns what was taken before."""
        return self.effect_pico > 0 and self.kind not in NEW_CREDIT

    @property
    def opens_lot(self) -> bool:
        """Whether it brings new credit."""
        return self.effect_pico > 0 and self.kind in NEW_CREDIT


@dataclass(slots=True, eq=False)
class Lot:
    """Credit and what remains of it, in picodollars; `id` and `sequence` are those of its transfer.

    `used_pico` is what usage took and did not give back; what is neither left nor used has expired or was
    taken back.
    """

    id: str
    sequence: int
    terms: Terms
    amount_pico: int
    rest_pico: int
    used_pico: int
    created_at: datetime
    is_reversed: bool = False
    is_frozen: bool = False

    @property
    def turn(self) -> Turn:
        """Its place in the order of spending."""
        kind, priority, expires_at = self.terms
        return priority, expires_at or _NEVER, kind == "paid", self.sequence

    def has_ended(self, at: datetime) -> bool:
        """Whether its time is up."""
        return self.terms.expires_at is not None and self.terms.expires_at <= at


@dataclass(slots=True, eq=False)
class Receivable:
    """What no lot has paid yet of a transfer, the `sequence`-th of its account."""

    transfer_id: str
    sequence: int
    owed_pico: int


class Movement(NamedTuple):
    """What a lot paid for a transfer; negative where it was given back.

    Without a lot, and negative: so much of the debt that the transfer `settles_id` had left is cancelled.
    """

    lot_id: str | None
    transfer_id: str
    settles_id: str | None
    amount_pico: int
    recorded_at: datetime


class Needs(NamedTuple):
    """What must be known to lay entries: debts from both ends up to so much, all lots or those with a rest.

    A debt between the ends can't be reached.
    """

    oldest_owed_pico: int
    newest_owed_pico: int
    all_lots: bool


def needs_of(entries: Iterable[Entry]) -> Needs:
    """What the entries can touch beyond the lots that have a rest."""
    opened = returned = 0
    all_lots = False
    for entry in entries:
        if entry.opens_lot:
            opened += entry.effect_pico
        elif entry.gives_back:
            returned += entry.effect_pico
        all_lots = all_lots or entry.gives_back or entry.reverses_id is not None
    return Needs(opened, returned, all_lots)


class Allocation:
    """An account's lots and debts while entries are laid on them; the movements gather here.

    `lots` and `receivables` are at least what `needs_of` says of the entries.
    """

    def __init__(self, lots: Iterable[Lot], receivables: Iterable[Receivable]) -> None:
        self.movements: list[Movement] = []
        self.changed_lots: dict[str, Lot] = {}
        self.changed_receivables: dict[str, Receivable] = {}
        self._lots = {lot.id: lot for lot in lots}
        self._open = sorted(
            (lot for lot in self._lots.values() if lot.rest_pico and not lot.is_frozen), key=_turn
        )
        self._owed = deque(sorted(receivables, key=lambda debt: debt.sequence))

    def lay(self, entry: Entry) -> None:
        """Lay the next transfer on the lots."""
        if entry.gives_back:
            self._give_back(entry)
        elif entry.opens_lot:
            self._open_lot(entry, entry.effect_pico)
        elif entry.kind is TransferKind.EXPIRY:
            self._owe(entry, self._expire(entry))
        elif entry.effect_pico < 0:
            self._owe(entry, self._spend(entry, self._take_own(entry)))

    def thaw(self, lot_ids: Iterable[str], at: datetime) -> None:
        """Let these lots, no longer frozen, pay what is owed."""
        for lot in [lot for lot in self._open if lot.id in set(lot_ids)]:
            self._open.remove(lot)
            self._pay_owed(lot, at)

    def ended(self, at: datetime) -> list[Lot]:
        """The lots that have ended and still have a rest, in the order in which they expire."""
        return [lot for lot in self._open if lot.has_ended(at)]

    def _open_lot(self, entry: Entry, amount_pico: int) -> None:
        lot = Lot(
            entry.transfer_id, entry.sequence, entry.terms, amount_pico, amount_pico, 0, entry.recorded_at
        )
        self._lots[lot.id] = self.changed_lots[lot.id] = lot
        self._pay_owed(lot, entry.recorded_at)

    def _pay_owed(self, lot: Lot, at: datetime) -> None:
        """Let a lot that was of no use so far pay what is owed, and take its turn with what is left."""
        while lot.rest_pico and self._owed:
            debt = self._owed[0]
            paid = min(debt.owed_pico, lot.rest_pico)
            self._move(debt.transfer_id, lot, paid, at, used=paid)
            debt.owed_pico -= paid
            self.changed_receivables[debt.transfer_id] = debt
            if not debt.owed_pico:
                self._owed.popleft()
        if lot.rest_pico:
            insort(self._open, lot, key=_turn)

    def _spend(self, entry: Entry, amount_pico: int) -> int:
        """Take from the lots in their order; what none of them could pay."""
        place = 0
        while amount_pico and place < len(self._open):
            lot = self._open[place]
            if lot.has_ended(entry.recorded_at):
                place += 1
                continue
            taken = min(lot.rest_pico, amount_pico)
            self._move(entry.transfer_id, lot, taken, entry.recorded_at, used=taken)
            amount_pico -= taken
            if not lot.rest_pico:
                del self._open[place]
        return amount_pico

    def _owe(self, entry: Entry, amount_pico: int) -> None:
        if amount_pico:
            debt = Receivable(entry.transfer_id, entry.sequence, amount_pico)
            self._owed.append(debt)
            self.changed_receivables[debt.transfer_id] = debt

    def _take_own(self, entry: Entry) -> int:
        """Take what is left of a reversed credit, or of its top-up's lots, frozen or not; what is missing.

        For other transfers that is all of it.
        """
        missing = -entry.effect_pico
        for lot_id in (entry.reverses_id, *entry.lot_ids):
            lot = self._lots.get(lot_id or "")
            if lot is None:
                continue
            lot.is_reversed = lot.is_reversed or lot_id == entry.reverses_id
            taken = min(lot.rest_pico, missing)
            if taken:
                self._take_away(entry, lot, taken)
                missing -= taken
        return missing

    def _take_away(self, entry: Entry, lot: Lot, amount_pico: int) -> None:
        """Take what is not used by that, and does not come back by usage that turns out to cost less."""
        self._move(entry.transfer_id, lot, amount_pico, entry.recorded_at, used=0)
        if not lot.rest_pico and not lot.is_frozen:
            self._open.remove(lot)

    def _expire(self, entry: Entry) -> int:
        """Take what has ended: expiries are posted lot by lot in this order, each for a lot's whole rest."""
        amount_pico = -entry.effect_pico
        for lot in self.ended(entry.recorded_at):
            taken = min(lot.rest_pico, amount_pico)
            if taken:
                self._take_away(entry, lot, taken)
                amount_pico -= taken
        return amount_pico

    def _give_back(self, entry: Entry) -> None:
        amount_pico = entry.effect_pico
        while amount_pico and self._owed:
            debt = self._owed[-1]
            cancelled = min(debt.owed_pico, amount_pico)
            debt.owed_pico -= cancelled
            amount_pico -= cancelled
            self.changed_receivables[debt.transfer_id] = debt
            self.movements.append(
                Movement(None, entry.transfer_id, debt.transfer_id, -cancelled, entry.recorded_at)
            )
            if not debt.owed_pico:
                self._owed.pop()
        amount_pico = self._refill(entry, self._give_own(entry, amount_pico))
        if amount_pico:
            # More than the lots can take back: it is new credit, whatever it is called.
            self._open_lot(entry, amount_pico)

    def _give_own(self, entry: Entry, amount_pico: int) -> int:
        """Give each lot what it paid for the transfer that is reversed, its top-up's first; what is left.

        Where that is not all of it (it was owed, and the debt is cancelled already), the rest goes where
        something was taken away from its top-up's lots.
        """
        paid = dict(entry.paid)
        others = [lot_id for lot_id in paid if lot_id not in entry.lot_ids]
        for lot in self._known(entry.lot_ids):
            amount_pico -= self._return_to(entry, lot, min(paid.get(lot.id, 0), amount_pico))
        for lot in self._known(others):
            given = min(paid[lot.id], lot.used_pico, amount_pico)
            if given and self._is_refilled(lot, entry):
                self._fill(entry, lot, given, used=given)
                amount_pico -= given
        for lot in self._known(entry.lot_ids):
            amount_pico -= self._return_to(entry, lot, amount_pico)
        return amount_pico

    def _return_to(self, entry: Entry, lot: Lot, most_pico: int) -> int:
        """Give back to a lot of its top-up what was taken away from it, which is not used: how much."""
        given = min(lot.amount_pico - lot.rest_pico - lot.used_pico, most_pico)
        if given:
            self._fill(entry, lot, given, used=0)
        return given

    def _known(self, lot_ids: Iterable[str]) -> list[Lot]:
        return [self._lots[lot_id] for lot_id in lot_ids if lot_id in self._lots]

    def _refill(self, entry: Entry, amount_pico: int) -> int:
        used = [lot for lot in self._lots.values() if lot.used_pico and self._is_refilled(lot, entry)]
        used.sort(key=_turn, reverse=True)
        used.sort(key=lambda lot: lot.has_ended(entry.recorded_at))
        for lot in used:
            given = min(lot.used_pico, amount_pico)
            if not given:
                break
            self._fill(entry, lot, given, used=given)
            amount_pico -= given
        return amount_pico

    @staticmethod
    def _is_refilled(lot: Lot, entry: Entry) -> bool:
        return not (lot.is_reversed or lot.is_frozen or lot.id in entry.lot_ids)

    def _fill(self, entry: Entry, lot: Lot, amount_pico: int, *, used: int) -> None:
        if not lot.rest_pico and not lot.is_frozen:
            insort(self._open, lot, key=_turn)
        self._move(entry.transfer_id, lot, -amount_pico, entry.recorded_at, used=-used)

    def _move(self, transfer_id: str, lot: Lot, amount_pico: int, at: datetime, *, used: int) -> None:
        lot.rest_pico -= amount_pico
        lot.used_pico += used
        self.changed_lots[lot.id] = lot
        self.movements.append(Movement(lot.id, transfer_id, None, amount_pico, at))


def _turn(lot: Lot) -> Turn:
    return lot.turn
