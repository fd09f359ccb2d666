"""The order of spending, debts, refills, expiry and reversal; and an oracle that follows every picodollar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.ledger.grants import GrantKind
from metering.ledger.lots import Allocation, Entry, Lot, Movement, Needs, Receivable, Terms, needs_of
from metering.ledger.transfers import TransferKind

START = datetime(2026, 5, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVERYTHING = Needs(10**30, 10**30, all_lots=True)


def terms(kind: GrantKind = "promotional", priority: int = 100, hours: int | None = None) -> Terms:
    return Terms(kind, priority, None if hours is None else START + hours * HOUR)


class Book:
    """Lots and debts kept between parts, as the database keeps them."""

    def __init__(self) -> None:
        self.lots: dict[str, Lot] = {}
        self.owed: dict[str, Receivable] = {}
        self.movements: list[Movement] = []
        self.entries: list[Entry] = []

    def lay(self, *entries: Entry, needs: Needs = EVERYTHING) -> None:
        lots = [lot for lot in self.lots.values() if needs.all_lots or lot.rest_pico]
        debts = sorted((one for one in self.owed.values() if one.owed_pico), key=lambda one: one.sequence)
        reached = {
            one.transfer_id: one
            for one in (
                *_until(debts, needs.oldest_owed_pico),
                *_until(debts[::-1], needs.newest_owed_pico),
            )
        }
        laid = Allocation(lots, reached.values())
        for entry in entries:
            laid.lay(entry)
        self.entries += entries
        self.lots |= laid.changed_lots
        self.owed |= laid.changed_receivables
        self.movements += laid.movements

    def add(self, effect: int, kind: str, *, hour: int = 0, **changes: Any) -> str:  # noqa: ANN401  (an entry's fields)
        """Lay one more transfer, so many hours after the start; its id is its place."""
        sequence = len(self.entries) + 1
        at = START + hour * HOUR
        entry = Entry(f"t{sequence}", sequence, at, TransferKind(kind), effect)
        self.lay(entry._replace(**changes))
        return entry.transfer_id

    def rests(self) -> dict[str, int]:
        return {lot.id: lot.rest_pico for lot in self.lots.values()}

    def owes(self) -> dict[str, int]:
        return {one.transfer_id: one.owed_pico for one in self.owed.values() if one.owed_pico}

    def paid(self, transfer_id: str) -> dict[str | None, int]:
        """What each lot paid for the transfer; under None what it cancelled of debts."""
        found: dict[str | None, int] = {}
        for one in self.movements:
            if one.transfer_id == transfer_id:
                found[one.lot_id] = found.get(one.lot_id, 0) + one.amount_pico
        return found


def _until(debts: Sequence[Receivable], enough: int) -> Iterable[Receivable]:
    for debt in debts:
        if enough <= 0:
            return
        enough -= debt.owed_pico
        yield debt


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (terms(priority=1), terms(priority=2, hours=1)),
        (terms(hours=1), terms(hours=2)),
        (terms(hours=2), terms()),
        (terms("paid", hours=2), terms()),
        (terms("promotional"), terms("paid")),
        (terms("paid", priority=99), terms("promotional", priority=100)),
        (terms("promotional", hours=3), terms("paid", hours=3)),
    ],
)
@pytest.mark.parametrize("is_older", [True, False])
def test_lots_are_used_in_the_order_of_the_books(first: Terms, second: Terms, is_older: bool) -> None:
    book = Book()
    for given_terms in (first, second) if is_older else (second, first):
        book.add(10, "grant", terms=given_terms)
    used = book.add(-15, "usage")
    winner, other = ("t1", "t2") if is_older else ("t2", "t1")
    assert book.paid(used) == {winner: 10, other: 5}
    assert list(book.paid(used)) == [winner, other]


def test_of_two_alike_the_older_is_used_first() -> None:
    book = Book()
    book.add(10, "grant")
    book.add(10, "grant")
    assert book.paid(book.add(-1, "usage")) == {"t1": 1}


def test_a_lot_pays_for_what_was_recorded_before_its_end_and_for_nothing_after() -> None:
    book = Book()
    book.add(10, "grant", terms=terms(hours=2))
    book.add(10, "grant")
    assert book.paid(book.add(-1, "usage", hour=1)) == {"t1": 1}
    assert book.paid(book.add(-1, "usage", hour=2)) == {"t2": 1}
    assert book.rests() == {"t1": 9, "t2": 9}


def test_what_no_lot_can_pay_is_owed_and_paid_by_the_next_credit_oldest_first() -> None:
    book = Book()
    book.add(2, "grant")
    first, second = book.add(-5, "usage"), book.add(-4, "usage")
    assert book.owes() == {first: 3, second: 4}
    lot = book.add(5, "goodwill")
    assert book.owes() == {second: 2}
    assert (book.paid(first), book.paid(second)) == ({"t1": 2, lot: 3}, {lot: 2})
    assert book.lots[lot].used_pico == 5
    assert book.rests() == {"t1": 0, lot: 0}


def test_an_adjustment_opens_a_lot_or_takes_like_usage() -> None:
    book = Book()
    book.add(5, "adjustment")
    assert book.lots["t1"].terms == Terms("promotional", 100, None)
    book.add(-3, "adjustment")
    assert (book.rests(), book.lots["t1"].used_pico) == ({"t1": 2}, 3)


@pytest.mark.parametrize("kind", ["amendment", "rerating", "event_reversal", "reversal", "rating"])
def test_what_is_given_back_cancels_debts_newest_first_and_then_refills_the_last_used_first(
    kind: str,
) -> None:
    book = Book()
    book.add(10, "grant", terms=terms(priority=1))
    book.add(10, "grant", terms=terms(priority=2))
    first, second = book.add(-22, "usage"), book.add(-3, "usage")
    assert book.owes() == {first: 2, second: 3}
    back = book.add(4, kind)
    assert book.owes() == {first: 1}
    assert book.paid(back) == {None: -4}
    back = book.add(14, kind)
    assert book.owes() == {}
    assert book.paid(back) == {None: -1, "t2": -10, "t1": -3}
    assert book.rests() == {"t1": 3, "t2": 10}
    assert [book.lots[lot].used_pico for lot in ("t1", "t2")] == [7, 0]


def test_a_lot_that_has_ended_is_refilled_last_and_can_then_expire() -> None:
    book = Book()
    book.add(5, "grant", terms=terms(priority=1))
    book.add(5, "grant", terms=terms(priority=2, hours=1))
    book.add(-10, "usage")
    book.add(8, "event_reversal", hour=2)
    assert book.rests() == {"t1": 5, "t2": 3}
    book.add(-3, "expiry", hour=2)
    assert book.rests() == {"t1": 5, "t2": 0}
    assert (book.lots["t2"].amount_pico, book.lots["t2"].used_pico) == (5, 2)


def test_expiry_takes_the_rest_of_what_has_ended_and_of_nothing_else() -> None:
    book = Book()
    for hours in (2, 1, 3):
        book.add(hours, "grant", terms=terms(hours=hours))
    laid = Allocation(book.lots.values(), [])
    assert [lot.id for lot in laid.ended(START + 2 * HOUR)] == ["t2", "t1"]
    assert laid.ended(START) == []
    for amount, lot in ((1, "t2"), (2, "t1")):
        assert book.paid(book.add(-amount, "expiry", hour=2)) == {lot: amount}
    assert book.rests() == {"t1": 0, "t2": 0, "t3": 3}
    assert {lot.used_pico for lot in book.lots.values()} == {0}


def test_a_reversed_credit_takes_its_own_rest_first_and_what_is_missing_elsewhere() -> None:
    book = Book()
    book.add(10, "grant")
    book.add(3, "grant")
    book.add(-4, "usage")
    back = book.add(-10, "reversal", reverses_id="t1")
    assert book.paid(back) == {"t1": 6, "t2": 3}
    assert book.owes() == {back: 1}
    assert (book.lots["t1"].used_pico, book.lots["t2"].used_pico) == (4, 3)


def test_a_reversed_credit_is_never_refilled() -> None:
    book = Book()
    book.add(10, "grant", terms=terms("paid", priority=200))
    book.add(-10, "usage")
    other = book.add(10, "grant")
    book.add(-10, "reversal", reverses_id="t1")
    book.add(10, "event_reversal")
    assert book.rests() == {"t1": 0, other: 10}


class Coin(NamedTuple):
    """One picodollar of a lot."""

    lot: str
    number: int


class Oracle:
    """Every picodollar by itself: in its lot, used by a transfer, gone, or missing and owed."""

    def __init__(self) -> None:
        self.terms: dict[str, tuple[Terms, int]] = {}
        self.left: set[Coin] = set()
        self.used: set[Coin] = set()
        self.reversed: set[str] = set()
        self.owed: list[str] = []

    def turn(self, coin: Coin) -> tuple[int, bool, datetime, bool, int]:
        given_terms, place = self.terms[coin.lot]
        ends = given_terms.expires_at
        return given_terms.priority, ends is None, ends or START, given_terms.kind == "paid", place

    def has_ended(self, coin: Coin, at: datetime) -> bool:
        ends = self.terms[coin.lot][0].expires_at
        return ends is not None and ends <= at

    def lay(self, entry: Entry) -> None:
        for _ in range(abs(entry.effect_pico)):
            if entry.kind is TransferKind.EXPIRY:
                ended = [coin for coin in self.left if self.has_ended(coin, entry.recorded_at)]
                self.left.remove(min(ended, key=self.turn))
            elif entry.effect_pico < 0:
                self._take(entry)
            elif entry.opens_lot:
                self._give(entry)
            else:
                self._give_back(entry)
        if entry.reverses_id in self.terms:
            self.reversed.add(entry.reverses_id)

    def _give(self, entry: Entry) -> None:
        self.terms.setdefault(entry.transfer_id, (entry.terms, len(self.terms)))
        number = sum(coin.lot == entry.transfer_id for coin in self.left | self.used)
        coin = Coin(entry.transfer_id, number)
        if self.owed:
            self.owed.pop(0)
            self.used.add(coin)
        else:
            self.left.add(coin)

    def _take(self, entry: Entry) -> None:
        own = [coin for coin in self.left if coin.lot == entry.reverses_id]
        usable = [coin for coin in self.left if not self.has_ended(coin, entry.recorded_at)]
        if own:
            self.left.remove(own[0])
        elif usable:
            coin = min(usable, key=self.turn)
            self.left.remove(coin)
            self.used.add(coin)
        else:
            self.owed.append(entry.transfer_id)

    def _give_back(self, entry: Entry) -> None:
        if self.owed:
            self.owed.pop()
            return
        used = [coin for coin in self.used if coin.lot not in self.reversed]
        fresh = [coin for coin in used if not self.has_ended(coin, entry.recorded_at)]
        coin = max(fresh or used, key=self.turn)
        self.used.remove(coin)
        self.left.add(coin)

    def count(self, coins: set[Coin]) -> dict[str, int]:
        return {lot: sum(coin.lot == lot for coin in coins) for lot in self.terms}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["grant", "grant", "usage", "usage", "usage", "back", "expire", "reverse"]),
        st.integers(1, 9),
        st.integers(0, 2),
        st.builds(
            terms,
            st.sampled_from(["paid", "promotional"]),
            st.integers(1, 2),
            st.none() | st.integers(1, 20),
        ),
    ),
    max_size=25,
)


class History:
    """Steps made into transfers that could have been recorded: nothing is given back that was not taken."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.oracle = Oracle()
        self._at = START
        self._outstanding = 0
        self._amounts: dict[str, int] = {}

    def step(self, what: str, amount: int, hours: int, given_terms: Terms) -> None:
        self._at += hours * HOUR
        if what == "expire":
            self._expire()
        elif what == "reverse":
            for transfer_id, given_amount in list(self._amounts.items())[:1]:
                del self._amounts[transfer_id]
                self._add(-given_amount, TransferKind.REVERSAL, reverses_id=transfer_id)
        elif what == "grant":
            if given_terms.expires_at is not None and given_terms.expires_at <= self._at:
                given_terms = given_terms._replace(expires_at=None)
            self._amounts[self._add(amount, TransferKind.GRANT, terms=given_terms)] = amount
        elif what == "usage":
            self._outstanding += amount
            self._add(-amount, TransferKind.USAGE)
        elif back := min(amount, self._outstanding):
            self._outstanding -= back
            self._add(back, TransferKind.EVENT_REVERSAL)

    def _expire(self) -> None:
        left = [coin for coin in self.oracle.left if self.oracle.has_ended(coin, self._at)]
        for lot in sorted({coin.lot: coin for coin in left}.values(), key=self.oracle.turn):
            self._add(-sum(coin.lot == lot.lot for coin in left), TransferKind.EXPIRY)

    def _add(self, effect: int, kind: TransferKind, **changes: Any) -> str:  # noqa: ANN401  (an entry's fields)
        sequence = len(self.entries) + 1
        entry = Entry(f"t{sequence}", sequence, self._at, kind, effect)._replace(**changes)
        self.entries.append(entry)
        self.oracle.lay(entry)
        return entry.transfer_id


