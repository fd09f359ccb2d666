"""Which credit paid for what, worked out naively: every transfer replayed, from the first to the last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

CREDIT: Final = "customer_credit"
NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
GIVES: Final = frozenset({"grant", "goodwill", "adjustment"})


class Terms(NamedTuple):
    """What credit was given on."""

    kind: str = "promotional"
    priority: int = 100
    expires_at: datetime | None = None


class Move(NamedTuple):
    """A transfer as recorded, in dollars."""

    id: str
    kind: str
    source: str
    target: str
    amount: Decimal
    recorded_at: datetime
    reverses_id: str | None

    @property
    def effect(self) -> Decimal:
        """What it adds to the credit."""
        return self.amount if self.target == CREDIT else -self.amount

    @property
    def other(self) -> str:
        """The ledger account on the other side of the credit."""
        return self.source if self.target == CREDIT else self.target


@dataclass
class Lot:
    """What is left of credit; `used` is what usage took and did not give back.

    `taken_back` is what its reversal found left, None where it was not reversed.
    """

    id: str
    terms: Terms
    place: int
    amount: Decimal
    rest: Decimal
    used: Decimal = Decimal(0)
    expired: Decimal = Decimal(0)
    taken_back: Decimal | None = None

    def ends_by(self, at: datetime) -> bool:
        return (self.terms.expires_at or NEVER) <= at

    def has_expired(self, at: datetime) -> bool:
        """Whether a part of it went unused, be it on the books or not."""
        return self.expired > 0 or (self.ends_by(at) and self.rest > 0)

    @property
    def turn(self) -> tuple[int, datetime, bool, int]:
        """Its place in the order of spending (accounting.md)."""
        terms = self.terms
        return terms.priority, terms.expires_at or NEVER, terms.kind == "paid", self.place


class Purse:
    """All the lots of an account, and what it owes beyond them."""

    def __init__(self, moves: Iterable[Move], terms: Mapping[str, Terms]) -> None:
        """Replay the moves; `terms` are those of the credit that was granted, by its transfer."""
        self.lots: dict[str, Lot] = {}
        # What each transfer owes, and what each lot paid for each transfer, negative where it got back.
        self.debts: dict[str, Decimal] = {}
        self.paid: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self.expired = Decimal(0)
        self._moves: dict[str, Move] = {}
        for move in moves:
            self._replay(move, terms)
            self._moves[move.id] = move

    @property
    def owed(self) -> Decimal:
        return sum(self.debts.values(), Decimal(0))

    def due(self, now: datetime) -> Decimal:
        """What has expired by now, whether or not that is on the books."""
        return sum((lot.rest for lot in self.lots.values() if lot.ends_by(now)), Decimal(0))

    def _replay(self, move: Move, terms: Mapping[str, Terms]) -> None:
        undone = self._moves[move.reverses_id] if move.reverses_id else None
        if move.target == CREDIT and undone is None and move.kind in GIVES:
            place = len(self.lots)
            lot = Lot(move.id, terms.get(move.id, Terms()), place, move.amount, move.amount)
            self.lots[move.id] = lot
            for debtor in list(self.debts):
                paid = min(self.debts[debtor], lot.rest)
                self._owe(debtor, -paid)
                self._pay(lot, debtor, paid)
                lot.used += paid
        elif move.target == CREDIT:
            self._give_back(move)
        elif move.kind == "expiry":
            self._expire(move)
        else:
            amount = move.amount
            if undone is not None and undone.id in self.lots:
                lot = self.lots[undone.id]
                lot.taken_back = min(lot.rest, amount)
                self._pay(lot, move.id, lot.taken_back)
                amount -= lot.taken_back
            self._take(move, amount)

    def _pay(self, lot: Lot, transfer_id: str, amount: Decimal) -> None:
        lot.rest -= amount
        self.paid[lot.id, transfer_id] += amount

    def _owe(self, transfer_id: str, amount: Decimal) -> None:
        self.debts[transfer_id] = self.debts.get(transfer_id, Decimal(0)) + amount
        if not self.debts[transfer_id]:
            del self.debts[transfer_id]

    def _take(self, move: Move, amount: Decimal) -> None:
        for lot in sorted(self.lots.values(), key=lambda lot: lot.turn):
            if not lot.ends_by(move.recorded_at):
                taken = min(lot.rest, amount)
                self._pay(lot, move.id, taken)
                lot.used += taken
                amount -= taken
        self._owe(move.id, amount)

    def _give_back(self, move: Move) -> None:
        amount, at = move.amount, move.recorded_at
        for debtor in reversed(list(self.debts)):
            cancelled = min(self.debts[debtor], amount)
            self._owe(debtor, -cancelled)
            amount -= cancelled
        last_first = sorted(self.lots.values(), key=lambda lot: lot.turn, reverse=True)
        for lot in sorted(last_first, key=lambda lot: lot.ends_by(at)):
            if lot.taken_back is not None:  # what was reversed is not there to be refilled
                continue
            given = min(lot.used, amount)
            lot.used -= given
            self._pay(lot, move.id, -given)
            amount -= given
        assert amount == 0, "more was given back than had been taken"

    def _expire(self, move: Move) -> None:
        """What ends is the whole rest of one lot whose time is up; of several alike, the first in turn."""
        ended = [
            lot for lot in self.lots.values() if lot.ends_by(move.recorded_at) and lot.rest == move.amount
        ]
        assert ended, f"no lot with a rest of {move.amount} had come to its end"
        lot = min(ended, key=lambda lot: lot.turn)
        self._pay(lot, move.id, move.amount)
        lot.expired += move.amount
        self.expired += move.amount
