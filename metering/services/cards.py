"""Saved cards: the processor keeps them; here is a copy, brought up to date at any hint of a change.

Which card is the default, and whom to warn of its end, is known here alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from metering import clock, ids
from metering.errors import NotFound, PaymentsUnavailable
from metering.ledger.auto_topups import OffReason
from metering.ledger.books import Books
from metering.ledger.notices import NoticeType
from metering.payments.gateway import Card, Checkout
from metering.services.auto_topups import switch_off
from metering.services.cashier import Cashier
from metering.services.payment_customers import obtain_customer
from metering.services.top_ups import check_urls
from metering.storage import auto_topups, cards, notices, payment_customers
from metering.storage.books import lock_account
from metering.storage.cards import SavedCard
from metering.storage.database import Database, driver

_TRIES: Final = 10
_PAGE: Final = 1_000
NO_SUCH_CARD: Final = "There is no such saved card."


def open_card_setup(
    cashier: Cashier, account_id: str, *, success_url: str | None, cancel_url: str | None
) -> Checkout:
    """A page of the processor's on which the customer saves a card.

    Raises `AccountNotFound`, `InvalidParameter`, `PaymentRefused` and `PaymentsUnavailable`.
    """
    check_urls(success_url=success_url, cancel_url=cancel_url)
    return cashier.gateway.open_card_setup(
        account_id=account_id,
        customer_id=obtain_customer(cashier, account_id),
        success_url=success_url or cashier.return_url,
        cancel_url=cancel_url or cashier.return_url,
        # A page more does nothing: the customer saves a card on one of them.
        idempotency_key=f"cards-{ids.new_id()}",
    )


def list_cards(cashier: Cashier, account_id: str) -> list[SavedCard]:
    """The account's cards, the default first. Where none is known, the processor is asked.

    So a customer who comes back from the page sees the card also before any message about it came.
    """
    with cashier.database.snapshot() as connection:
        known = cards.list_cards(driver(connection), account_id)
    try:
        return known or sync_cards(cashier, account_id)
    except PaymentsUnavailable:
        return known


def sync_cards(cashier: Cashier, account_id: str) -> list[SavedCard]:
    """Copy the processor's list of the customer's cards; not within a transaction.

    The first card becomes the default; where the default leaves, another takes its place. Auto top-up is
    switched off where the card that was named for it is gone, or the last one. Raises `PaymentsUnavailable`.
    """
    for _ in range(_TRIES):
        with cashier.database.snapshot() as connection:
            customer_id = payment_customers.find_customer(connection, account_id)
            if customer_id is None:
                return []
            version = cards.get_version(driver(connection), account_id)
        found = cashier.gateway.list_cards(customer_id)
        with cashier.database.transaction() as connection:
            raw = driver(connection)
            books, now = lock_account(raw, account_id)
            # Somebody else's list may be newer than this one.
            if cards.get_version(raw, account_id) == version:
                return _replace(raw, books, found, now)
    raise PaymentsUnavailable("The saved cards change too fast. Send the same again in a few seconds.")


def _replace(raw: Any, books: Books, found: list[Card], now: datetime) -> list[SavedCard]:  # noqa: ANN401  (the driver's)
    account_id = books.account_id
    known = cards.list_cards(raw, account_id)
    removed = cards.replace_all(raw, account_id, found, now)
    asked = auto_topups.find(raw, account_id)
    if asked is not None and (asked.card_id in removed or not found):
        charged = cards.find_charged(known, asked.card_id)
        switch_off(raw, books, OffReason.CARD_REMOVED, now, card=charged and charged.name)
    auto_topups.forget_cards(raw, account_id, removed)
    if found and not any(card.is_default for card in known if card.id not in removed):
        cards.set_default(raw, account_id, found[0].id)
    return cards.list_cards(raw, account_id)


def set_default_card(database: Database, account_id: str, card_id: str) -> SavedCard:
    """Let the card be charged where no other is named; raises `NotFound`."""
    with database.transaction() as connection:
        raw = driver(connection)
        lock_account(raw, account_id)
        card = _get(cards.list_cards(raw, account_id), card_id)
        cards.set_default(raw, account_id, card_id)
    return card._replace(is_default=True)


def remove_card(cashier: Cashier, account_id: str, card_id: str) -> None:
    """Forget a card, here and at the processor; raises `NotFound` and `PaymentsUnavailable`."""
    with cashier.database.snapshot() as connection:
        _get(cards.list_cards(driver(connection), account_id), card_id)
    cashier.gateway.remove_card(card_id)
    sync_cards(cashier, account_id)


def _get(known: list[SavedCard], card_id: str) -> SavedCard:
    found = cards.find_charged(known, card_id)
    if found is None:
        raise NotFound(NO_SUCH_CARD, param="payment_method")
    return found


def warn_expiring_cards(database: Database) -> int:
    """Tell the owners of cards that end with this month, each once: how many cards."""
    told, today = 0, clock.now().astimezone(UTC)
    while True:
        with database.snapshot() as connection:
            found = cards.list_expiring(driver(connection), today.year, today.month, _PAGE)
        for account_id, card_id in found:
            with database.transaction() as connection:
                told += _warn(driver(connection), account_id, card_id)
        if len(found) < _PAGE:
            return told


def _warn(raw: Any, account_id: str, card_id: str) -> bool:  # noqa: ANN401  (the driver's)
    _, now = lock_account(raw, account_id)
    known = cards.list_cards(raw, account_id)
    card = cards.find_charged(known, card_id)
    if card is None or not cards.tell_expiry(raw, account_id, card_id, now):
        return False
    asked = auto_topups.find(raw, account_id)
    data = {
        "card_id": card.id,
        "card": card.name,
        "brand": card.brand,
        "last_four": card.last_four,
        "expires_month": card.expires_month,
        "expires_year": card.expires_year,
        "is_default": card.is_default,
        "pays_auto_topup": bool(
            asked and asked.is_enabled and card == cards.find_charged(known, asked.card_id)
        ),
    }
    notices.append(raw, account_id, ids.new_id(), NoticeType.CARD_EXPIRING, data, now)
    return True
