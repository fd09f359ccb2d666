"""The customer at the payment processor that stands for an account."""

from __future__ import annotations

from metering import clock, ids
from metering.services.cashier import Cashier
from metering.storage import accounts, payment_customers


def obtain_customer(cashier: Cashier, account_id: str) -> str:
    """The processor's id of the account's customer, who is made and noted if there is none.

    Raises `AccountNotFound`, `PaymentsUnavailable` and `PaymentRefused`.
    """
    with cashier.database.snapshot() as connection:
        account = accounts.get_account(connection, account_id)
        known = payment_customers.find_customer(connection, account_id)
    if known is not None:
        return known
    # A key of its own: where the answer is lost, a customer without anything is left behind, while a key that
    # is used again would be refused once the name has changed.
    made = cashier.gateway.create_customer(
        account_id, name=account.name, email=account.email, idempotency_key=f"customer-{ids.new_id()}"
    )
    with cashier.database.transaction() as connection:
        payment_customers.keep_customer(connection, account_id, made, clock.now())
        return payment_customers.find_customer(connection, account_id) or made