@given(STEPS)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_every_picodollar_is_where_a_naive_oracle_has_it(
    steps: list[tuple[str, int, int, Terms]],
) -> None:
    history = History()
    for step in steps:
        history.step(*step)
    whole, book = Book(), Book()
    for entry in history.entries:
        book.lay(entry, needs=needs_of([entry]))
        check_laws(book)
    oracle = history.oracle
    assert book.rests() == oracle.count(oracle.left)
    assert {lot.id: lot.used_pico for lot in book.lots.values()} == oracle.count(oracle.used)
    assert book.owes() == {transfer_id: oracle.owed.count(transfer_id) for transfer_id in set(oracle.owed)}
    whole.lay(*history.entries, needs=needs_of(history.entries))
    assert whole.movements == book.movements
    assert (whole.rests(), whole.owes()) == (book.rests(), book.owes())


def check_laws(book: Book) -> None:
    """What holds after each transfer, by the movements alone."""
    balance = sum(entry.effect_pico for entry in book.entries)
    assert sum(book.rests().values()) - sum(book.owes().values()) == balance
    for lot in book.lots.values():
        moved = sum(one.amount_pico for one in book.movements if one.lot_id == lot.id)
        assert lot.rest_pico == lot.amount_pico - moved
        assert 0 <= lot.rest_pico <= lot.amount_pico - lot.used_pico
    for entry in book.entries:
        paid = sum(book.paid(entry.transfer_id).values())
        cancelled = -sum(one.amount_pico for one in book.movements if one.settles_id == entry.transfer_id)
        owed = book.owes().get(entry.transfer_id, 0)
        # What opens a lot pays nothing itself: its payments stand under the transfers that were owed.
        assert paid + cancelled + owed == (0 if entry.opens_lot else -entry.effect_pico)
