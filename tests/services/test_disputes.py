"""Disputes in any order: credit frozen while they are open, clawed back when lost, restored when won."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from metering.errors import NotRefundable
from metering.ledger.notices import NoticeType
from metering.money import PICO_PER_USD, to_pico
from metering.services.top_ups import get_top_up
from metering.storage import balances
from metering.storage.books import lock_account
from metering.storage.database import driver
from metering.storage.top_ups import TopUp
from tests.services.till import Till

DOLLAR = PICO_PER_USD


@pytest.fixture
def top_up(till: Till) -> TopUp:
    """1,000 with a bonus of 50."""
    return till.buy("1000")


def frozen(till: Till, top_up: TopUp) -> int:
    return get_top_up(till.database, till.account_id, top_up.id).top_up.frozen_pico


def stages(till: Till) -> list[str]:
    with till.database.snapshot() as connection:
        return list(connection.exec_driver_sql("SELECT stage FROM disputes ORDER BY opened_at").scalars())


def test_an_open_dispute_freezes_what_is_left_and_its_bonus(till: Till, top_up: TopUp) -> None:
    till.use("630")
    till.control.dispute(till.charge_of(top_up))
    till.settle(top_up)
    assert (till.posted, till.available, frozen(till, top_up)) == (420 * DOLLAR, 0, 420 * DOLLAR)
    assert till.ledger()["disputes"] == -1000 * DOLLAR
    with pytest.raises(NotRefundable, match="disputed"):
        till.refund(top_up)
    till.require_books()


def test_a_dispute_that_is_won_after_it_was_lost_leaves_every_lot_as_it_was(
    till: Till, top_up: TopUp
) -> None:
    """Neither what a refund took before goes back to its lots, nor is other credit that paid kept short."""
    till.refund(top_up, "100")
    till.use("936.656")
    till.buy("50")
    before = till.rest()
    dispute = till.control.dispute(till.charge_of(top_up))
    till.settle(top_up)
    till.control.lose(dispute["id"])
    till.settle(top_up)
    assert till.rest() == [0, 0, 0]
    till.control.win(dispute["id"])
    till.settle(top_up)
    assert till.rest() == before
    assert sum(before) == till.posted == to_pico("58.344")
    till.require_books()


def test_use_while_a_dispute_is_open_takes_from_other_credit(till: Till, top_up: TopUp) -> None:
    till.control.dispute(till.charge_of(top_up))
    till.settle(top_up)
    till.buy("10")
    till.use("15")
    assert frozen(till, top_up) == 1050 * DOLLAR
    assert till.available == -5 * DOLLAR
    till.require_books()


def test_a_lost_dispute_takes_the_credit_back_and_what_was_spent_is_owed(till: Till, top_up: TopUp) -> None:
    till.use("630")
    dispute = till.control.dispute(till.charge_of(top_up))
    till.settle(top_up)
    till.control.lose(dispute["id"])
    till.settle(top_up)
    assert (till.posted, till.available, frozen(till, top_up)) == (-630 * DOLLAR, -630 * DOLLAR, 0)
    books = till.ledger()
    assert "disputes" not in books
    assert (books["cash:stripe"], books["fees:payments"]) == (to_pico("44.30"), -to_pico("44.30"))
    till.require_books()


def test_a_won_dispute_restores_the_credit(till: Till, top_up: TopUp) -> None:
    dispute = till.control.dispute(till.charge_of(top_up))
    till.settle(top_up)
    till.control.win(dispute["id"])
    till.settle(top_up)
    assert (till.posted, till.available, frozen(till, top_up)) == (1050 * DOLLAR, 1050 * DOLLAR, 0)
    assert "disputes" not in till.ledger()
    till.require_books()


def test_a_dispute_won_after_it_was_lost_restores_what_was_taken(till: Till, top_up: TopUp) -> None:
    till.use("630")
    dispute = till.control.dispute(till.charge_of(top_up))
    till.settle(top_up)
    till.control.lose(dispute["id"])
    till.settle(top_up)
    till.control.win(dispute["id"])
    till.settle(top_up)
    assert (till.posted, till.available) == (420 * DOLLAR, 420 * DOLLAR)
    assert "disputes" not in till.ledger()
    till.control.lose(dispute["id"])
    till.settle(top_up)
    assert till.posted == -630 * DOLLAR
    till.require_books()


def test_a_dispute_heard_of_when_it_is_lost_comes_to_the_same(till: Till, top_up: TopUp) -> None:
    till.use("630")
    dispute = till.control.dispute(till.charge_of(top_up))
    till.control.lose(dispute["id"])
    till.settle(top_up)
    assert (till.posted, till.available) == (-630 * DOLLAR, -630 * DOLLAR)
    assert "disputes" not in till.ledger()
    till.require_books()


def test_a_payment_first_heard_of_when_its_dispute_is_lost_leaves_nothing(till: Till) -> None:
    top_up = till.open("1000")
    till.pay(top_up)
    payment = till.stripe.checkout.sessions.retrieve(str(top_up.session_id)).payment_intent
    charge = till.stripe.payment_intents.retrieve(str(payment)).latest_charge
    dispute = till.control.dispute(str(charge))
    till.control.lose(dispute["id"])
    assert till.settle(top_up).state == "succeeded"
    assert till.posted == 0
    till.require_books()


def test_a_payment_first_heard_of_when_it_is_disputed_is_frozen(till: Till) -> None:
    top_up = till.open("1000")
    till.pay(top_up, card="4000000000000259")
    till.settle(top_up)
    assert (till.posted, till.available) == (1050 * DOLLAR, 0)
    till.require_books()


def test_an_inquiry_moves_nothing_until_it_becomes_a_chargeback(till: Till, top_up: TopUp) -> None:
    dispute = till.control.dispute(till.charge_of(top_up), inquiry=True)
    till.settle(top_up)
    assert (till.available, stages(till)) == (1050 * DOLLAR, ["inquiry"])
    till.control.escalate(dispute["id"])
    till.settle(top_up)
    assert (till.available, stages(till)) == (0, ["frozen"])
    till.require_books()


def test_an_inquiry_that_is_closed_leaves_all_as_it_was(till: Till, top_up: TopUp) -> None:
    dispute = till.control.dispute(till.charge_of(top_up), inquiry=True)
    till.settle(top_up)
    till.control.move_dispute(dispute["id"], "warning_closed")
    till.settle(top_up)
    assert (till.available, stages(till)) == (1050 * DOLLAR, ["released"])
    assert not till.notices(NoticeType.AUTO_TOPUP_OFF)


def test_money_comes_back_before_or_after_the_decision(till: Till, top_up: TopUp) -> None:
    dispute = till.control.dispute(till.charge_of(top_up))
    till.settle(top_up)
    till.control.reinstate(dispute["id"])
    till.settle(top_up)
    assert (till.available, "disputes" in till.ledger()) == (0, False)
    till.control.move_dispute(dispute["id"], "won")
    till.settle(top_up)
    assert till.available == 1050 * DOLLAR
    till.require_books()


def test_a_dispute_of_a_part_takes_its_share_of_the_bonus(till: Till, top_up: TopUp) -> None:
    dispute = till.control.dispute(till.charge_of(top_up), amount=400_00)
    till.settle(top_up)
    assert till.available == 0
    till.control.lose(dispute["id"])
    till.settle(top_up)
    assert (till.posted, till.available) == (630 * DOLLAR, 630 * DOLLAR)
    till.require_books()


def test_a_refund_that_is_refused_for_a_dispute_goes_back_to_what_is_frozen(
    till: Till, top_up: TopUp
) -> None:
    """The dispute was there first, and nobody had heard of it."""
    dispute = till.control.dispute(till.charge_of(top_up))
    refund = till.refund(top_up, "400")
    assert (refund.state, frozen(till, top_up), till.available) == ("failed", 1050 * DOLLAR, 0)
    till.require_books()
    till.control.win(dispute["id"])
    till.settle(top_up)
    assert till.available == 1050 * DOLLAR
    till.require_books()


def test_a_refund_made_before_a_dispute_is_lost_counts_beside_it(till: Till, top_up: TopUp) -> None:
    till.refund(top_up, "400")
    dispute = till.control.dispute(till.charge_of(top_up), amount=600_00)
    till.settle(top_up)
    assert (till.posted, till.available) == (630 * DOLLAR, 0)
    till.control.lose(dispute["id"])
    till.settle(top_up)
    assert (till.posted, till.rest()) == (0, [0, 0])
    till.require_books()


def test_a_refund_that_fails_while_its_payment_is_disputed_is_frozen(till: Till, top_up: TopUp) -> None:
    refund = till.refund(top_up, "400")
    till.use("630")
    till.control.dispute(till.charge_of(top_up), amount=600_00)
    till.settle(top_up)
    assert frozen(till, top_up) == 0
    till.control.fail_refund(str(refund.processor_id))
    till.settle(top_up)
    assert (till.posted, till.available, frozen(till, top_up)) == (420 * DOLLAR, 0, 420 * DOLLAR)
    till.require_books()


def test_thawed_credit_pays_what_is_owed_first(till: Till, top_up: TopUp) -> None:
    dispute = till.control.dispute(till.charge_of(top_up))
    till.settle(top_up)
    till.use("100")
    till.control.win(dispute["id"])
    till.settle(top_up)
    assert (till.posted, sum(till.rest())) == (950 * DOLLAR, 950 * DOLLAR)
    till.require_books()


def test_many_who_settle_a_dispute_take_it_once(till: Till, top_up: TopUp) -> None:
    dispute = till.control.dispute(till.charge_of(top_up))
    for end in (till.control.lose, till.control.win, till.control.lose):
        end(dispute["id"])
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: till.settle(top_up), range(8)))
    assert till.posted == 0
    till.require_books()


def test_a_dispute_switches_auto_top_up_off(till: Till, top_up: TopUp) -> None:
    with till.database.transaction() as connection:
        raw = driver(connection)
        connection.exec_driver_sql(
            "INSERT INTO auto_topups"
            " (account_id, is_enabled, threshold_usd, amount_usd, enabled_at, updated_at)"
            " VALUES (%s, true, 500, 1000, now(), now())",
            (till.account_id,),
        )
        books, _ = lock_account(raw, till.account_id)
        books.auto_topup_below_pico = 500 * DOLLAR
        balances.set_thresholds(raw, books)
    dispute = till.control.dispute(till.charge_of(top_up))
    till.control.lose(dispute["id"])
    till.settle(top_up)
    (told,) = till.notices(NoticeType.AUTO_TOPUP_OFF)
    assert (told["reason"], told["top_up_id"], told["dispute_id"]) == ("dispute", top_up.id, dispute["id"])
    with till.database.snapshot() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM top_ups").scalar() == 1
    assert to_pico("0") == till.posted
