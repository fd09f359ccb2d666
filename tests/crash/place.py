"""Where money comes in: service, worker, payment processor and post, of which ours can die at any point."""

from __future__ import annotations

import threading
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final, NamedTuple

import psycopg

from metering.services.audit import check_books
from tests.crash.service import LOST, PATIENCE_SECONDS, Answer
from tests.crash.stalling import StallingPost
from tests.payments.town import Customer, Town, wait_for

# Longer than anybody waits: who hangs there is killed. A call that has no effect is over sooner, for as long
# as it is under way nobody else may use its key.
_HANG_SECONDS: Final = {"before": 2, "after": 3_600}
# What was taken by a worker that was killed is nobody's again: here at once, in life within minutes.
_END_LEASES: Final = (
    "UPDATE jobs SET leased_until = now() WHERE leased_until > now()",
    "UPDATE top_ups SET next_attempt_at = now() WHERE state = 'open' AND origin = 'auto'",
    "UPDATE processor_events SET next_attempt_at = now() WHERE state = 'pending'",
    "UPDATE mails SET next_attempt_at = now() WHERE state IN ('waiting', 'sending')",
)
_PAYMENTS: Final = "/v1/(payment_intents|checkout/sessions)/.*"
_TAKE_JOB: Final = """
    INSERT INTO jobs (name, leased_by, leased_until) VALUES (%s, 'elsewhere', now() + interval '1 hour')
        ON CONFLICT (name) DO UPDATE SET leased_by = excluded.leased_by, leased_until = excluded.leased_until
"""
_UNDONE: Final = """
    SELECT (SELECT count(*) FROM top_ups WHERE state = 'open')
         + (SELECT count(*) FROM processor_events WHERE state = 'pending')
         + (SELECT count(*) FROM mails WHERE state IN ('waiting', 'sending'))
"""
_CREDITS: Final = "SELECT count(*) FROM transfers WHERE account_id = %s AND kind = 'top_up'"
_CUSTOMER: Final = "SELECT customer_id FROM payment_customers WHERE account_id = %s"
_POSTED: Final = "SELECT posted_usd FROM balances WHERE account_id = %s"


class Place(NamedTuple):
    """A town with its post, and its database for who looks closer."""

    town: Town
    post: StallingPost
    url: str

    def find(self, query: str, *given: object) -> Any:  # noqa: ANN401  (a database value)
        """The one value that the query finds; None where there is no row."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query.encode(), given).fetchone()
        return None if row is None else row[0]

    def hang(self, when: str, path: str) -> None:
        """Let a call to the processor hang, `before` it has its effect there or `after`."""
        self.town.control.fault("timeout", when=when, path=path, seconds=_HANG_SECONDS[when])

    def hang_readers(self) -> None:
        """Let everybody hang who asks the processor how a payment stands."""
        self.town.control.fault("timeout", method="GET", path=_PAYMENTS, times=None, seconds=3_600)

    def hold_messages(self, *, duplicate: int = 0) -> None:
        """Let the processor tell nothing until `revive`."""
        self.town.control.webhooks(hold=True, duplicate=duplicate)

    def release(self, type: str) -> None:
        """Let it tell what is of this type."""
        for sent in self.town.control.deliveries():
            if (sent["type"], sent["status"]) == (type, "held"):
                self.town.control.release(sent["event_id"])

    def wait_until_hung(self, number: int = 0) -> None:
        """Wait until a call hangs, by the fault of that number."""
        wait_for(lambda: self.town.control.faults()[number]["hits"], "a call that hangs")

    def take_job(self, name: str) -> None:
        """Let the worker that starts next leave this job to another."""
        with psycopg.connect(self.url) as connection:
            connection.execute(_TAKE_JOB, [name])

    def kill(self) -> None:
        """Kill all that is ours."""
        for process in (self.town.worker, self.town.service):
            if process.is_running:
                process.kill()

    def revive(self) -> None:
        """Start it again. Nothing goes wrong from now on; what was held is told, the last of it first."""
        self.town.control.clear_faults()
        self.town.control.webhooks()
        with psycopg.connect(self.url) as connection:
            for statement in _END_LEASES:
                connection.execute(statement.encode())
        if not self.town.worker.is_running:
            self.town.worker.launch()  # beside the service: both take a second
        self.town.start()
        self.town.control.release(order="newest")

    def wait_until_done(self) -> None:
        """Wait until everything that was begun has ended."""
        self.town.control.wait_for_deliveries(PATIENCE_SECONDS)
        wait_for(lambda: self.find(_UNDONE) == 0, "the end of everything")

    def check(self) -> None:
        """No law of the books is broken, and nothing failed but calls."""
        assert check_books(self.town.database) == []
        for process in (self.town.service, self.town.worker):
            assert '"level": "error"' not in process.said(), process.said()


class Buyer:
    """Somebody who is to be charged, credited and mailed once."""

    opening = "10.2"
    credit = Decimal(0)

    def __init__(self, place: Place, email: str) -> None:
        self.place, self.town = place, place.town
        self.customer: Customer = self.town.new_customer(email, credit=self.opening)
        self._used = Decimal(0)

    def check(self, *, copies: int = 1) -> None:
        """Charged once, credited once, and one receipt in so many copies."""
        account_id = self.customer.account_id
        charged = self.town.control.counts()["charges_by_customer"]
        assert charged[self.place.find(_CUSTOMER, account_id)] == 1
        assert self.place.find(_CREDITS, account_id) == 1
        expected = Decimal(self.opening) - self._used + self.credit
        assert self.place.find(_POSTED, account_id) == expected
        receipts = self.place.post.receipts(self.customer.email or "")
        assert list(receipts.values()) == [copies], self.place.post.taken

    def resume(self) -> None:
        """Go on after everything died."""


class AutoBuyer(Buyer):
    """One whose card is charged once the balance has fallen."""

    credit = Decimal(50)

    def __init__(self, place: Place, email: str) -> None:
        super().__init__(place, email)
        page = self.town.sent(self.customer, "/v1/account/payment_methods", {})
        self.town.control.pay(_session(page["url"]))
        asked = {"enabled": True, "threshold": 10, "amount": 50}
        self.town.sent(self.customer, "/v1/account/auto_topup", asked, method="PUT")

    def fall(self) -> None:
        """Use what takes the balance below the threshold."""
        result = self.town.use(self.customer, "fall", 200_000)
        self._used = result["cost_usd"]
        assert result["balance"] < 10


class PageBuyer(Buyer):
    """One who pays on the processor's page, and asks again until there is one."""

    credit = Decimal(1_050)

    def __init__(self, place: Place, email: str) -> None:
        super().__init__(place, email)
        self._has_paid = False

    def begin(self) -> None:
        """Ask for a page, and hear nothing of it."""

        def ask() -> None:
            with suppress(*LOST):
                self._ask()

        threading.Thread(target=ask, daemon=True).start()

    def pay(self) -> None:
        """Ask for a page, and pay on it."""
        answer = self._ask()
        assert answer.status in {200, 201}, answer
        self.town.control.pay(_session(answer.body["url"]))
        self._has_paid = True

    def resume(self) -> None:
        if not self._has_paid:
            self.pay()

    def _ask(self) -> Answer:
        wanted = {"amount": 1_000, "idempotency_key": "once"}
        return self.town.ask(self.customer, "POST", "/v1/account/top_ups", wanted)


def _session(url: str) -> str:
    return url.rsplit("/", 1)[1]
