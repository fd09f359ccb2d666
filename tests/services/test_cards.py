"""Saved cards are what the processor says that they are, and whom auto top-up charges follows from it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest

from metering import clock
from metering.errors import InvalidParameter, NotFound, PaymentsUnavailable
from metering.payments.gateway import Card, PaymentGateway
from metering.services.cards import (
    list_cards,
    open_card_setup,
    remove_card,
    set_default_card,
    sync_cards,
    warn_expiring_cards,
)
from metering.services.payment_customers import obtain_customer
from tests.services.buying import Buyer
from tests.simulator.fixtures import RunningSimulator


class Late:
    """The processor, whose list of cards is on its way while something else happens, once."""

    def __init__(self, gateway: PaymentGateway, meanwhile: Callable[[], object]) -> None:
        self._gateway, self._meanwhile = gateway, [meanwhile]

    def list_cards(self, customer_id: str) -> list[Card]:
        """The cards as they were before."""
        found = self._gateway.list_cards(customer_id)
        while self._meanwhile:
            self._meanwhile.pop()()
        return found

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (the gateway's)
        return getattr(self._gateway, name)


def ids_of(buyer: Buyer) -> list[str]:
    """The saved cards, the default first."""
    return [card.id for card in list_cards(buyer.cashier, buyer.account_id)]


def defaults(buyer: Buyer) -> list[str]:
    return [card.id for card in list_cards(buyer.cashier, buyer.account_id) if card.is_default]


def test_an_account_that_the_processor_does_not_know_has_no_cards(buyer: Buyer) -> None:
    assert sync_cards(buyer.cashier, buyer.account_id) == []
    assert ids_of(buyer) == []
    assert buyer.stripe.customers.list().data == []


def test_a_card_is_saved_on_the_processors_page_and_can_be_charged_then(buyer: Buyer) -> None:
    page = open_card_setup(buyer.cashier, buyer.account_id, success_url=None, cancel_url=None)
    assert page.url
    assert ids_of(buyer) == []
    buyer.control.pay(page.id)
    (card,) = list_cards(buyer.cashier, buyer.account_id)
    assert (card.brand, card.last_four, card.is_default, card.name) == (
        "Visa",
        "4242",
        True,
        "Visa •••• 4242",
    )
    buyer.turn_on()
    buyer.use(15)
    buyer.work()
    assert buyer.charges == 1


@pytest.mark.parametrize("param", ["success_url", "cancel_url"])
def test_a_page_leads_back_to_web_addresses_only(buyer: Buyer, param: str) -> None:
    urls = {"success_url": "https://example.com/", "cancel_url": None, param: "javascript:alert(1)"}
    with pytest.raises(InvalidParameter) as refused:
        open_card_setup(buyer.cashier, buyer.account_id, **urls)
    assert refused.value.param == param


def test_the_first_card_is_the_default_until_another_is_chosen(buyer: Buyer) -> None:
    first, second = buyer.save_card(), buyer.save_card("pm_card_mastercard")
    assert ids_of(buyer) == [first.id, second.id]
    assert defaults(buyer) == [first.id]
    assert set_default_card(buyer.database, buyer.account_id, second.id).is_default
    assert ids_of(buyer) == [second.id, first.id]
    assert defaults(buyer) == [second.id]
    for unknown in ("pm_unknown", ""):
        with pytest.raises(NotFound):
            set_default_card(buyer.database, buyer.account_id, unknown)


def test_where_the_default_is_removed_another_takes_its_place(buyer: Buyer) -> None:
    first, second = buyer.save_card(), buyer.save_card("pm_card_mastercard")
    remove_card(buyer.cashier, buyer.account_id, first.id)
    assert defaults(buyer) == ids_of(buyer) == [second.id]
    with pytest.raises(NotFound):
        remove_card(buyer.cashier, buyer.account_id, first.id)


def test_nobody_removes_or_chooses_the_card_of_somebody_else(
    buyer: Buyer, stripe_simulator: RunningSimulator
) -> None:
    card = buyer.save_card()
    other = Buyer(buyer.cashier, stripe_simulator, buyer.url)
    for attempt in (
        lambda: remove_card(buyer.cashier, other.account_id, card.id),
        lambda: set_default_card(buyer.database, other.account_id, card.id),
    ):
        with pytest.raises(NotFound):
            attempt()
    assert ids_of(buyer) == [card.id]


def test_a_removal_that_the_processor_does_not_answer_is_not_believed(buyer: Buyer) -> None:
    card = buyer.save_card()
    buyer.control.fault("timeout", path="/v1/payment_methods/.*")
    with pytest.raises(PaymentsUnavailable):
        remove_card(buyer.cashier, buyer.account_id, card.id)
    assert ids_of(buyer) == [card.id]
    buyer.control.fault("timeout", when="after", path="/v1/payment_methods/.*")
    with pytest.raises(PaymentsUnavailable):
        remove_card(buyer.cashier, buyer.account_id, card.id)
    remove_card(buyer.cashier, buyer.account_id, card.id)
    assert ids_of(buyer) == []


def test_auto_top_up_follows_the_default_and_ends_with_the_last_card(buyer: Buyer) -> None:
    first, second = buyer.save_card(), buyer.save_card("pm_card_mastercard")
    buyer.turn_on()
    remove_card(buyer.cashier, buyer.account_id, first.id)
    assert (buyer.view.status, buyer.view.card) == ("on", second._replace(is_default=True))
    remove_card(buyer.cashier, buyer.account_id, second.id)
    assert (buyer.view.status, buyer.asked.off_reason) == ("off", "card_removed")
    (told,) = buyer.told("auto_topup.off")
    assert (told["reason"], told["card"]) == ("card_removed", "Mastercard •••• 4444")


def test_auto_top_up_charges_no_other_card_than_the_one_that_was_named(buyer: Buyer) -> None:
    buyer.save_card()
    named = buyer.save_card("pm_card_mastercard")
    buyer.turn_on(card_id=named.id)
    buyer.stripe.payment_methods.detach(named.id)  # at the processor
    sync_cards(buyer.cashier, buyer.account_id)
    assert (buyer.view.status, buyer.asked.off_reason) == ("off", "card_removed")
    buyer.use(15)
    assert (buyer.work(), buyer.charges) == (0, 0)
    assert buyer.asked.card_id is None, "nobody's choice any more"


def test_copies_made_at_once_and_in_any_order_end_as_the_processor_has_it(buyer: Buyer) -> None:
    customer = obtain_customer(buyer.cashier, buyer.account_id)
    kinds = ["pm_card_visa", "pm_card_mastercard", "pm_card_amex", "pm_card_discover"]

    def save(kind: str) -> None:
        buyer.stripe.payment_methods.attach(kind, {"customer": customer})
        sync_cards(buyer.cashier, buyer.account_id)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(save, kinds))
    known = {card.id for card in buyer.stripe.customers.payment_methods.list(customer).data}
    assert set(ids_of(buyer)) == known
    assert len(defaults(buyer)) == 1


def test_a_list_that_was_overtaken_by_a_newer_one_brings_no_card_back(buyer: Buyer) -> None:
    card = buyer.save_card()
    late = Late(buyer.cashier.gateway, lambda: remove_card(buyer.cashier, buyer.account_id, card.id))
    assert sync_cards(replace(buyer.cashier, gateway=late), buyer.account_id) == []
    assert ids_of(buyer) == []


def test_the_owner_of_a_card_that_ends_with_this_month_is_told_once(buyer: Buyer) -> None:
    now = clock.now().astimezone(UTC)
    card = buyer.save_card()
    other = buyer.save_card("pm_card_mastercard")
    buyer.turn_on()
    assert warn_expiring_cards(buyer.database) == 0
    buyer.control.change_card(card.id, exp_month=now.month, exp_year=now.year)
    sync_cards(buyer.cashier, buyer.account_id)
    assert warn_expiring_cards(buyer.database) == 1
    assert warn_expiring_cards(buyer.database) == 0
    sync_cards(buyer.cashier, buyer.account_id)
    assert warn_expiring_cards(buyer.database) == 0
    (told,) = buyer.told("card.expiring")
    assert (told["card_id"], told["expires_month"], told["pays_auto_topup"]) == (card.id, now.month, True)
    assert told["card_id"] != other.id


def test_a_card_that_was_renewed_is_told_of_again_when_it_ends_again(buyer: Buyer) -> None:
    now = clock.now().astimezone(UTC)
    card = buyer.save_card()
    buyer.control.change_card(card.id, exp_month=now.month, exp_year=now.year)
    sync_cards(buyer.cashier, buyer.account_id)
    warn_expiring_cards(buyer.database)
    buyer.control.change_card(card.id, exp_year=now.year + 1)
    sync_cards(buyer.cashier, buyer.account_id)
    assert warn_expiring_cards(buyer.database) == 0
    buyer.later(timedelta(days=366))
    assert warn_expiring_cards(buyer.database) == 1


def test_nobody_is_told_of_a_card_that_was_removed(buyer: Buyer) -> None:
    now = clock.now().astimezone(UTC)
    card = buyer.save_card()
    buyer.control.change_card(card.id, exp_month=now.month, exp_year=now.year)
    sync_cards(buyer.cashier, buyer.account_id)
    remove_card(buyer.cashier, buyer.account_id, card.id)
    assert warn_expiring_cards(buyer.database) == 0
