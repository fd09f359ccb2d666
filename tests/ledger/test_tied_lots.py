"""The lots of top-ups: refunds and disputes take from them first; frozen, nothing else touches them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from metering.ledger.lots import Allocation, Entry, Lot, Movement, Receivable, terms_of
from metering.ledger.transfers import TransferKind

AT = datetime(2026, 5, 6, tzinfo=UTC)


class Book:
    """Lots and debts kept between transfers, as the database keeps them."""

    def __init__(self) -> None:
        self.lots: dict[str, Lot] = {}
        self.owed: dict[str, Receivable] = {}
        self.movements: list[Movement] = []
        self.own: dict[str, tuple[str, ...]] = {}
        self.count = 0
        self.balance = 0

    def add(self, effect: int, kind: str, *lot_ids: str, reverses: str | None = None) -> str:
        """Lay one more transfer; its id is its place."""
        self.count += 1
        self.balance += effect
        self.own[f"t{self.count}"] = lot_ids
        known = TransferKind(kind)
        self._keep(
            self._laid(),
            Entry(
                f"t{self.count}",
                self.count,
                AT,
                known,
                effect,
                reverses,
                terms_of(known),
                lot_ids,
                self.paid_for(reverses),
            ),
        )
        return f"t{self.count}"

    def paid_for(self, transfer: str | None) -> tuple[tuple[str, int], ...]:
        """What each lot paid for it, the last one first."""
        paid: dict[str, int] = {}
        for one in reversed(self.movements):
            if one.transfer_id == transfer and one.lot_id is not None:
                paid[one.lot_id] = paid.get(one.lot_id, 0) + one.amount_pico
        return tuple(paid.items())

    def freeze(self, *lot_ids: str) -> None:
        for lot_id in lot_ids:
            self.lots[lot_id].is_frozen = True

    def thaw(self, *lot_ids: str) -> None:
        for lot_id in lot_ids:
            self.lots[lot_id].is_frozen = False
        laid = self._laid()
        laid.thaw(lot_ids, AT)
        self._keep(laid, None)

    def _laid(self) -> Allocation:
        return Allocation(self.lots.values(), [one for one in self.owed.values() if one.owed_pico])

    def _keep(self, laid: Allocation, entry: Entry | None) -> None:
        if entry is not None:
            laid.lay(entry)
        self.lots |= laid.changed_lots
        self.owed |= laid.changed_receivables
        self.movements += laid.movements

    def rests(self, *lot_ids: str) -> list[int]:
        return [self.lots[lot_id].rest_pico for lot_id in lot_ids]

    def used(self, *lot_ids: str) -> list[int]:
        return [self.lots[lot_id].used_pico for lot_id in lot_ids]

    def owes(self) -> dict[str, int]:
        return {one.transfer_id: one.owed_pico for one in self.owed.values() if one.owed_pico}


def test_what_was_bought_is_a_paid_lot_and_its_bonus_a_promotional_one_spent_before() -> None:
    book = Book()
    credit, bonus = book.add(1000, "top_up"), book.add(50, "bonus")
    assert [book.lots[lot].terms.kind for lot in (credit, bonus)] == ["paid", "promotional"]
    book.add(-60, "usage")
    assert book.rests(credit, bonus) == [990, 0]


def test_a_refund_takes_its_own_lot_then_the_tied_one_then_any_and_then_is_owed() -> None:
    book = Book()
    other = book.add(10, "goodwill")
    credit, bonus = book.add(100, "top_up"), book.add(5, "bonus")
    refund = book.add(-120, "refund", credit, bonus)
    assert book.rests(other, credit, bonus) == [0, 0, 0]
    assert book.owes() == {refund: 5}
    # What it took of its own top-up was not used; what it took of other credit was.
    assert book.used(other, credit, bonus) == [10, 0, 0]


def test_the_bonus_of_a_refund_is_paid_by_the_credit_where_it_is_used() -> None:
    book = Book()
    credit, bonus = book.add(1000, "top_up"), book.add(50, "bonus")
    book.add(-630, "usage")
    book.add(-400, "refund", credit, bonus)
    book.add(-20, "refund", bonus, credit)
    assert (book.rests(credit, bonus), book.owes()) == ([0, 0], {})


def test_a_refund_that_failed_goes_back_where_it_was_taken() -> None:
    book = Book()
    credit, bonus = book.add(1000, "top_up"), book.add(50, "bonus")
    book.add(-630, "usage")
    refund = book.add(-400, "refund", credit, bonus)
    share = book.add(-20, "refund", bonus, credit)
    book.add(400, "reversal", credit, bonus, reverses=refund)
    book.add(20, "reversal", bonus, credit, reverses=share)
    assert (book.rests(credit, bonus), book.used(credit, bonus)) == ([420, 0], [580, 50])


def test_a_refund_that_failed_gives_other_credit_back_what_it_took_of_it() -> None:
    book = Book()
    credit, other = book.add(100, "top_up"), book.add(50, "grant")
    book.add(-50, "usage")
    book.add(-70, "usage")
    book.add(60, "event_reversal")
    refund = book.add(-110, "refund", credit)
    assert (book.rests(credit, other), book.owes()) == ([0, 0], {refund: 20})
    book.add(110, "reversal", credit, reverses=refund)
    assert (book.rests(credit, other), book.owes()) == ([90, 0], {})


def test_usage_that_cost_less_refills_what_is_left_of_a_refunded_lot() -> None:
    book = Book()
    credit = book.add(100, "top_up")
    book.add(-60, "usage")
    book.add(-40, "refund", credit)
    book.add(10, "event_reversal")
    assert (book.rests(credit), book.used(credit)) == ([10], [50])


def test_nothing_is_taken_from_a_frozen_lot_and_nothing_given_back_to_it() -> None:
    book = Book()
    credit, bonus = book.add(100, "top_up"), book.add(5, "bonus")
    used = book.add(-15, "usage")
    book.freeze(credit, bonus)
    owed = book.add(-7, "usage")
    assert (book.rests(credit, bonus), book.owes()) == ([90, 0], {owed: 7})
    back = book.add(12, "event_reversal")
    assert (book.rests(credit, bonus), book.owes()) == ([90, 0], {})
    # It can be used at once, whatever becomes of the dispute.
    assert book.rests(back) == [5]
    assert used not in book.lots


def test_its_own_refund_takes_from_a_frozen_lot() -> None:
    book = Book()
    credit = book.add(100, "top_up")
    book.freeze(credit)
    refund = book.add(-30, "refund", credit)
    assert book.rests(credit) == [70]
    book.add(30, "reversal", credit, reverses=refund)
    assert book.rests(credit) == [100]
    assert book.lots[credit].is_frozen


def test_a_thawed_lot_first_pays_what_is_owed_oldest_first() -> None:
    book = Book()
    credit = book.add(100, "top_up")
    book.freeze(credit)
    book.add(-30, "usage")
    second = book.add(-90, "usage")
    book.thaw(credit)
    assert (book.rests(credit), book.owes()) == ([0], {second: 20})


def test_a_lost_dispute_takes_what_is_left_and_what_is_used_is_owed() -> None:
    book = Book()
    credit, bonus = book.add(1000, "top_up"), book.add(50, "bonus")
    book.add(-200, "usage")
    book.freeze(credit, bonus)
    book.thaw(credit, bonus)
    lost = book.add(-1000, "dispute", credit, bonus)
    more = book.add(-50, "dispute", bonus, credit)
    assert (book.rests(credit, bonus), book.owes()) == ([0, 0], {lost: 150, more: 50})
    book.add(50, "reversal", bonus, credit, reverses=more)
    book.add(1000, "reversal", credit, bonus, reverses=lost)
    assert (book.rests(credit, bonus), book.owes(), book.balance) == ([850, 0], {}, 850)


def test_a_won_dispute_gives_back_what_it_took_and_not_what_a_refund_took() -> None:
    """What later credit paid of it goes back to that credit."""
    book = Book()
    credit = book.add(1000, "top_up")
    book.add(-200, "refund", credit)
    book.add(-790, "usage")
    lost = book.add(-800, "dispute", credit)
    assert (book.rests(credit), book.owes()) == ([0], {lost: 790})
    later = book.add(900, "top_up")
    assert (book.rests(later), book.used(later)) == ([110], [790])
    book.add(800, "reversal", credit, reverses=lost)
    assert book.rests(credit, later) == [10, 900]
    assert book.used(credit, later) == [790, 0]


@dataclass
class Oracle:
    """Every picodollar by itself: left in a lot, used, taken away by a refund, or missing and owed."""

    order: list[str] = field(default_factory=list)
    paid: set[str] = field(default_factory=set)
    left: dict[str, int] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    away: dict[str, int] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)
    owed: list[str] = field(default_factory=list)
    payers: dict[str, list[str]] = field(default_factory=dict)

    def pay(self, transfer: str, lot: str) -> None:
        self.payers.setdefault(transfer, []).append(lot)

    def spending(self, left: dict[str, int]) -> list[str]:
        """Promotional before paid, then oldest; those with something."""
        lots = [lot for lot in self.order if left[lot] and lot not in self.frozen]
        return sorted(lots, key=lambda lot: lot in self.paid)

    def give(self, lot: str, kind: str, amount: int) -> None:
        self.order.append(lot)
        if kind == "top_up":
            self.paid.add(lot)
        self.left[lot], self.used[lot], self.away[lot] = amount, 0, 0
        self.settle(lot)

    def settle(self, lot: str) -> None:
        while self.left[lot] and self.owed:
            self.pay(self.owed.pop(0), lot)
            self.left[lot] -= 1
            self.used[lot] += 1

    def take(self, transfer: str, amount: int, own: tuple[str, ...]) -> None:
        for _ in range(amount):
            mine = next((lot for lot in own if self.left[lot]), None)
            if mine is not None:
                self.left[mine] -= 1
                self.away[mine] += 1
                self.pay(transfer, mine)
            elif open_lots := self.spending(self.left):
                self.left[open_lots[0]] -= 1
                self.used[open_lots[0]] += 1
                self.pay(transfer, open_lots[0])
            else:
                self.owed.append(transfer)

    def give_back(self, transfer: str, amount: int, own: tuple[str, ...], undone: str = "") -> None:
        fresh = 0
        payers = list(self.payers.get(undone, []))
        for _ in range(amount):
            mine = next((lot for lot in own if self.away[lot] and lot in payers), None)
            used = [lot for lot in self.spending(self.used) if lot not in own]
            other = next((lot for lot in reversed(payers) if lot in used), None)
            if self.owed:
                self.owed.pop()
            elif mine is not None:
                payers.remove(mine)
                self.away[mine] -= 1
                self.left[mine] += 1
            elif other is not None:
                payers.remove(other)
                self.used[other] -= 1
                self.left[other] += 1
            elif (away := next((lot for lot in own if self.away[lot]), None)) is not None:
                self.away[away] -= 1
                self.left[away] += 1
            elif used:
                self.used[used[-1]] -= 1
                self.left[used[-1]] += 1
            else:
                fresh += 1
        if fresh:
            self.give(transfer, "reversal", fresh)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["top_up", "goodwill", "usage", "usage", "usage", "back", "refund", "undo", "freeze", "thaw"]
        ),
        st.integers(1, 9),
        st.integers(0, 5),
    ),
    max_size=40,
)


class History:
    """Steps made into transfers that could have been recorded, laid on a book and told to an oracle."""

    def __init__(self) -> None:
        self.book, self.oracle = Book(), Oracle()
        self._bought: list[tuple[str, str]] = []
        self._back: list[tuple[int, tuple[str, ...], str]] = []
        self._usage = 0

    def step(self, what: str, amount: int, which: int) -> None:
        if what == "top_up":
            self._bought.append((self._give("top_up", amount * 2), self._give("bonus", amount)))
        elif what == "goodwill":
            self._give(what, amount)
        elif what == "usage":
            self._usage += amount
            self.oracle.take(self.book.add(-amount, what), amount, ())
        elif what == "back" and (back := min(amount, self._usage)):
            self._usage -= back
            self.oracle.give_back(self.book.add(back, "event_reversal"), back, ())
        elif self._bought:
            self._of_top_up(what, amount, self._bought[which % len(self._bought)])

    def _give(self, kind: str, amount: int) -> str:
        lot = self.book.add(amount, kind)
        self.oracle.give(lot, kind, amount)
        return lot

    def _of_top_up(self, what: str, amount: int, lots: tuple[str, str]) -> None:
        if what == "refund":
            own: tuple[str, ...] = lots if amount % 3 else lots[::-1]
            refund = self.book.add(-amount, what, *own)
            self._back.append((amount, own, refund))
            self.oracle.take(refund, amount, own)
        elif what == "undo" and self._back:
            back, own, refund = self._back.pop(amount % len(self._back))
            mirror = self.book.add(back, "reversal", *own, reverses=refund)
            self.oracle.give_back(mirror, back, own, refund)
        elif what == "freeze":
            self.book.freeze(*lots)
            self.oracle.frozen |= set(lots)
        elif what == "thaw" and lots[0] in self.oracle.frozen:
            self.book.thaw(*lots)
            self.oracle.frozen -= set(lots)
            for lot in self.oracle.spending(self.oracle.left):
                if lot in lots:
                    self.oracle.settle(lot)


@given(STEPS)
@settings(max_examples=600, deadline=None, derandomize=True)
def test_every_picodollar_is_where_a_naive_oracle_has_it(steps: list[tuple[str, int, int]]) -> None:
    history = History()
    book, oracle = history.book, history.oracle
    for step in steps:
        history.step(*step)
        assert {lot.id: lot.rest_pico for lot in book.lots.values()} == oracle.left
        assert {lot.id: lot.used_pico for lot in book.lots.values()} == oracle.used
        assert book.owes() == {one: oracle.owed.count(one) for one in oracle.owed}
        assert sum(oracle.left.values()) - len(oracle.owed) == book.balance
        for lot in book.lots.values():
            moved = [one for one in book.movements if one.lot_id == lot.id]
            assert lot.rest_pico == lot.amount_pico - sum(one.amount_pico for one in moved)
            # So the auditor tells use from what went back.
            assert lot.used_pico == sum(
                one.amount_pico for one in moved if lot.id not in book.own[one.transfer_id]
            )
            assert 0 <= lot.rest_pico <= lot.amount_pico - lot.used_pico
