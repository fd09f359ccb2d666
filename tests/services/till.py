"""A customer who buys credit of a cashier, and what becomes of it."""

from __future__ import annotations

from typing import Any

from metering import ids
from metering.ledger.notices import NoticeType
from metering.money import to_pico
from metering.rating.engine import Rater
from metering.services.accounts import create_account, get_account
from metering.services.audit import check_books
from metering.services.cashier import Cashier
from metering.services.corrections import WantedAdjustment, adjust_credit
from metering.services.holds import Holds
from metering.services.lots import list_lots
from metering.services.refunds import WantedRefund, create_refund, list_refunds
from metering.services.settlement import settle
from metering.services.top_ups import WantedTopUp, create_top_up
from metering.storage.refunds import Refund
from metering.storage.top_ups import TopUp
from tests.services.correcting import OLD
from tests.services.desk import authorize
from tests.simulator.fixtures import RunningSimulator


class Till:
    """One account; amounts are dollars as text."""

    def __init__(self, cashier: Cashier, simulator: RunningSimulator) -> None:
        self.cashier = cashier
        self.database = cashier.database
        self.control = simulator.control
        self.stripe = simulator.client().v1
        self.account_id = create_account(cashier.database, "Ada").account.account_id

    def open(self, amount: str = "100", key: str | None = None, **wanted: Any) -> TopUp:  # noqa: ANN401  (fields)
        """A top-up whose page is open."""
        ask = WantedTopUp(to_pico(amount), **wanted)
        return create_top_up(self.cashier, self.account_id, ask, key)[0].top_up

    def pay(self, top_up: TopUp, **how: Any) -> None:  # noqa: ANN401  (of the control)
        """Pay on the page; nobody hears of it."""
        self.control.pay(str(top_up.session_id), **how)

    def settle(self, top_up: TopUp, payment_id: str | None = None) -> TopUp:
        """Settle it."""
        return settle(self.cashier, self.account_id, top_up.id, payment_id=payment_id)

    def buy(self, amount: str = "100", **wanted: Any) -> TopUp:  # noqa: ANN401  (fields)
        """A top-up that was paid and settled."""
        top_up = self.open(amount, **wanted)
        self.pay(top_up)
        return self.settle(top_up)

    def charge_of(self, top_up: TopUp) -> str:
        """The processor's id of what was charged for it."""
        return str(self.stripe.payment_intents.retrieve(str(top_up.payment_id)).latest_charge)

    def use(self, dollars: str) -> None:
        """Take credit, as usage would."""
        wanted = WantedAdjustment("adjustment", -to_pico(dollars), "used", "a test")
        adjust_credit(self.database, self.account_id, wanted, ids.new_id())

    def hold(self, dollars: str) -> None:
        """Set credit aside."""
        command = authorize(self.account_id, to_pico(dollars))
        Holds(self.database, Rater(OLD)).apply([command])

    def refund(self, top_up: TopUp, amount: str | None = None, key: str | None = None) -> Refund:
        """Give back so much of it, or all that can be."""
        wanted = WantedRefund(None if amount is None else to_pico(amount), "unused", "finance")
        return create_refund(self.cashier, self.account_id, top_up.id, wanted, key or ids.new_id())[0]

    def refunds(self, top_up: TopUp) -> list[Refund]:
        """All of them."""
        return list_refunds(self.database, self.account_id, top_up.id)

    def money_back(self, top_up: TopUp) -> int:
        """How many cents the processor gave back."""
        charge = self.stripe.charges.retrieve(self.charge_of(top_up))
        return charge.amount_refunded

    @property
    def posted(self) -> int:
        """The posted balance."""
        return get_account(self.database, self.account_id).balance.posted_pico

    @property
    def available(self) -> int:
        """What can be used."""
        return get_account(self.database, self.account_id).balance.available_pico

    def rest(self) -> list[int]:
        """What is left in each lot, in the order of spending."""
        page = list_lots(self.database, self.account_id, with_empty=True, limit=100)
        return [lot.rest_pico for lot in page.lots]

    def notices(self, *kinds: NoticeType) -> list[dict[str, Any]]:
        """The data of the notices of these types, oldest first."""
        with self.database.snapshot() as connection:
            rows = connection.exec_driver_sql(
                "SELECT type, data FROM notices WHERE account_id = %s ORDER BY sequence", (self.account_id,)
            )
            return [data for kind, data in rows if not kinds or kind in kinds]

    def ledger(self) -> dict[str, int]:
        """What each ledger account gained, in picodollars; they add up to nothing."""
        with self.database.snapshot() as connection:
            rows = connection.exec_driver_sql(
                "SELECT account, sum(usd) FROM"
                " (SELECT from_account AS account, -amount_usd AS usd FROM transfers"
                "   UNION ALL SELECT to_account, amount_usd FROM transfers) AS moved GROUP BY account"
            )
            return {account: to_pico(usd) for account, usd in rows if usd}

    def require_books(self) -> None:
        """Fail unless all laws of the books hold."""
        assert not check_books(self.database)
