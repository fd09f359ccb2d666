"""The lots of top-ups over the real database: refunds, disputes, what is frozen, and every law kept."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from metering import ids
from metering.errors import InvalidParameter
from metering.ledger.posting_rules import post_adjustment
from metering.ledger.transfers import TransferKind
from metering.money import PICO_PER_USD as USD
from metering.services.accounts import create_account, get_account
from metering.services.audit import check_books
from metering.services.corrections import WantedAdjustment, adjust_credit, reverse_transfer
from metering.services.laid_lots import LaidLots
from metering.services.lots import allocate, list_lots
from metering.services.traces import trace_transfer
from metering.storage.books import lock_account
from metering.storage.database import Database, driver
from metering.storage.lot_history import KeptLot
from tests.services.money_in import Bought, MoneyIn


@pytest.fixture
def money(database: Database) -> MoneyIn:
    """A new account."""
    return MoneyIn(database, create_account(database, "Ada").account.account_id)


def adjust(money: MoneyIn, dollars: int) -> str:
    """Take like usage, or give; the transfer."""
    wanted = WantedAdjustment("adjustment", dollars * USD, "a test", "tests")
    return adjust_credit(money.database, money.account_id, wanted, ids.new_id())[0].transfer_id


def lots_of(money: MoneyIn) -> dict[str, KeptLot]:
    page = list_lots(money.database, money.account_id, with_empty=True, limit=200)
    return {lot.id: lot for lot in page.lots}


def figures(money: MoneyIn, bought: Bought) -> list[tuple[int, int, int]]:
    """Of each lot of a top-up what is left, what was used and what was taken back, in dollars."""
    lots = lots_of(money)
    return [
        (lots[lot].rest_pico // USD, lots[lot].used_pico // USD, lots[lot].taken_back_pico // USD)
        for lot in bought.lots
    ]


def balance(money: MoneyIn) -> tuple[int, int]:
    """Posted and available, in dollars."""
    found = get_account(money.database, money.account_id).balance
    return found.posted_pico // USD, found.available_pico // USD


def check(money: MoneyIn) -> None:
    assert check_books(money.database) == []


def test_a_top_up_opens_a_paid_lot_and_a_promotional_one(money: MoneyIn) -> None:
    bought = money.top_up("1000", "50", tax="190", fee="30")
    lots = lots_of(money)
    assert [(lots[lot].kind, lots[lot].top_up_id) for lot in bought.lots] == [
        ("paid", bought.id),
        ("promotional", bought.id),
    ]
    assert balance(money) == (1050, 1050)
    check(money)


def test_a_refund_takes_back_what_is_unused_with_its_share_of_the_bonus(money: MoneyIn) -> None:
    bought = money.top_up("1000", "50", tax="100")
    adjust(money, -630)
    refund = money.refund(bought, credit="400", bonus="20", tax="40")
    assert figures(money, bought) == [(0, 580, 420), (0, 50, 0)]
    assert all(lot.expired_pico == 0 for lot in lots_of(money).values())
    assert balance(money) == (0, 0)
    check(money)
    money.fail_refund(bought, refund, "440")
    assert figures(money, bought) == [(420, 580, 0), (0, 50, 0)]
    assert balance(money) == (420, 420)
    check(money)


def test_a_refund_of_what_was_used_is_owed(money: MoneyIn) -> None:
    bought = money.top_up("100")
    adjust(money, -70)
    money.refund(bought, credit="100")
    assert figures(money, bought) == [(0, 70, 30)]
    assert balance(money) == (-70, -70)
    check(money)


def test_disputed_credit_is_frozen_and_comes_back_when_the_dispute_is_won(money: MoneyIn) -> None:
    other, bought = money.top_up("10"), money.top_up("1000", "50")
    adjust(money, -30)
    money.freeze(bought, "dp_1", "1000")
    assert balance(money) == (1030, 10)
    adjust(money, -25)
    assert (figures(money, bought), figures(money, other)) == ([(1000, 0, 0), (20, 30, 0)], [(0, 10, 0)])
    assert balance(money) == (1005, -15)
    assert all(lots_of(money)[lot].is_frozen for lot in bought.lots)
    check(money)
    money.win(bought, "dp_1", "1000")
    assert figures(money, bought) == [(1000, 0, 0), (5, 45, 0)]
    assert balance(money) == (1005, 1005)
    check(money)


def test_a_lost_dispute_claws_back_and_what_was_spent_is_owed_until_it_is_won_after_all(
    money: MoneyIn,
) -> None:
    bought = money.top_up("1000", "50")
    adjust(money, -200)
    money.freeze(bought, "dp_1", "1000")
    money.lose(bought, "dp_1", credit="1000", bonus="50")
    assert figures(money, bought) == [(0, 150, 850), (0, 50, 0)]
    assert balance(money) == (-200, -200)
    check(money)
    money.win(bought, "dp_1", "1000")
    assert figures(money, bought) == [(850, 150, 0), (0, 50, 0)]
    assert balance(money) == (850, 850)
    check(money)


def test_a_refund_while_it_is_disputed_takes_from_what_is_frozen(money: MoneyIn) -> None:
    bought = money.top_up("100", "5")
    money.freeze(bought, "dp_1", "100")
    refund = money.refund(bought, credit="20", bonus="1")
    with money.session() as session:
        session.note_frozen(bought, is_frozen=True)
    assert balance(money) == (84, 0)
    check(money)
    money.fail_refund(bought, refund, "20")
    with money.session() as session:
        session.note_frozen(bought, is_frozen=True)
    assert balance(money) == (105, 0)
    check(money)


def test_what_was_posted_before_is_laid_before_a_lot_is_frozen(money: MoneyIn) -> None:
    bought = money.top_up("100")
    adjust(money, -40)
    with money.session() as session:
        assert session.laid.rest_pico(bought.lots) == 60 * USD
        session.laid.freeze(bought.lots)
        assert session.books.frozen_pico == 60 * USD
        session.laid.thaw(bought.lots)
        assert session.books.frozen_pico == 0
    check(money)


def test_nothing_is_posted_past_the_lots(money: MoneyIn) -> None:
    with money.database.transaction() as connection:
        raw = driver(connection)
        books, now = lock_account(raw, money.account_id)
        laid = LaidLots.lock(raw, books, now)
        key = money.account_id, TransferKind.GOODWILL, 1, now
        books.post(post_adjustment(ids.new_id(), *key, reason="r", actor="a"))
        with pytest.raises(ValueError, match="past their lots"):
            laid.post(post_adjustment(ids.new_id(), *key, reason="r", actor="a"))


def test_refunds_and_the_allocator_at_once_lay_each_transfer_once(money: MoneyIn) -> None:
    bought = money.top_up("100", "10")
    wanted = [lambda: money.refund(bought, credit="2", bonus="0.2"), lambda: adjust(money, -3)] * 6
    with ThreadPoolExecutor(6) as threads:
        done: list[Future[Any]] = [threads.submit(one) for one in wanted]
        done += [threads.submit(allocate, money.database, money.account_id, chunk=2) for _ in range(8)]
    for one in done:
        one.result()
    assert balance(money)[0] == 110 - 18 - 14
    check(money)


@pytest.mark.parametrize("part", ["credit", "bonus", "refund"])
def test_what_follows_the_processor_is_not_reversed_by_hand(money: MoneyIn, part: str) -> None:
    bought = money.top_up("100", "5")
    if part == "refund":
        money.refund(bought, credit="10", bonus="0.5")
        with money.database.snapshot() as connection:
            found = connection.exec_driver_sql("SELECT id::text FROM transfers WHERE kind = 'refund' LIMIT 1")
            transfer_id = found.scalar_one()
    else:
        transfer_id = bought.credit if part == "credit" else bought.bonus
    said = {"credit": "refund the top-up instead", "bonus": "belongs to a top-up", "refund": "processor"}
    with pytest.raises(InvalidParameter, match=said[part]):
        reverse_transfer(money.database, money.account_id, transfer_id, reason="a slip", actor="tests")
    check(money)


def test_a_trace_says_to_which_top_up_and_refund_a_transfer_belongs(money: MoneyIn) -> None:
    bought = money.top_up("100", "5")
    used = adjust(money, -7)
    refund = money.refund(bought, credit="60", bonus="3")
    trace = trace_transfer(money.database, bought.credit)
    assert trace.part_of == (bought.id, None, None)
    assert trace.lot is not None
    assert (trace.lot.rest_pico, trace.lot.taken_back_pico) == (35 * USD, 63 * USD)
    took = {one.transfer_id: one.amount_pico // USD for one in trace.paid_for}
    back = [one for one in took if one != used]
    assert sorted(took[one] for one in back) == [3, 60]
    for transfer_id in back:
        part = trace_transfer(money.database, transfer_id)
        assert part.part_of == (bought.id, refund, None)
        assert [payment.lot.id for payment in part.payments] == [bought.credit]
    assert trace_transfer(money.database, used).part_of is None
