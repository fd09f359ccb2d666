"""What the use cases of money that comes in and goes back work with; most of them take it first."""

from __future__ import annotations

from dataclasses import dataclass

from metering.payments.gateway import PaymentGateway
from metering.pricing.top_ups import TopUpPolicy
from metering.storage.database import Database


@dataclass(frozen=True, slots=True)
class Cashier:
    """The books, the payment processor and the policy of top-ups; customers return to `return_url`."""

    database: Database
    gateway: PaymentGateway
    policy: TopUpPolicy
    return_url: str


def low_balance_of(cashier: Cashier | None) -> int | None:
    """Below what balance a new account's customer is told; None, never, where nothing can be bought."""
    return None if cashier is None else cashier.policy.low_balance_pico
