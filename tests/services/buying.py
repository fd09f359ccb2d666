"""A customer with auto top-up, and a worker that can be stopped between any two steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from metering import clock, ids
from metering.ledger.auto_topups import AutoTopUp
from metering.money import to_pico
from metering.payments.gateway import PaymentState
from metering.services.auto_topup_settings import AutoTopUpView, get_auto_topup, set_auto_topup
from metering.services.cards import sync_cards
from metering.services.cashier import Cashier
from metering.services.payment_customers import obtain_customer
from metering.services.purchases import LEASE, Seen, Step, advance, buy_due, take
from metering.storage.cards import SavedCard
from tests.services.correcting import Ledger
from tests.simulator.fixtures import RunningSimulator

CREATE: Final = "/v1/payment_intents"
CONFIRM: Final = "/v1/payment_intents/[^/]+/confirm"
CANCEL: Final = "/v1/payment_intents/[^/]+/cancel"
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


class Buyer(Ledger):
    """One customer. Dollars are text, or whole."""

    def __init__(self, cashier: Cashier, simulator: RunningSimulator, database_url: str) -> None:
        super().__init__(cashier.database)
        self.cashier, self.control, self.stripe = cashier, simulator.control, simulator.client().v1
        self.url = database_url
        self.passed = timedelta(0)

    def save_card(self, kind: str = "pm_card_visa") -> SavedCard:
        """Save a card as the processor's page does; the card."""
        customer = obtain_customer(self.cashier, self.account_id)
        made = self.stripe.payment_methods.attach(kind, {"customer": customer}).id
        return next(card for card in sync_cards(self.cashier, self.account_id) if card.id == made)

    def turn_on(self, threshold: str = "10", amount: str = "50", **more: Any) -> AutoTopUpView:  # noqa: ANN401  (changes)
        """Turn it on; it buys `amount` below `threshold`."""
        changes: Any = {
            "is_enabled": True,
            "threshold_pico": to_pico(threshold),
            "amount_pico": to_pico(amount),
            **more,
        }
        return set_auto_topup(self.cashier, self.account_id, changes)

    def turn_off(self) -> AutoTopUpView:
        """Turn it off."""
        return set_auto_topup(self.cashier, self.account_id, {"is_enabled": False})

    @property
    def view(self) -> AutoTopUpView:
        """How it stands."""
        return get_auto_topup(self.database, self.account_id)

    @property
    def asked(self) -> AutoTopUp:
        """What was asked for."""
        asked = self.view.asked
        assert asked is not None
        return asked

    def use(self, dollars: int, events: int = 1) -> None:
        """Use so much, by events of a dollar each in one batch, `events` times as many batches of it."""
        for _ in range(events):
            self.record(*({"id": ids.new_id()} for _ in range(dollars)))

    def work(self, threads: int = 16) -> int:
        """What the worker's job does; how many purchases it looked at."""
        return buy_due(self.cashier, threads=threads)

    def later(self, by: timedelta) -> None:
        """Let time pass, here and at the processor."""
        self.passed += by
        clock.run_ahead(self.passed)
        self.control.advance(int(by.total_seconds()))

    def after_crash(self) -> None:
        """Another worker, once the lease of the one that was killed is over."""
        self.later(LEASE + timedelta(seconds=1))
        self.work()

    def step(self, verb: str) -> Step:
        """What the worker would ask next of the open purchase, which must be `verb`."""
        step = advance(self.cashier, self.account_id, self.purchase_id)
        assert step is not None
        assert step.verb == verb
        return step

    def take(self, verb: str) -> Seen | None:
        """Do it at the processor, and keep nothing of the answer: the worker is killed here."""
        return take(self.cashier, self.step(verb))

    @property
    def purchase_id(self) -> str:
        """The open purchase."""
        (open_one,) = self.rows("SELECT id FROM top_ups WHERE origin = 'auto' AND state = 'open'")
        return str(open_one["id"])

    @property
    def purchases(self) -> list[tuple[str, str | None]]:
        """(state, failure_code) of each purchase, oldest first."""
        query = "SELECT state, failure_code FROM top_ups WHERE origin = 'auto' ORDER BY created_at, id"
        return [(row["state"], row["failure_code"]) for row in self.rows(query)]

    @property
    def charges(self) -> int:
        """How often the card was charged, as the processor counts."""
        return int(self.control.counts()["charges_succeeded"])

    def tries(self) -> int:
        """How often the processor was asked to charge the card, charged or not."""
        return len(self.stripe.charges.list({"limit": 100}).data)

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The notices of a type."""
        found = self.rows("SELECT data FROM notices WHERE type = %s ORDER BY sequence", kind)
        return [row["data"] for row in found]

    def rows(self, query: str, *given: object) -> list[dict[str, Any]]:
        """What stands in the database."""
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), given).fetchall()


def succeeded(seen: Seen | None) -> bool:
    """Whether the payment was seen to have succeeded."""
    return seen is not None and seen.state is PaymentState.SUCCEEDED


def fall(buyer: Buyer) -> None:
    """Use all but five dollars, and let the worker do what it then does."""
    buyer.use(int(buyer.posted()) - 5)
    buyer.work()


def limit(
    buyer: Buyer,
    *,
    per_day: tuple[int, str] | None = None,
    per_month: tuple[int, str] | None = None,
    brake: int | None = None,
) -> None:
    """Another policy: purchases and dollars a day, a month, and purchases an hour."""
    policy = buyer.cashier.policy
    auto = policy.auto
    if per_day is not None:
        auto = auto._replace(
            per_day=auto.per_day._replace(purchases=per_day[0], amount_pico=to_pico(per_day[1]))
        )
    if per_month is not None:
        month = auto.per_month._replace(purchases=per_month[0], amount_pico=to_pico(per_month[1]))
        auto = auto._replace(per_month=month)
    if brake is not None:
        auto = auto._replace(brake_purchases=brake)
    buyer.cashier = replace(buyer.cashier, policy=policy._replace(auto=auto))
