"""What a customer may ask of auto top-up: each rule with its message, each edge, and what it does at once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from metering.errors import InvalidParameter
from metering.money import to_pico
from metering.services.auto_topup_settings import AutoTopUpChanges, set_auto_topup
from metering.services.cards import sync_cards
from tests.services.buying import Buyer, fall, limit
from tests.services.test_purchases import BOUGHT


@pytest.mark.parametrize(
    ("threshold", "amount", "param", "told"),
    [
        ("4.99", "50", "threshold", "must be at least 5"),
        ("0.01", "50", "threshold", "must be at least 5"),
        ("5.001", "50", "threshold", "must be in whole cents"),
        ("5", "4.99", "amount", "must be at least 5"),
        ("5", "9.99", "amount", "must be at least 2 times the threshold: 10"),
        ("10", "19.99", "amount", "must be at least 2 times the threshold: 20"),
        ("1250", "2499.99", "amount", "must be at least 2 times the threshold: 2500"),
        ("5", "2500.01", "amount", "must be at most 2500"),
        ("5", "50.001", "amount", "must be in whole cents"),
    ],
)
@pytest.mark.parametrize("is_enabled", [True, False])
def test_each_rule_says_what_it_wants(
    buyer: Buyer, threshold: str, amount: str, param: str, told: str, is_enabled: bool
) -> None:
    buyer.save_card()
    changes: AutoTopUpChanges = {
        "is_enabled": is_enabled,
        "threshold_pico": to_pico(threshold),
        "amount_pico": to_pico(amount),
    }
    with pytest.raises(InvalidParameter) as refused:
        set_auto_topup(buyer.cashier, buyer.account_id, changes)
    assert (refused.value.param, refused.value.message) == (param, told)
    assert buyer.view.asked is None


@pytest.mark.parametrize(
    ("threshold", "amount"), [("5", "10"), ("10", "20"), ("1250", "2500"), ("5", "2500")]
)
def test_the_edges_are_allowed(buyer: Buyer, threshold: str, amount: str) -> None:
    buyer.save_card()
    asked = buyer.turn_on(threshold, amount).asked
    assert asked is not None
    assert (asked.is_enabled, asked.threshold_pico, asked.amount_pico) == (
        True,
        to_pico(threshold),
        to_pico(amount),
    )


def test_more_than_may_be_bought_in_a_day_is_refused_at_once(buyer: Buyer) -> None:
    limit(buyer, per_day=(10, "40"))
    buyer.save_card()
    with pytest.raises(InvalidParameter, match=r"must be at most 40: more is not bought by itself in a day"):
        buyer.turn_on()


def test_a_limit_of_ones_own_must_let_one_purchase_through(buyer: Buyer) -> None:
    buyer.save_card()
    with pytest.raises(InvalidParameter, match="must be at least the amount of one purchase") as refused:
        buyer.turn_on(most_per_month_pico=to_pico("49.99"))
    assert refused.value.param == "max_per_month"
    buyer.turn_on(most_per_month_pico=to_pico("50"))


def test_without_a_card_it_can_not_be_turned_on(buyer: Buyer) -> None:
    told = "only cards can be charged off-session: save one first with POST /v1/account/payment_methods"
    with pytest.raises(InvalidParameter) as refused:
        buyer.turn_on()
    assert (refused.value.param, refused.value.message) == ("payment_method", told)
    buyer.save_card()
    with pytest.raises(InvalidParameter, match="There is no such saved card") as refused:
        buyer.turn_on(card_id="pm_of_somebody_else")
    assert refused.value.param == "payment_method"
    assert buyer.view.asked is None


def test_a_card_that_was_saved_a_moment_ago_is_found_at_the_processor(buyer: Buyer) -> None:
    card = buyer.save_card()
    buyer.stripe.payment_methods.detach(card.id)
    sync_cards(buyer.cashier, buyer.account_id)
    customer = buyer.stripe.customers.list().data[0].id
    made = buyer.stripe.payment_methods.attach("pm_card_mastercard", {"customer": customer}).id
    view = buyer.turn_on()
    assert view.card is not None
    assert view.card.id == made


def test_the_first_time_threshold_and_amount_are_needed(buyer: Buyer) -> None:
    buyer.save_card()
    with pytest.raises(InvalidParameter) as refused:
        set_auto_topup(buyer.cashier, buyer.account_id, {"is_enabled": True, "amount_pico": to_pico("50")})
    assert refused.value.param == "threshold"
    assert buyer.turn_off().asked is None


def test_turned_off_it_keeps_what_was_asked_and_notices_no_fall(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.turn_on(most_per_month_pico=to_pico("500"))
    buyer.turn_off()
    buyer.use(15)
    assert buyer.work() == 0
    assert buyer.purchases == []
    assert buyer.asked.off_reason == "customer"
    asked = set_auto_topup(buyer.cashier, buyer.account_id, {"is_enabled": True}).asked
    assert asked is not None
    assert (asked.threshold_pico, asked.amount_pico) == (to_pico("10"), to_pico("50"))
    assert asked.most_per_month_pico == to_pico("500")
    assert not buyer.told("auto_topup.off"), "who turned it off knows"


def test_turned_on_below_the_threshold_it_buys_at_once_and_only_once(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.turn_on(threshold="100", amount="200")
    for _ in range(3):
        buyer.turn_on(threshold="100", amount="200")
        buyer.work()
    assert buyer.purchases == BOUGHT
    assert buyer.charges == 1


def test_asking_for_the_same_again_buys_nothing_where_the_fall_was_bought_for(buyer: Buyer) -> None:
    buyer.save_card()
    buyer.turn_on()
    buyer.use(200)
    buyer.work()
    assert buyer.posted() == Decimal(-130)
    buyer.turn_on()
    buyer.turn_on(amount="60")
    buyer.work()
    assert buyer.charges == 1


def test_the_card_that_was_named_is_charged_and_the_default_where_none_was(buyer: Buyer) -> None:
    first, second = buyer.save_card(), buyer.save_card("pm_card_mastercard")
    buyer.turn_on(card_id=second.id)
    fall(buyer)
    buyer.turn_on(card_id=None)
    fall(buyer)
    charged = [charge.payment_method for charge in buyer.stripe.charges.list().data]
    assert charged == [first.id, second.id]
