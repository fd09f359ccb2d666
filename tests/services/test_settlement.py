"""Settling by snapshots: whatever is heard, however often and in whatever order, it is credited once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from metering import clock
from metering.errors import NotFound, PaymentsUnavailable
from metering.ledger.notices import NoticeType
from metering.money import PICO_PER_USD, to_pico
from metering.services.settlement import settle, settle_open
from metering.services.top_ups import get_top_up, list_top_ups
from tests.services.till import Till

DOLLAR = PICO_PER_USD


def unsettled(reason: str) -> float:
    labels = {"reason": reason}
    return REGISTRY.get_sample_value("metering_unsettled_payments_total", labels) or 0


def test_a_paid_top_up_is_credited_with_its_bonus_and_told_of_once(till: Till) -> None:
    top_up = till.open("1000")
    assert (top_up.state, till.posted) == ("open", 0)
    till.pay(top_up)
    paid = till.settle(top_up)
    assert paid.state == "succeeded"
    assert till.posted == 1050 * DOLLAR
    assert paid.paid_with == "Visa •••• 4242"
    assert paid.receipt_number == f"{till.account_id[-12:]}-0001"
    assert till.settle(top_up) == paid
    assert till.posted == 1050 * DOLLAR
    (told,) = till.notices(NoticeType.TOP_UP_SUCCEEDED)
    assert (told["amount"], told["bonus"], told["total"], told["credit"]) == ("1000", "50", "1000", "1050")
    assert told["balance"] == "1050"
    till.require_books()


def test_the_processor_s_fee_is_on_the_books(till: Till) -> None:
    till.buy("100")
    assert till.ledger() == {
        "customer_credit": 100 * DOLLAR,
        "cash:stripe": -100 * DOLLAR + to_pico("3.20"),
        "fees:payments": -to_pico("3.20"),
    }


def test_of_many_that_settle_at_once_one_credits(till: Till) -> None:
    for _ in range(20):
        top_up = till.open("10")
        till.pay(top_up)
        before = till.posted
        with ThreadPoolExecutor(8) as threads:
            settled = list(threads.map(lambda _, one=top_up: till.settle(one), range(8)))
        assert {one.state for one in settled} == {"succeeded"}
        assert till.posted == before + 10 * DOLLAR
    assert len(till.notices(NoticeType.TOP_UP_SUCCEEDED)) == 20
    till.require_books()


def test_a_message_may_come_before_the_answer_to_the_call_that_caused_it(till: Till) -> None:
    till.control.fault("timeout", when="after", path="/v1/checkout/sessions")
    with pytest.raises(PaymentsUnavailable):
        till.open("10", "key")
    (session,) = till.stripe.checkout.sessions.list().data
    till.control.pay(session.id)
    payment_id = str(till.stripe.checkout.sessions.retrieve(session.id).payment_intent)
    (view,) = list_top_ups(till.database, till.account_id, limit=10)
    assert till.settle(view.top_up, payment_id).state == "succeeded"
    assert till.open("10", "key").state == "succeeded"
    assert till.posted == 10 * DOLLAR
    till.require_books()


def test_what_was_paid_is_credited_also_after_it_was_given_up(till: Till) -> None:
    top_up = till.open("10")
    till.pay(top_up)
    with till.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE top_ups SET state = 'canceled', closed_at = now()")
    session = till.stripe.checkout.sessions.retrieve(str(top_up.session_id))
    paid = till.settle(top_up, payment_id=str(session.payment_intent))
    assert (paid.state, till.posted) == ("succeeded", 10 * DOLLAR)


def test_the_payment_of_another_top_up_credits_nothing(till: Till) -> None:
    paid, top_up = till.buy("10"), till.open("10")
    assert till.settle(top_up, payment_id=paid.payment_id).state == "open"
    assert till.posted == 10 * DOLLAR


def test_another_amount_than_was_asked_for_is_not_credited(till: Till) -> None:
    top_up = till.open("10")
    till.pay(top_up)
    with till.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE top_ups SET amount_usd = 11")
    seen = till.settle(top_up)
    assert (seen.state, seen.failure_code, till.posted) == ("open", "amount_mismatch", 0)
    assert till.settle(top_up) == seen


def test_a_page_that_ends_unpaid_cancels_the_top_up_without_a_word(till: Till) -> None:
    top_up = till.open("10")
    till.control.expire(str(top_up.session_id))
    assert till.settle(top_up).state == "canceled"
    assert not till.notices()


def test_a_declined_card_on_the_page_leaves_it_open(till: Till) -> None:
    top_up = till.open("10")
    till.pay(top_up, card="4000000000000002")
    assert till.settle(top_up).state == "open"
    till.pay(top_up)
    assert till.settle(top_up).state == "succeeded"


def test_a_payment_that_takes_days_is_credited_when_it_arrives(till: Till) -> None:
    top_up = till.open("10")
    till.pay(top_up, method="us_bank_account")
    under_way = till.settle(top_up)
    assert (under_way.state, till.posted) == ("open", 0)
    till.control.settle_payment(str(under_way.payment_id))
    assert till.settle(top_up).state == "succeeded"
    assert till.posted == 10 * DOLLAR


def test_a_payment_that_takes_days_counts_from_when_it_succeeded_not_from_when_it_was_begun(
    till: Till,
) -> None:
    top_up = till.open("10")
    till.pay(top_up, method="us_bank_account")
    clock.run_ahead(timedelta(days=4))
    under_way = till.settle(top_up)
    before = clock.now()
    till.control.settle_payment(str(under_way.payment_id))
    paid_at = till.settle(top_up).succeeded_at
    assert paid_at is not None
    assert before <= paid_at <= clock.now()


def test_a_payment_that_fails_after_days_is_told_of_once(till: Till) -> None:
    top_up = till.open("10")
    till.pay(top_up, method="us_bank_account")
    under_way = till.settle(top_up)
    till.control.fail_payment(str(under_way.payment_id))
    failed = till.settle(top_up)
    assert (failed.state, till.posted) == ("failed", 0)
    till.settle(top_up)
    (told,) = till.notices(NoticeType.TOP_UP_FAILED)
    assert told["failure_code"] == failed.failure_code
    assert told["failure_message"]


def test_a_top_up_is_settled_without_any_message_once_its_page_has_ended(till: Till) -> None:
    top_up, given_up = till.open("10"), till.open("20")
    till.pay(top_up)
    assert settle_open(till.cashier) == 0
    clock.run_ahead(timedelta(hours=25))
    till.control.expire(str(given_up.session_id))
    assert settle_open(till.cashier) == 2
    assert settle_open(till.cashier) == 0
    assert till.posted == 10 * DOLLAR


def test_one_top_up_that_can_t_be_asked_about_does_not_stop_the_others(till: Till) -> None:
    first, second = till.open("10"), till.open("20")
    till.pay(second)
    clock.run_ahead(timedelta(hours=25))
    till.control.fault(
        "error_500", path=f"/v1/checkout/sessions/{first.session_id}", method="GET", times=None
    )
    assert settle_open(till.cashier) == 2
    assert till.posted == 20 * DOLLAR


def test_a_top_up_that_never_got_a_page_is_given_up_after_a_day(till: Till) -> None:
    till.control.fault("timeout", path="/v1/checkout/sessions")
    with pytest.raises(PaymentsUnavailable):
        till.open("10", "key")
    clock.run_ahead(timedelta(hours=26))
    assert settle_open(till.cashier) == 1
    top_up = till.open("10", "key")
    assert (top_up.state, top_up.session_id) == ("canceled", None)


def test_there_is_no_such_top_up(till: Till) -> None:
    with pytest.raises(NotFound):
        settle(till.cashier, till.account_id, till.account_id)


def test_a_card_that_is_to_be_saved_is_known_afterwards(till: Till) -> None:
    top_up = till.buy("10", saves_card=True)
    assert get_top_up(till.database, till.account_id, top_up.id).top_up == top_up
    with till.database.snapshot() as connection:
        rows = connection.exec_driver_sql("SELECT last_four, is_default FROM cards").all()
    assert rows == [("4242", True)]


def test_a_second_payment_of_one_top_up_is_seen_and_not_credited(till: Till) -> None:
    """It can't be: each top-up has one page, and one payment. If it is, somebody is to look at it."""
    top_up = till.buy("10")
    second = till.stripe.payment_intents.create(
        {
            "amount": 10_00,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "allowed_payment_method_types": ["card"],
            "confirm": True,
            "metadata": {"account_id": till.account_id, "top_up_id": top_up.id},
        }
    )
    before = unsettled("second_payment")
    assert till.settle(top_up, second.id) == top_up
    assert unsettled("second_payment") == before + 1
    assert till.posted == 10 * DOLLAR
