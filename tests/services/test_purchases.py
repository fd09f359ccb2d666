"""A fall below the threshold is charged once at the most and credited as often, whatever breaks meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from time import monotonic, sleep

import psycopg
import pytest

from metering.services.cards import remove_card
from metering.services.cashier import Cashier
from metering.services.notifications import set_notifications
from metering.services.purchases import LEASE, buy, keep_payment, take
from metering.services.settlement import settle
from tests.services.buying import CANCEL, CONFIRM, CREATE, DAY, Buyer, succeeded
from tests.simulator.fixtures import RunningSimulator

BOUGHT = [("succeeded", None)]
FAULTS = [("timeout", "before"), ("timeout", "after"), ("error_500", "before"), ("error_500", "after")]


def bought_once(buyer: Buyer, spent: int = 11) -> None:
    assert buyer.purchases == BOUGHT
    assert buyer.charges == 1
    assert buyer.posted() == Decimal(20 - spent + 50)
    assert len(buyer.told("top_up.succeeded")) == 1
    assert not buyer.told("top_up.failed")


def patiently(buyer: Buyer, minutes: int = 8) -> None:
    for _ in range(minutes):
        buyer.later(timedelta(minutes=1))
        buyer.work()


def test_a_fall_noticed_by_ingest_buys_once_however_much_more_is_used(fallen: Buyer) -> None:
    assert fallen.purchases == [("open", None)]
    fallen.use(2, 3)
    assert fallen.work() == 1
    fallen.use(2)
    assert fallen.work() == 0
    bought_once(fallen, 19)


def test_what_stays_at_the_threshold_has_not_fallen_below_it(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.turn_on()
    buyer.use(10)
    assert buyer.purchases == []
    buyer.use(1)
    assert buyer.purchases == [("open", None)]


def test_each_fall_is_bought_for(fallen: Buyer) -> None:
    fallen.work()
    fallen.use(50)
    fallen.work()
    assert fallen.purchases == BOUGHT * 2
    assert fallen.charges == 2


def test_a_purchase_that_does_not_lift_the_balance_to_the_threshold_is_not_followed_by_another(
    fallen: Buyer,
) -> None:
    fallen.use(80)
    fallen.work()
    fallen.use(5)
    patiently(fallen, 3)
    assert fallen.posted() == Decimal(20 - 11 - 80 - 5 + 50)
    assert fallen.charges == 1


def test_a_large_purchase_comes_with_its_bonus(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.turn_on(threshold="400", amount="1000")
    buyer.work()
    assert buyer.posted() == Decimal(20 + 1000 + 50)


@pytest.mark.parametrize("path", [CREATE, CONFIRM])
@pytest.mark.parametrize(("action", "when"), FAULTS)
@pytest.mark.parametrize("times", [1, 5])
def test_an_answer_that_does_not_come_is_asked_for_again_and_charges_once(
    fallen: Buyer, path: str, action: str, when: str, times: int
) -> None:
    fallen.control.fault(action, when=when, path=path, times=times)
    assert fallen.work() == 1
    assert fallen.work() == 0, "not at once again"
    patiently(fallen)
    bought_once(fallen)
    assert len(fallen.stripe.payment_intents.list().data) == 1, "none is left behind"


@pytest.mark.parametrize(("action", "when"), FAULTS)
def test_nor_does_the_answer_about_how_the_payment_stands_charge_twice(
    fallen: Buyer, action: str, when: str
) -> None:
    fallen.control.fault(action, when=when, path="/v1/payment_intents/.*", method="GET", times=3)
    fallen.work()
    patiently(fallen)
    bought_once(fallen)


def test_a_slow_processor_is_waited_for(fallen: Buyer) -> None:
    fallen.control.fault("slow", path="/v1/.*", times=None, seconds=0.3)
    fallen.work()
    bought_once(fallen)


@pytest.mark.parametrize("pause", [LEASE, DAY * 2])
def test_a_crash_between_the_processors_yes_and_our_commit_charges_once(
    fallen: Buyer, pause: timedelta
) -> None:
    """Also where it takes so long that the processor has forgotten the idempotency key."""
    fallen.take("create")
    assert succeeded(fallen.take("confirm"))
    assert fallen.posted() == Decimal(9)
    fallen.later(pause)
    fallen.after_crash()
    bought_once(fallen)


def test_a_crash_after_the_payment_was_made_leaves_one_that_nobody_confirms(fallen: Buyer) -> None:
    step = fallen.step("create")
    lost = fallen.cashier.gateway.create_payment(
        account_id=fallen.account_id,
        top_up_id=step.purchase.id,
        customer_id=fallen.stripe.customers.list().data[0].id,
        amount=5_000,
        receipt_email=None,
        idempotency_key="the worker was killed here",
    )
    fallen.after_crash()
    bought_once(fallen)
    assert fallen.stripe.payment_intents.retrieve(lost).status == "requires_payment_method"


def test_of_two_payments_made_for_one_purchase_only_the_first_that_is_kept_is_confirmed(
    fallen: Buyer,
) -> None:
    purchase = fallen.step("create").purchase
    keep_payment(fallen.cashier, purchase, "pi_first")
    keep_payment(fallen.cashier, purchase, "pi_second")
    assert fallen.step("confirm").purchase.payment_id == "pi_first"


def test_a_crash_after_the_outcome_was_seen_and_before_it_was_credited_credits_once(fallen: Buyer) -> None:
    fallen.take("create")
    fallen.take("confirm")
    settle(fallen.cashier, fallen.account_id, fallen.purchase_id)  # a message was faster
    fallen.after_crash()
    bought_once(fallen)


def test_two_workers_that_both_mean_to_confirm_charge_once(fallen: Buyer) -> None:
    fallen.take("create")
    one = fallen.step("confirm")
    other = one._replace(purchase=one.purchase._replace(unanswered=4))  # so that its key is another
    assert succeeded(take(fallen.cashier, one))
    assert succeeded(take(fallen.cashier, other))
    fallen.after_crash()
    bought_once(fallen)


def test_workers_that_all_look_at_the_same_purchase_at_once_charge_once(fallen: Buyer) -> None:
    top_up_id = fallen.purchase_id
    fallen.control.fault("slow", path="/v1/.*", times=None, seconds=0.05)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: buy(fallen.cashier, fallen.account_id, top_up_id), range(8)))
    patiently(fallen, 3)
    bought_once(fallen)


def test_workers_share_the_purchases_of_many_accounts_and_each_is_charged_once(
    cashier: Cashier, stripe_simulator: RunningSimulator, database_url: str
) -> None:
    buyers = [Buyer(cashier, stripe_simulator, database_url) for _ in range(12)]
    for buyer in buyers:
        buyer.save_card()
        buyer.turn_on()
    with ThreadPoolExecutor(4) as workers:
        looked = list(workers.map(lambda _: buyers[0].work(threads=4), range(4)))
    assert sum(looked) == len(buyers)
    assert [buyer.posted() for buyer in buyers] == [Decimal(50)] * len(buyers)
    by_customer = stripe_simulator.control.counts()["charges_by_customer"]
    assert sorted(by_customer.values()) == [1] * len(buyers)


def test_what_falls_while_others_are_bought_for_does_not_wait_for_them(
    cashier: Cashier, stripe_simulator: RunningSimulator, database_url: str
) -> None:
    buyers = [Buyer(cashier, stripe_simulator, database_url) for _ in range(7)]
    for buyer in buyers:
        buyer.grant("20")
        buyer.save_card()
        buyer.turn_on()
    buyers[0].use(11)
    stripe_simulator.control.fault("slow", path=CONFIRM, seconds=2, times=None)
    begun = monotonic()
    with ThreadPoolExecutor(1) as worker:
        looked = worker.submit(buyers[0].work)
        sleep(0.5)
        for buyer in buyers[1:]:
            buyer.use(11)
        assert looked.result() == len(buyers)
    # One after the other they would take 14 seconds.
    assert monotonic() - begun < 10
    assert [buyer.posted() for buyer in buyers] == [Decimal(59)] * len(buyers)


def test_another_e_mail_address_after_a_lost_answer_is_no_decline(fallen: Buyer) -> None:
    """The processor keeps its error and what was asked under a key, and refuses the key for all else."""
    fallen.control.fault("error_500", path=CREATE)
    fallen.work()
    set_notifications(fallen.database, fallen.account_id, {"email": "new@example.com"})
    patiently(fallen, 3)
    bought_once(fallen)


def test_turned_off_before_the_payment_is_confirmed_nothing_is_charged(fallen: Buyer) -> None:
    fallen.take("create")
    fallen.turn_off()
    fallen.work()
    assert fallen.purchases == [("canceled", "disabled")]
    assert fallen.charges == 0
    (intent,) = fallen.stripe.payment_intents.list().data
    assert intent.status == "canceled"


def test_a_worker_that_had_leave_to_confirm_before_it_was_turned_off_charges_once_or_never(
    fallen: Buyer,
) -> None:
    fallen.take("create")
    late = fallen.step("confirm")
    fallen.turn_off()
    fallen.work()
    seen = take(fallen.cashier, late)
    assert not succeeded(seen)
    assert (fallen.charges, fallen.purchases) == (0, [("canceled", "disabled")])


def test_turned_off_while_the_charge_is_on_its_way_it_is_credited_and_stays_off(fallen: Buyer) -> None:
    fallen.take("create")
    fallen.take("confirm")
    fallen.turn_off()
    fallen.work()
    bought_once(fallen)
    fallen.use(55)
    patiently(fallen, 3)
    assert fallen.view.status == "off"
    assert fallen.charges == 1


@pytest.mark.parametrize(("action", "when"), FAULTS)
def test_a_purchase_stays_open_until_the_processor_says_that_its_payment_is_canceled(
    fallen: Buyer, action: str, when: str
) -> None:
    fallen.take("create")
    fallen.turn_off()
    fallen.control.fault(action, when=when, path=CANCEL)
    fallen.work()
    assert fallen.purchases == [("open", None)]
    patiently(fallen, 3)
    assert fallen.purchases == [("canceled", "disabled")]
    assert fallen.charges == 0


def test_a_balance_that_rose_meanwhile_needs_no_purchase(fallen: Buyer) -> None:
    fallen.take("create")
    fallen.grant("100", "more")
    fallen.work()
    assert fallen.purchases == [("canceled", "no_longer_needed")]
    fallen.use(105)
    fallen.work()
    assert fallen.purchases[1:] == BOUGHT
    assert fallen.charges == 1


def test_another_amount_asked_for_meanwhile_is_what_is_bought(fallen: Buyer) -> None:
    fallen.take("create")
    fallen.turn_on(amount="30")
    fallen.work()
    fallen.work()
    assert fallen.purchases == [("canceled", "changed"), *BOUGHT]
    assert (fallen.charges, fallen.posted()) == (1, Decimal(39))


def test_a_payment_that_somebody_canceled_at_the_processor_is_followed_by_another(fallen: Buyer) -> None:
    fallen.take("create")
    (intent,) = fallen.stripe.payment_intents.list().data
    fallen.stripe.payment_intents.cancel(intent.id)
    fallen.work()
    fallen.work()
    assert fallen.purchases == [("canceled", "canceled"), *BOUGHT]
    assert fallen.charges == 1


def test_a_card_removed_before_the_charge_is_not_charged_and_switches_off(fallen: Buyer) -> None:
    card = fallen.view.card
    assert card is not None
    fallen.take("create")
    remove_card(fallen.cashier, fallen.account_id, card.id)
    fallen.work()
    assert fallen.purchases == [("canceled", "card_removed")]
    assert (fallen.charges, fallen.asked.off_reason) == (0, "card_removed")


def test_a_card_removed_at_the_processor_and_not_yet_here_is_found_out(fallen: Buyer) -> None:
    card = fallen.view.card
    assert card is not None
    fallen.stripe.payment_methods.detach(card.id)
    fallen.work()
    assert fallen.purchases == [("canceled", "card_removed")]
    assert (fallen.charges, fallen.asked.off_reason) == (0, "card_removed")
    assert fallen.view.card is None


def test_without_any_card_nothing_is_tried(fallen: Buyer) -> None:
    with psycopg.connect(fallen.url) as connection:  # as no code of ours leaves it
        connection.execute("UPDATE cards SET removed_at = now(), is_default = false")
    fallen.work()
    assert fallen.purchases == [("canceled", "card_removed")]
    assert fallen.asked.off_reason == "card_removed"
    assert fallen.stripe.payment_intents.list().data == []


def test_a_processor_that_refuses_everything_is_asked_ever_more_rarely(fallen: Buyer) -> None:
    fallen.control.fault("timeout", path="/v1/.*", method="POST", times=None)
    looked = 0
    for _ in range(120):
        fallen.later(timedelta(seconds=30))
        looked += fallen.work()
    assert 10 <= looked <= 20
    fallen.control.clear_faults()
    fallen.later(timedelta(minutes=11))
    fallen.work()
    bought_once(fallen)


def test_a_stopped_worker_takes_no_new_purchase(fallen: Buyer) -> None:
    from metering.services.purchases import buy_due

    assert buy_due(fallen.cashier, stopped=lambda: True) == 0
    assert fallen.purchases == [("open", None)]
