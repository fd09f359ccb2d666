"""A card that declines is tried again by the schedule and then no more, and each decline counts once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

from metering.services.purchases import buy
from metering.services.settlement import settle
from tests.services.buying import CONFIRM, DAY, HOUR, Buyer
from tests.services.test_purchases import BOUGHT, patiently


def let_decline(buyer: Buyer, decline: str) -> None:
    """From now on the card answers so; "" is well again."""
    card = buyer.view.card
    assert card is not None
    buyer.control.change_card(card.id, decline=decline)


def test_a_card_that_declines_is_tried_again_on_schedule_then_never(fallen: Buyer) -> None:
    let_decline(fallen, "insufficient_funds")
    fallen.work()
    for wait in (HOUR, DAY, DAY * 3):
        assert fallen.view.status == "retrying"
        tries = fallen.tries()
        fallen.later(wait - timedelta(minutes=1))
        assert fallen.work() == 0
        fallen.later(timedelta(minutes=1))
        assert fallen.work() == 1
        assert fallen.tries() == tries + 1
    assert fallen.purchases == [("failed", "insufficient_funds")]
    assert (fallen.asked.is_enabled, fallen.asked.off_reason) == (False, "declined")
    assert [one["attempt"] for one in fallen.told("top_up.failed")] == [1, 2, 3]
    (off,) = fallen.told("auto_topup.off")
    assert (off["reason"], off["failure_code"], off["attempt"]) == ("declined", "insufficient_funds", 4)
    tries = fallen.tries()
    fallen.use(5)
    fallen.later(DAY * 40)
    patiently(fallen, 3)
    assert (fallen.tries(), fallen.charges) == (tries, 0)
    (intent,) = fallen.stripe.payment_intents.list().data
    assert intent.status == "canceled"


def test_a_card_that_recovers_before_the_last_try_is_charged_once(fallen: Buyer) -> None:
    let_decline(fallen, "insufficient_funds")
    fallen.work()
    let_decline(fallen, "")
    fallen.later(HOUR)
    fallen.work()
    assert fallen.purchases == BOUGHT
    assert (fallen.charges, fallen.posted()) == (1, Decimal(59))
    assert fallen.view.status == "on"


def test_a_decline_whose_answer_was_lost_counts_once(fallen: Buyer) -> None:
    let_decline(fallen, "insufficient_funds")
    fallen.control.fault("timeout", when="after", path=CONFIRM)
    fallen.work()
    patiently(fallen, 3)
    assert [one["attempt"] for one in fallen.told("top_up.failed")] == [1]
    assert fallen.tries() == 1


def test_messages_about_a_decline_count_nothing(fallen: Buyer) -> None:
    let_decline(fallen, "insufficient_funds")
    fallen.work()
    for _ in range(3):
        settle(fallen.cashier, fallen.account_id, fallen.purchase_id)
    assert [one["attempt"] for one in fallen.told("top_up.failed")] == [1]
    assert fallen.purchases == [("open", "insufficient_funds")]


def test_two_workers_that_see_the_same_decline_count_it_once(fallen: Buyer) -> None:
    let_decline(fallen, "insufficient_funds")
    top_up_id = fallen.purchase_id
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: buy(fallen.cashier, fallen.account_id, top_up_id), range(4)))
    assert len({one["attempt"] for one in fallen.told("top_up.failed")}) == len(fallen.told("top_up.failed"))


def test_a_stolen_card_is_not_tried_again(fallen: Buyer) -> None:
    let_decline(fallen, "stolen_card")
    fallen.work()
    assert fallen.tries() == 1
    assert fallen.purchases[0][0] == "failed"
    assert fallen.asked.off_reason == "declined"
    assert not fallen.told("top_up.failed")


def test_a_card_that_wants_the_customer_is_tried_on_schedule_then_switched_off_saying_so(
    buyer: Buyer,
) -> None:
    buyer.save_card("pm_card_authenticationRequired")
    buyer.turn_on()
    buyer.use(11)
    buyer.work()
    (failed,) = buyer.told("top_up.failed")
    assert failed["needs_customer"]
    for wait in (HOUR, DAY, DAY * 3):
        buyer.later(wait)
        buyer.work()
    assert buyer.asked.off_reason == "authentication_required"
    assert [one["reason"] for one in buyer.told("auto_topup.off")] == ["authentication_required"]
    assert (buyer.charges, buyer.purchases[0][0]) == (0, "failed")
