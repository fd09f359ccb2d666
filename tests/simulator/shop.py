"""The calls that most tests of the simulator begin with."""

from __future__ import annotations

from typing import Any

import stripe

from tests.simulator.fixtures import RunningSimulator

PAYMENT_OF_TEN_DOLLARS: dict[str, Any] = {
    "amount": 1_000,
    "currency": "usd",
    "confirm": True,
    "allowed_payment_method_types": ["card"],
}


class Shop:
    """A customer, and what it pays."""

    def __init__(self, simulator: RunningSimulator) -> None:
        self.api = simulator.client().v1
        self.customer = self.api.customers.create({"email": "buyer@example.com"}).id

    def save(self, card: str) -> str:
        """Attach a ready-made card to the customer; its id."""
        return self.api.payment_methods.attach(card, {"customer": self.customer}).id

    def pay(self, card: str = "pm_card_visa", key: str | None = None, **more: Any) -> stripe.PaymentIntent:  # noqa: ANN401
        """Ten dollars of the customer, unless `more` says otherwise."""
        form: Any = {**PAYMENT_OF_TEN_DOLLARS, "customer": self.customer, "payment_method": card, **more}
        return self.api.payment_intents.create(form, {"idempotency_key": key} if key else {})

    def charge_of(self, payment: stripe.PaymentIntent) -> stripe.Charge:
        """Its latest charge as it is now, with the balance transaction."""
        assert isinstance(payment.latest_charge, str)
        return self.api.charges.retrieve(payment.latest_charge, {"expand": ["balance_transaction"]})

    def types(self) -> list[str]:
        """The types of all events, oldest first."""
        return [str(event.type) for event in self.api.events.list({"limit": 100}).data][::-1]
