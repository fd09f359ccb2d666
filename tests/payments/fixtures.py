"""A cashier over a fresh database and a fresh Stripe on loopback: import all four names of `__all__`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from metering.config import Settings
from metering.payments.stripe_gateway import StripeGateway
from metering.pricing.loader import load_policy
from metering.pricing.top_ups import TopUpPolicy
from metering.services.cashier import Cashier
from metering.storage.database import Database
from tests.simulator.fixtures import RunningSimulator, simulator_process, stripe_simulator

__all__ = ["cashier", "gateway", "simulator_process", "stripe_simulator"]

RETURN_URL = "http://127.0.0.1:8080/billing"
POLICY: TopUpPolicy = load_policy(Settings.from_environment({}).price_book)


def gateway_to(simulator: RunningSimulator, *, collects_tax: bool = False) -> StripeGateway:
    """The product's gateway, over the unchanged SDK, to a simulator."""
    return StripeGateway(
        simulator.key,
        simulator.secret,
        descriptor=POLICY.statement_descriptor,
        base_url=simulator.url,
        collects_tax=collects_tax,
    )


@pytest.fixture
def gateway(stripe_simulator: RunningSimulator) -> Iterator[StripeGateway]:
    """A gateway to `stripe_simulator`."""
    gateway = gateway_to(stripe_simulator)
    yield gateway
    gateway.close()


@pytest.fixture
def cashier(database: Database, gateway: StripeGateway) -> Cashier:
    """A cashier over `database` and `stripe_simulator`."""
    return Cashier(database, gateway, POLICY, RETURN_URL)
