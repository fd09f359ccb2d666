"""Everything that money comes in by, as processes of their own: the service, its worker and a Stripe."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from metering.money import to_pico
from metering.services.accounts import create_account
from metering.services.api_keys import create_api_key
from metering.services.grants import Wanted, grant_credit
from metering.services.service_tokens import Scope, create_service_token
from metering.storage.database import Database
from metering.storage.payment_customers import find_customer
from tests.crash.service import PATIENCE_SECONDS, Answer, Line, Service, free_port
from tests.simulator.control import Control
from tests.simulator.fixtures import KEY, SECRET

Found = TypeVar("Found")
_LOOK_SECONDS: Final = 0.1


class Customer(NamedTuple):
    """An account, its API key, and where its mails go."""

    account_id: str
    key: str
    email: str | None


class Town:
    """The processes over one database; each can be killed, and started again on the same ports and files.

    `mail_url` is where the worker sends mails; `environment` has METERING_ variables of service and worker.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        database_url: str,
        mail_url: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.database = database
        port = free_port()
        self.stripe_url = f"http://127.0.0.1:{port}"
        self.control = Control(self.stripe_url)
        given = {
            "METERING_DATABASE_URL": database_url,
            "METERING_STRIPE_API_KEY": KEY,
            "METERING_STRIPE_WEBHOOK_SECRET": SECRET,
            "METERING_STRIPE_API_BASE": self.stripe_url,
            "METERING_MAIL_URL": mail_url,
            **(environment or {}),
        }
        self.service = Service(folder / "service.log", given)
        self.url = f"http://127.0.0.1:{self.service.port}"
        public = {"METERING_PUBLIC_URL": self.url, **given}
        self.worker = Service(folder / "worker.log", public, "worker")
        self.stripe = Service(
            folder / "stripe.log",
            {},
            *("stripe-simulator", "--port", str(port), "--data", str(folder / "stripe.jsonl")),
            *("--webhook-url", f"{self.url}/webhooks/stripe", "--webhook-secret", SECRET),
        )
        _, self.token = create_service_token(database, name="tests", scopes=tuple(Scope))

    def start(self) -> None:
        """Start what isn't running, and wait until it answers; the worker is at work a moment later."""
        if not self.stripe.is_running:
            self.stripe.log.unlink(missing_ok=True)
            self.stripe.launch()
            self.stripe.wait_until_said(self.stripe_url)
        if not self.service.is_running:
            self.service.start()
        if not self.worker.is_running:
            self.worker.launch()

    def stop(self) -> None:
        """Stop everything as a deployment does."""
        self.control.close()
        for process in (self.worker, self.service, self.stripe):
            if process.is_running:
                process.tell(signal.SIGTERM)
                process.ended()

    def new_customer(self, email: str | None = None, *, name: str = "Ada", credit: str = "0") -> Customer:
        """An account with a key, and so much promotional credit."""
        account_id = create_account(self.database, name, email=email).account.account_id
        if to_pico(credit):
            wanted = Wanted("promotional", to_pico(credit), "a test", "tests", 100, None)
            grant_credit(self.database, account_id, wanted, "opening")
        return Customer(account_id, create_api_key(self.database, account_id, prefix="sk-test-")[1], email)

    def ask(self, who: Customer | None, method: str, path: str, body: object = None) -> Answer:
        """Call the service as a customer; None is the gateway, with its service token."""
        with Line(self.service.port, self.token if who is None else who.key) as line:
            return line.ask(method, path, body)

    def got(self, who: Customer | None, path: str) -> Any:  # noqa: ANN401  (JSON)
        """What is there."""
        return _good(self.ask(who, "GET", path))

    def sent(self, who: Customer | None, path: str, body: object, method: str = "POST") -> Any:  # noqa: ANN401  (JSON)
        """What the call answers, which must go well."""
        return _good(self.ask(who, method, path, body))

    def use(self, customer: Customer, id: str, tokens: int) -> Any:  # noqa: ANN401  (JSON)
        """The result of a usage event of so many tokens."""
        usage = {"prompt_tokens": tokens, "completion_tokens": 0}
        event = {"id": id, "account_id": customer.account_id, "model": "qwen3-max", "usage": usage}
        return self.sent(None, "/v1/usage/events", event)["results"][0]

    def charges(self, customer: Customer) -> int:
        """How often the customer was charged, by the payment processor's own count."""
        with self.database.snapshot() as connection:
            theirs = find_customer(connection, customer.account_id)
        return int(self.control.counts()["charges_by_customer"].get(theirs, 0))


@contextmanager
def open_town(
    folder: Path,
    database: Database,
    database_url: str,
    mail_url: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Town]:
    """A town that is running, as long as the block lasts."""
    town = Town(folder, database, database_url, mail_url, environment)
    try:
        town.start()
        yield town
    finally:
        town.stop()


def wait_for(find: Callable[[], Found | None], what: str) -> Found:
    """What is found once it is there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := find()):
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(_LOOK_SECONDS)
    return found


def _good(answer: Answer) -> Any:  # noqa: ANN401  (JSON)
    assert answer.status in {200, 201}, answer
    return answer.body
