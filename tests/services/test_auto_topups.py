"""What keeps auto top-up from buying too much, or from turning itself on again."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

import pytest

from metering import clock
from metering.ledger.auto_topups import OffReason
from metering.money import to_pico
from metering.services.auto_topups import resume_paused, switch_off
from metering.services.cards import remove_card
from metering.services.refunds import WantedRefund, create_refund
from metering.services.settlement import settle
from metering.storage.books import lock_account
from metering.storage.database import driver
from tests.house.source import calls, python_files, text_of
from tests.services.buying import DAY, HOUR, Buyer, fall, limit
from tests.services.test_purchases import BOUGHT


def to_the_next_day(buyer: Buyer) -> None:
    """A minute past midnight in UTC."""
    tomorrow = datetime.combine(clock.now().astimezone(UTC).date() + timedelta(days=1), time(0, 1), UTC)
    buyer.later(tomorrow - clock.now())


def to_the_next_month(buyer: Buyer) -> None:
    """A minute past its first midnight in UTC."""
    month = clock.now().astimezone(UTC).month
    while clock.now().astimezone(UTC).month == month:
        to_the_next_day(buyer)


@pytest.mark.parametrize("most", [(2, "5000"), (10, "149.99"), (10, "100")])
def test_a_day_has_a_ceiling_of_purchases_and_of_dollars(buyer: Buyer, most: tuple[int, str]) -> None:
    limit(buyer, per_day=most)
    to_the_next_day(buyer)
    buyer.save_card()
    buyer.turn_on()
    for _ in range(4):
        fall(buyer)
    assert buyer.purchases == [*BOUGHT * 2, ("canceled", "ceiling_day")]
    assert (buyer.charges, buyer.view.status) == (2, "paused")
    (told,) = buyer.told("auto_topup.paused")
    assert told["reason"] == "ceiling_day"
    assert resume_paused(buyer.database) == 0
    buyer.later(HOUR)
    buyer.work()
    assert buyer.charges == 2
    to_the_next_day(buyer)
    assert told["paused_until"] == clock.now().date().isoformat() + "T00:00:00+00:00"
    assert resume_paused(buyer.database) == 1
    buyer.work()
    assert (buyer.charges, buyer.view.status) == (3, "on")
    assert resume_paused(buyer.database) == 0


@pytest.mark.parametrize("own", [None, "149.99"])
def test_a_month_has_a_ceiling_too_and_the_customer_may_have_a_lower_one(
    buyer: Buyer, own: str | None
) -> None:
    limit(buyer, per_month=(100, "25000") if own else (2, "25000"))
    to_the_next_month(buyer)
    buyer.save_card()
    buyer.turn_on(most_per_month_pico=None if own is None else to_pico(own))
    for _ in range(3):
        fall(buyer)
        to_the_next_day(buyer)
        resume_paused(buyer.database)
    assert buyer.purchases == [*BOUGHT * 2, ("canceled", "ceiling_month")]
    assert [one["reason"] for one in buyer.told("auto_topup.paused")] == ["ceiling_month"]
    to_the_next_month(buyer)
    assert resume_paused(buyer.database) == 1
    buyer.work()
    assert buyer.charges == 3


def test_after_a_pause_nothing_is_bought_where_the_balance_has_risen(buyer: Buyer) -> None:
    limit(buyer, per_day=(1, "5000"))
    to_the_next_day(buyer)
    buyer.save_card()
    buyer.turn_on()
    fall(buyer)
    fall(buyer)
    buyer.grant("100", "more")
    to_the_next_day(buyer)
    resume_paused(buyer.database)
    assert (buyer.work(), buyer.charges, buyer.view.status) == (0, 1, "on")
    fall(buyer)
    assert buyer.charges == 2


def test_a_higher_limit_of_ones_own_ends_the_pause_at_once(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.turn_on(most_per_month_pico=to_pico("50"))
    fall(buyer)
    fall(buyer)
    assert buyer.view.status == "paused"
    buyer.turn_on(most_per_month_pico=to_pico("100"))
    buyer.work()
    assert (buyer.charges, buyer.view.status) == (2, "on")


def test_a_runaway_is_not_charged_all_afternoon(buyer: Buyer) -> None:
    """29 falls, one every two minutes: five are bought for, then it is off and says why."""
    buyer.save_card()
    buyer.turn_on()
    for _ in range(29):
        if buyer.posted() >= 10:
            fall(buyer)
        buyer.later(timedelta(minutes=2))
        buyer.work()
        buyer.grant("20", f"the customer tops up by hand {buyer.passed}")
    assert buyer.charges == 5
    assert buyer.purchases == [*BOUGHT * 5, ("canceled", "brake")]
    assert buyer.asked.off_reason == "runaway"
    (told,) = buyer.told("auto_topup.off")
    assert told["reason"] == "runaway"
    buyer.later(DAY * 40)
    fall(buyer)
    assert buyer.charges == 5


def test_the_brake_counts_what_was_bought_at_once_when_it_was_turned_on(buyer: Buyer) -> None:
    buyer.save_card()
    limit(buyer, brake=2)
    buyer.use(15)
    buyer.turn_on()
    buyer.work()
    for _ in range(3):
        fall(buyer)
    assert buyer.purchases == [*BOUGHT * 2, ("canceled", "brake")]
    assert buyer.charges == 2


def test_what_is_slower_than_a_runaway_still_ends_at_the_days_ceiling(buyer: Buyer) -> None:
    to_the_next_day(buyer)
    buyer.save_card()
    buyer.turn_on()
    for _ in range(29):
        fall(buyer)
        buyer.later(timedelta(minutes=20))
        buyer.grant("20", f"by hand {buyer.passed}")
    assert buyer.charges == 10
    assert buyer.view.status == "paused"
    assert len(buyer.told("auto_topup.paused")) == 1


def by_dispute(buyer: Buyer) -> None:
    with buyer.database.transaction() as connection:
        raw = driver(connection)
        books, now = lock_account(raw, buyer.account_id)
        assert switch_off(raw, books, OffReason.DISPUTE, now, dispute_id="dp_1")
        assert not switch_off(raw, books, OffReason.RUNAWAY, now)


def by_declines(buyer: Buyer) -> None:
    card = buyer.view.card
    assert card is not None
    buyer.control.change_card(card.id, decline="stolen_card")
    fall(buyer)
    buyer.control.change_card(card.id, decline="")


def by_refund(buyer: Buyer) -> None:
    """What went back is not charged again: a refund that takes the balance below turns it off."""
    (bought,) = buyer.rows("SELECT id FROM top_ups WHERE state = 'succeeded'")
    wanted = WantedRefund(None, "not needed", "finance")
    refund, _ = create_refund(buyer.cashier, buyer.account_id, str(bought["id"]), wanted, "r-1")
    assert refund.state == "succeeded"
    assert buyer.work() == 0
    assert [told["reason"] for told in buyer.told("auto_topup.off")] == ["refund"]


def by_brake(buyer: Buyer) -> None:
    limit(buyer, brake=0)
    fall(buyer)
    limit(buyer, brake=5)


def by_removal(buyer: Buyer) -> None:
    card = buyer.view.card
    assert card is not None
    remove_card(buyer.cashier, buyer.account_id, card.id)
    buyer.save_card()


def by_customer(buyer: Buyer) -> None:
    buyer.turn_off()


@pytest.mark.parametrize("ends", [by_customer, by_dispute, by_declines, by_refund, by_brake, by_removal])
def test_whatever_turned_it_off_it_never_turns_itself_on_again(
    buyer: Buyer, ends: Callable[[Buyer], None]
) -> None:
    """Not by falls, pauses that end, cards that come or go, payments that succeed late, or time."""
    buyer.save_card()
    buyer.turn_on()
    fall(buyer)
    ends(buyer)
    charges = buyer.charges
    assert (buyer.asked.is_enabled, buyer.view.status) == (False, "off")
    for _ in range(3):
        buyer.grant("50", f"by hand {buyer.passed}")
        fall(buyer)
        buyer.save_card("pm_card_mastercard")
        resume_paused(buyer.database)
        for row in buyer.rows("SELECT id FROM top_ups"):
            settle(buyer.cashier, buyer.account_id, str(row["id"]))
        to_the_next_month(buyer)
        buyer.work()
    assert (buyer.asked.is_enabled, buyer.view.status) == (False, "off")
    assert buyer.charges == charges
    assert not [state for state, _ in buyer.purchases if state == "open"]
    assert buyer.rows("SELECT 1 FROM balances WHERE auto_topup_below_usd IS NOT NULL") == []


def test_what_a_lost_dispute_takes_is_not_charged_to_the_card_again(buyer: Buyer) -> None:
    """Nor where the customer turned it on again while the bank decided."""
    buyer.save_card()
    buyer.turn_on()
    fall(buyer)
    (bought,) = buyer.rows("SELECT id, payment_id FROM top_ups WHERE state = 'succeeded'")
    charge = str(buyer.stripe.payment_intents.retrieve(bought["payment_id"]).latest_charge)
    dispute_id = buyer.control.dispute(charge)["id"]
    settle(buyer.cashier, buyer.account_id, str(bought["id"]))
    buyer.turn_on()
    buyer.control.lose(dispute_id)
    settle(buyer.cashier, buyer.account_id, str(bought["id"]))
    assert buyer.work() == 0
    assert buyer.charges == 1
    assert (buyer.asked.is_enabled, buyer.asked.off_reason) == (False, "dispute")


def test_the_customers_own_call_is_the_only_way_to_turn_it_on() -> None:
    """Nothing else writes that it is on: neither the code that keeps what was asked, nor any SQL."""
    callers = [
        name for name in python_files("metering") for called, _ in calls(name) if called == "keep_asked"
    ]
    assert callers == ["metering/services/auto_topup_settings.py"]
    writers = [
        name
        for name in python_files("metering")
        if re.search(r"(INSERT INTO|UPDATE) auto_topups", text_of(name))
    ]
    assert writers == ["metering/storage/auto_topups.py"]
    turned = re.findall(r"is_enabled = (\w+)", text_of(writers[0]))
    assert turned == ["excluded", "false"]  # what the customer asks for; off


def test_the_customer_turns_it_on_again_and_only_then_it_buys(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.turn_on()
    by_declines(buyer)
    assert buyer.charges == 0
    buyer.turn_on()
    buyer.work()
    assert (buyer.charges, buyer.view.status) == (1, "on")


def test_turned_on_again_before_the_worker_closed_what_failed_it_is_still_one_charge(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.turn_on()
    buyer.use(15)
    buyer.take("create")
    buyer.turn_off()
    buyer.turn_on()
    buyer.work()
    assert buyer.purchases == BOUGHT
    assert buyer.charges == 1
