"""A customer, the product, and the processor on loopback, as the model of money in drives them.

What is ours goes through `ours`, with a mishap or without; what happens at the processor, through `there`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

import psycopg
from psycopg.rows import dict_row

from metering import clock
from metering.api.event_bodies import read_events
from metering.errors import MeteringError, NotRefundable, Unavailable
from metering.money import to_pico
from metering.payments.gateway import Message
from metering.payments.simulator.calls import shown
from metering.pricing.compiler import compile_book
from metering.pricing.top_ups import Ceiling
from metering.rating.engine import Rater
from metering.services.accounts import create_account
from metering.services.auto_topup_settings import set_auto_topup
from metering.services.auto_topups import resume_paused
from metering.services.cards import remove_card, sync_cards
from metering.services.cashier import Cashier
from metering.services.grants import Wanted, grant_credit
from metering.services.ingest import Ingest
from metering.services.lots import allocate_all
from metering.services.payment_customers import obtain_customer
from metering.services.price_books import keep_price_book
from metering.services.processor_events import receive, settle_message, settle_pending, sweep
from metering.services.purchases import LEASE, buy_due
from metering.services.refunds import WantedRefund, create_refund, finish_refunds
from metering.services.settlement import settle, settle_open
from metering.services.top_ups import WantedTopUp, create_top_up
from metering.usage.event import UsageEvent
from tests.payments.fixtures import POLICY, RETURN_URL, gateway_to
from tests.payments.messages import signature
from tests.services.ledger_prices import BOOKS
from tests.services.money_in_mishaps import Crash, Fate, Mishap, MortalDatabase, MortalGateway
from tests.services.money_in_processor import GOOD, Row, There, at
from tests.simulator.fixtures import RunningSimulator

T = TypeVar("T")

# Low enough to be reached.
AUTO: Final = POLICY.auto._replace(
    per_day=Ceiling(3, to_pico("5000")), brake_purchases=2, brake_window=timedelta(hours=1)
)
TAX_PERCENT: Final = "8.25"
DOLLARS_PER_MILLION: Final = Decimal("1.08")
_BOOK: Final = compile_book(BOOKS["old"])
_TABLES: Final = """
    SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables
     WHERE schemaname = 'public' AND tablename NOT IN ('alembic_version', 'price_books')
"""

# What a refund took from the lots of its own top-up.
_OWN: Final = """
    SELECT coalesce(sum(taken.amount_usd), 0) AS usd
      FROM refunds
      JOIN top_ups ON top_ups.id = refunds.top_up_id
      JOIN top_up_transfers AS named ON named.refund_id = refunds.id
      JOIN transfers ON transfers.id = named.transfer_id AND transfers.kind = 'refund'
      JOIN lot_movements AS taken ON taken.transfer_id = transfers.id
                                 AND taken.lot_id IN (top_ups.transfer_id, top_ups.bonus_transfer_id)
     WHERE refunds.id = %s
