"""Money that goes back: refunds and disputes, with what they do to the charge and to the balance."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.simulator.fixtures import RunningSimulator
from tests.simulator.shop import Shop


def test_refunds_add_up_to_the_charge_and_never_to_more(shop: Shop) -> None:
    payment = shop.pay()
    part = shop.api.refunds.create(
        {"payment_intent": payment.id, "amount": 400, "expand": ["balance_transaction"]}
    )
    assert isinstance(part.balance_transaction, stripe.BalanceTransaction)
    assert (part.status, part.balance_transaction.amount, part.balance_transaction.fee) == (
        "succeeded",
        -400,
        0,
    )
    with pytest.raises(stripe.InvalidRequestError, match=r"\(\$6.01\) is greater than unrefunded"):
        shop.api.refunds.create({"payment_intent": payment.id, "amount": 601})
    rest = shop.api.refunds.create({"charge": str(payment.latest_charge), "metadata": {"a": "b"}})
    charge = shop.charge_of(payment)
    assert (rest.amount, charge.amount_refunded, charge.refunded) == (600, 1_000, True)
    with pytest.raises(stripe.InvalidRequestError) as raised:
        shop.api.refunds.create({"payment_intent": payment.id})
    assert raised.value.code == "charge_already_refunded"
    assert shop.types()[-4:] == ["refund.created", "charge.refunded"] * 2
    assert [refund.id for refund in shop.api.refunds.list({"payment_intent": payment.id}).data] == [
        rest.id,
        part.id,
    ]


def test_what_was_not_paid_is_not_refunded(shop: Shop) -> None:
    waiting = shop.pay(confirm=False)
    with pytest.raises(stripe.InvalidRequestError, match="successful charge"):
        shop.api.refunds.create({"payment_intent": waiting.id})
    with pytest.raises(stripe.InvalidRequestError, match="One of the following"):
        shop.api.refunds.create({})


@pytest.mark.parametrize("ending", ["succeeded", "failed", "canceled"])
def test_a_pending_refund_ends_one_way_or_another(
    shop: Shop, stripe_simulator: RunningSimulator, ending: str
) -> None:
    payment = shop.pay("pm_card_pendingRefund")
    refund = shop.api.refunds.create({"payment_intent": payment.id})
    assert refund.status == "pending"
    if ending == "succeeded":
        stripe_simulator.control.settle_refund(refund.id)
    elif ending == "failed":
        stripe_simulator.control.fail_refund(refund.id)
    else:
        shop.api.refunds.cancel(refund.id)
    ended = shop.api.refunds.retrieve(refund.id)
    charge = shop.charge_of(payment)
    assert ended.status == ending
    assert charge.amount_refunded == (1_000 if ending == "succeeded" else 0)
    assert ("refund.failed" in shop.types()) is (ending == "failed")
    moved = shop.api.balance_transactions.list({"source": refund.id}).data
    assert sum(booked.amount for booked in moved) == (-1_000 if ending == "succeeded" else 0)


def test_a_refund_that_succeeded_can_come_back_and_the_dashboard_can_refund_too(
    shop: Shop, stripe_simulator: RunningSimulator
) -> None:
    payment = shop.pay("pm_card_refundFail")
    refund = stripe_simulator.control.refund(str(payment.latest_charge), 300)
    stripe_simulator.control.fail_refund(refund["id"])
    failed = shop.api.refunds.retrieve(refund["id"], {"expand": ["failure_balance_transaction"]})
    assert isinstance(failed.failure_balance_transaction, stripe.BalanceTransaction)
    assert (failed.status, failed.failure_balance_transaction.type) == ("failed", "refund_failure")
    assert shop.charge_of(payment).amount_refunded == 0


def test_a_disputed_charge_loses_its_money_and_a_fee_and_a_won_one_gets_the_money_back(
    shop: Shop, stripe_simulator: RunningSimulator
) -> None:
    payment = shop.pay("pm_card_createDispute")
    (dispute,) = shop.api.disputes.list({"payment_intent": payment.id}).data
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 1_000)
    (taken,) = dispute.balance_transactions
    assert (taken.amount, taken.fee, taken.net) == (-1_000, 1_500, -2_500)
    assert (taken.type, taken.reporting_category) == ("adjustment", "dispute")
    assert shop.charge_of(payment).disputed
    with pytest.raises(stripe.InvalidRequestError) as raised:
        shop.api.refunds.create({"payment_intent": payment.id})
    assert raised.value.code == "charge_disputed"
    shop.api.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    won = shop.api.disputes.retrieve(dispute.id)
    assert won.status == "won"
    assert [booked.reporting_category for booked in won.balance_transactions] == [
        "dispute",
        "dispute_reversal",
    ]
    assert sum(booked.amount for booked in won.balance_transactions) == 0
    assert [name for name in shop.types() if "dispute" in name] == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]


def test_a_dispute_is_lost_by_evidence_or_by_closing_it(
    shop: Shop, stripe_simulator: RunningSimulator
) -> None:
    for close in (True, False):
        payment = shop.pay()
        dispute = stripe_simulator.control.dispute(str(payment.latest_charge), reason="duplicate", amount=700)
        if close:
            shop.api.disputes.close(dispute["id"])
        else:
            evidence: Any = {"uncategorized_text": "losing_evidence"}
            shop.api.disputes.update(dispute["id"], {"evidence": evidence, "submit": False})
            assert shop.api.disputes.retrieve(dispute["id"]).status == "needs_response"
            shop.api.disputes.update(dispute["id"], {"submit": True})
        lost = shop.api.disputes.retrieve(dispute["id"])
        assert (lost.status, lost.amount, len(lost.balance_transactions)) == ("lost", 700, 1)


def test_an_inquiry_takes_no_money_until_it_escalates(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    payment = shop.pay("pm_card_createDisputeInquiry")
    (inquiry,) = shop.api.disputes.list({"charge": str(payment.latest_charge)}).data
    assert (inquiry.status, inquiry.balance_transactions) == ("warning_needs_response", [])
    assert inquiry.is_charge_refundable
    stripe_simulator.control.escalate(inquiry.id)
    dispute = shop.api.disputes.retrieve(inquiry.id)
    assert (dispute.status, len(dispute.balance_transactions)) == ("needs_response", 1)
    assert not dispute.is_charge_refundable


def test_funds_move_without_a_change_of_status_where_the_bank_is_slow(
    shop: Shop, stripe_simulator: RunningSimulator
) -> None:
    control = stripe_simulator.control
    charge = str(shop.pay().latest_charge)
    dispute = control.dispute(charge, withdraw=False, fee=2_000)
    assert dispute["balance_transactions"] == []
    control.withdraw(dispute["id"])
    control.move_dispute(dispute["id"], "won")
    returned = control.reinstate(dispute["id"], fee_returned=2_000)
    assert [booked["fee"] for booked in returned["balance_transactions"]] == [2_000, -2_000]


def test_the_balance_is_the_sum_of_its_transactions(shop: Shop, stripe_simulator: RunningSimulator) -> None:
    payment = shop.pay()
    shop.api.refunds.create({"payment_intent": payment.id, "amount": 100})
    moved = shop.api.balance_transactions.list({"limit": 100}).data
    assert sum(booked.net for booked in moved) == 841
    assert shop.api.balance.retrieve().pending[0].amount == 841
    stripe_simulator.control.advance(3 * 86_400)
    assert shop.api.balance.retrieve().available[0].amount == 841
