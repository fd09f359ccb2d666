"""Many accounts with auto top-up at once, as if each customer had saved a card and turned it on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import psycopg

from metering.payments.simulator.customers import make_customer
from metering.payments.simulator.payment_methods import attach, use_payment_method
from metering.payments.simulator.server import Simulator

_GIVEN: Final = """
    WITH given AS (
        SELECT * FROM unnest(%(accounts)s::uuid[], %(customers)s::text[], %(cards)s::text[])
                   AS given (account_id, customer_id, card_id)),
    customers AS (
        INSERT INTO payment_customers (account_id, customer_id, created_at)
        SELECT account_id, customer_id, now() FROM given),
    cards AS (
        INSERT INTO cards (account_id, id, brand, last_four, expires_month, expires_year, is_default,
                           created_at)
        SELECT account_id, card_id, 'Visa', '4242', 12, 2099, true, now() FROM given)
    INSERT INTO auto_topups (account_id, is_enabled, threshold_usd, amount_usd, enabled_at, updated_at)
    SELECT account_id, true, %(threshold)s, %(amount)s, now(), now() FROM given
"""
_WATCH: Final = "UPDATE balances SET auto_topup_below_usd = %s WHERE account_id = ANY(%s::uuid[])"


class Wallet(NamedTuple):
    """A customer at the payment processor, and the card saved there."""

    customer_id: str
    card_id: str


def save_cards(file: Path, cards: Sequence[str]) -> list[Wallet]:
    """A customer for each of Stripe's ready-made cards, in the file that a simulator is to start with."""
    with Simulator(data=file) as simulator, simulator.state.lock:
        state, wallets = simulator.state, []
        for card in cards:
            customer_id = make_customer(state)["id"]
            wallets.append(
                Wallet(customer_id, attach(state, use_payment_method(state, card), customer_id)["id"])
            )
        state.journal.flush()
    return wallets


def turn_on(
    url: str, accounts: Sequence[str], wallets: Sequence[Wallet], *, threshold: int, amount: int
) -> None:
    """Turn auto top-up on for the accounts, in dollars; their balances aren't looked at."""
    customers, cards = zip(*wallets, strict=True)
    given = {"accounts": list(accounts), "customers": list(customers), "cards": list(cards)}
    with psycopg.connect(url) as connection:
        connection.execute(_GIVEN, {**given, "threshold": threshold, "amount": amount})
        connection.execute(_WATCH, [threshold, list(accounts)])