"""


class World:
    """One account. Amounts are dollars as text, or Decimals."""

    def __init__(self, simulator: RunningSimulator, database_url: str) -> None:
        self.there = There(simulator)
        self.fate = Fate(simulator.simulator.faults)
        self.database = MortalDatabase(database_url, pool_size=8)
        self.database.fate = self.fate
        self.owner = psycopg.connect(database_url, autocommit=True, row_factory=dict_row)
        self._tables = self.owner.execute(_TABLES.encode()).fetchone()["string_agg"]  # type: ignore[index]
        self._gateways = [gateway_to(simulator, collects_tax=taxed) for taxed in (False, True)]
        keep_price_book(self.database, _BOOK, clock.now())
        self._ingest = Ingest(
            self.database, Rater(_BOOK), max_age=timedelta(days=400), max_future=timedelta(minutes=5)
        )

    def close(self) -> None:
        clock.run_ahead(timedelta(0))
        self.database.close()
        self.owner.close()
        for gateway in self._gateways:
            gateway.close()

    def begin(self, *, taxed: bool) -> None:
        """A new account, an empty processor, and the clock set right."""
        self.ahead = timedelta(0)
        clock.run_ahead(self.ahead)
        self.there.begin(TAX_PERCENT if taxed else "0")
        self.owner.execute(f"TRUNCATE {self._tables} CASCADE".encode())
        gateway = MortalGateway.over(self._gateways[taxed], self.fate)
        self.cashier = Cashier(self.database, gateway, POLICY._replace(auto=AUTO), RETURN_URL)
        self.account_id = create_account(self.database, "Ada").account.account_id
        # Less what was given otherwise than by top-ups.
        self.spent = Decimal(0)
        # How often the customer asked for auto top-up since somebody looked.
        self.asked_on = 0
        # Of these, how often the balance was below the threshold already.
        self.asked_low = 0
        self.asked_below: set[Decimal] = set()
        self.told: set[str] = set()
        self._number = 0

    def ours(
        self,
        use_case: Callable[[], T],
        mishap: Mishap | None = None,
        meanwhile: Callable[[int], None] | None = None,
    ) -> T | MeteringError | Crash:
        """What the use case answers, or why it did not: the mishap, or the product's own no."""
        with self.fate.awaits(mishap, meanwhile or self.happen):
            try:
                return use_case()
            except Unavailable:  # nobody holds a lock here for longer than a moment
                raise
            except (MeteringError, Crash) as error:
                return error

    def pass_time(self, span: timedelta) -> None:
        """Here and at the processor, whose clock is this process's."""
        self.ahead += span
        clock.run_ahead(self.ahead)

    def rows(self, query: str, *given: object) -> list[Row]:
        """What stands in the database."""
        return self.owner.execute(query.encode(), given).fetchall()

    @property
    def posted(self) -> Decimal:
        (row,) = self.rows("SELECT posted_usd FROM balances")
        return Decimal(row["posted_usd"])

    @property
    def auto(self) -> Row:
        """What is asked of auto top-up; empty where nothing is."""
        return next(iter(self.rows("SELECT * FROM auto_topups")), {})

    def top_ups(self) -> list[Row]:
        return self.rows("SELECT * FROM top_ups ORDER BY created_at, id")

    # What the customer does.

    def open(self, amount: Decimal, key: str, *, saves_card: bool, mishap: Mishap | None = None) -> None:
        wanted = WantedTopUp(to_pico(amount), saves_card)
        self.ours(lambda: create_top_up(self.cashier, self.account_id, wanted, key), mishap)

    def spend(self, dollars: Decimal) -> None:
        """Use at least so much."""
        self._number += 1
        tokens = math.ceil(dollars / DOLLARS_PER_MILLION * 1_000_000)
        event = {
            "id": f"event-{self._number}",
            "account_id": self.account_id,
            "created_at": clock.now().isoformat(),
            "model": "chat",
            "status": "success",
            "usage": {"prompt_tokens": tokens},
        }
        (received,) = read_events(json.dumps(event).encode(), "application/json", {}, clock.now())
        assert isinstance(received.event, UsageEvent), received
        self._ingest.record([self._ingest.prepare(received.event, clock.now())])
        self.spent += tokens * DOLLARS_PER_MILLION / 1_000_000

    def fall_below(self, dollars: Decimal) -> None:
        """Use what is above so much, and a little more."""
        if self.posted >= dollars:
            self.spend(self.posted - dollars + Decimal("0.5"))

    def rise_above(self, dollars: Decimal) -> None:
        """Be given what is missing, and a little more."""
        if self.posted < dollars:
            self._number += 1
            amount = dollars - self.posted + Decimal("0.5")
            wanted = Wanted("paid", to_pico(amount), "bank transfer", "finance")
            grant_credit(self.database, self.account_id, wanted, f"grant-{self._number}")
            self.spent -= amount

    def turn(self, is_enabled: bool, mishap: Mishap | None = None, **changes: str) -> bool:
        """Ask for auto top-up on or off: whether that was taken."""
        asked: Any = {name: to_pico(value) for name, value in changes.items()}
        asked["is_enabled"] = is_enabled
        self.asked_on += is_enabled
        is_low = self._is_low(asked)
        answer = self.ours(lambda: set_auto_topup(self.cashier, self.account_id, asked), mishap)
        self.asked_low += is_enabled and (is_low or self._is_low(asked))
        if is_enabled and self.auto:
            self.asked_below.add(self.auto["threshold_usd"])
        return not isinstance(answer, MeteringError | Crash)

    def _is_low(self, asked: dict[str, int]) -> bool:
        """Whether what is asked for is bought at once."""
        threshold_pico = asked.get("threshold_pico") or to_pico(self.auto.get("threshold_usd", 0))
        return to_pico(self.posted) < threshold_pico

    def save_card(self, kind: str) -> None:
        """Save a card as the processor's page does; whether it is known here is another matter."""
        customer = self.ours(lambda: obtain_customer(self.cashier, self.account_id))
        if isinstance(customer, str):
            self.there.save_card(kind, customer)

    def cards(self) -> list[Row]:
        return self.rows("SELECT * FROM cards WHERE removed_at IS NULL ORDER BY created_at, id")

    def remove_card(self, place: int, mishap: Mishap | None = None) -> None:
        if card := at(self.cards(), place):
            self.ours(lambda: remove_card(self.cashier, self.account_id, card["id"]), mishap)

    def refund(self, place: int, part: int, key: str, mishap: Mishap | None = None) -> None:
        """Refund so many fifths of what was paid, all that can be where that is 0."""
        top_up = at([row for row in self.top_ups() if row["state"] == "succeeded"], place)
        if top_up is None:
            return
        amount = round(top_up["amount_usd"] * part / 5, 2)
        wanted = WantedRefund(to_pico(amount) if part else None, "unused", "finance")
        before = self.rows("SELECT id FROM refunds")
        top_up_id = str(top_up["id"])
        answer = self.ours(
            lambda: create_refund(self.cashier, self.account_id, top_up_id, wanted, key), mishap
        )
        if isinstance(answer, NotRefundable):
            assert self.rows("SELECT id FROM refunds") == before
        elif isinstance(answer, tuple) and answer[1] and mishap is None:
            (taken,) = self.rows(_OWN, answer[0].id)
            assert to_pico(taken["usd"]) == answer[0].credit_pico + answer[0].bonus_pico, "used, and refunded"

    # What is told, and what the worker does.

    def deliver(self, event: Row, mishap: Mishap | None = None) -> None:
        """The webhook of an event, settled behind its answer."""
        body = json.dumps(shown(event)).encode()
        message = self.ours(lambda: receive(self.cashier, body, signature(body)))
        self.told.add(event["id"])
        if isinstance(message, Message):
            self.ours(lambda: settle_message(self.cashier, message.id), mishap)

    def untold(self) -> list[Row]:
        return [event for event in self.there.kept("event") if event["id"] not in self.told]

    def tell_all(self) -> None:
        for event in self.untold():
            self.deliver(event)

    def buy(self, mishap: Mishap | None = None) -> None:
        self.ours(lambda: buy_due(self.cashier, threads=1), mishap)

    def settle(self, place: int, mishap: Mishap | None = None) -> None:
        if top_up := at(self.top_ups(), place):
            self.ours(lambda: settle(self.cashier, self.account_id, str(top_up["id"])), mishap)

    def work(self, job: str, mishap: Mishap | None = None) -> None:
        """Run a job of the worker's."""
        jobs: dict[str, Callable[[], object]] = {
            "settle_pending": lambda: [settle_message(self.cashier, one) for one in self.due_messages()],
            "sweep": lambda: sweep(self.cashier),
            "settle_open": lambda: settle_open(self.cashier),
            "finish_refunds": lambda: finish_refunds(self.cashier),
            "resume_paused": lambda: resume_paused(self.database),
            "sync_cards": lambda: sync_cards(self.cashier, self.account_id),
        }
        self.ours(jobs[job], mishap)

    def due_messages(self) -> list[str]:
        query = "SELECT id FROM processor_events WHERE state = 'pending' AND next_attempt_at <= %s"
        return [row["id"] for row in self.rows(query, clock.now())]

    def come_to_rest(self, spans: tuple[timedelta, ...]) -> None:
        """Let the worker do all its work, again and again while time passes."""
        for span in spans:
            self.pass_time(span)
            self.ours(lambda: sweep(self.cashier))
            self.ours(lambda: settle_pending(self.cashier))
            for job in ("settle_open", "finish_refunds", "resume_paused"):
                self.work(job)
            self.buy()
            allocate_all(self.database)

    def happen(self, number: int) -> None:
        """Something else, while a use case waits for the processor."""
        others: list[Callable[[], object]] = [
            lambda: None,
            lambda: self.there.move_dispute(0, ("win", "lose")[number % 2]),
            lambda: self.there.move_refund(0, fails=bool(number % 2)),
            lambda: self.there.pay(0, GOOD),
            lambda: self.there.refund(0, 1 + number % 5),
            lambda: self.there.dispute(0, 5),
            lambda: self.there.move_payment(0, fails=bool(number % 2)),
            lambda: self.refund(0, number % 6, f"meanwhile-{number}"),
            lambda: self.fall_below(Decimal(10)),
            lambda: self.turn(bool(number % 2)),
            lambda: self.remove_card(0),
            self._settle_several,
            self._another_worker,
        ]
        others[number % len(others)]()
        # The processor may tell of it before it has answered the call that is under way.
        if number % 3:
            self.tell_all()

    def _settle_several(self) -> None:
        for place in range(3):
            self.settle(place)

    def _another_worker(self) -> None:
        """It takes over what it thinks nobody works at."""
        self.pass_time(LEASE + timedelta(seconds=1))
        self.buy()
        self.work("finish_refunds")
