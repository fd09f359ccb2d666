"""A Stripe simulator for tests: import both `simulator_process` and `stripe_simulator`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

import httpx
import pytest
import stripe

from metering.payments.simulator.server import Simulator
from metering.payments.simulator.webhook_endpoints import make_endpoint
from tests.simulator.control import Control

KEY = "sk_test_simulated"
SECRET = "whsec_simulated"


@dataclass(frozen=True)
class RunningSimulator:
    """A simulator in a thread of the tests, empty at each test's start."""

    simulator: Simulator
    control: Control
    secret: str = SECRET
    key: str = KEY

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.simulator.url

    def client(self, key: str = KEY, *, retries: int = 0) -> stripe.StripeClient:
        """The unchanged SDK, pointed at it."""
        return stripe.StripeClient(key, base_addresses={"api": self.url}, max_network_retries=retries)

    def send_webhooks_to(self, url: str, events: Sequence[str] = ("*",)) -> str:
        """Deliver events there, signed with `secret`; the endpoint's id. Forgotten at the next reset."""
        with self.simulator.state.lock:
            made = make_endpoint(self.simulator.state, url, self.secret, enabled_events=list(events))
        return str(made["id"])

    @contextmanager
    def tax(self, percent: str) -> Iterator[Decimal]:
        """Sessions with automatic tax have this tax, for a while."""
        settings = self.simulator.state.settings
        settings.tax_percent = Decimal(percent)
        yield settings.tax_percent
        settings.tax_percent = Decimal(0)

    def call(
        self, method: str, path: str, data: dict[str, str] | None = None, **headers: str
    ) -> httpx.Response:
        """A call without the SDK, for what the SDK would not send."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with httpx.Client(base_url=self.url, trust_env=False) as http:
            return http.request(method, path, data=data, headers={"authorization": f"Bearer {KEY}", **named})


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[RunningSimulator]:
    """One simulator for the whole run; use `stripe_simulator`, which empties it."""
    with Simulator() as simulator:
        control = Control(simulator.url)
        yield RunningSimulator(simulator, control)
        control.close()


@pytest.fixture
def stripe_simulator(simulator_process: RunningSimulator) -> RunningSimulator:
    """A fresh Stripe on loopback."""
    simulator_process.control.reset()
    return simulator_process
