"""Use cases over a real database, and over a payment processor on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from metering import clock
from metering.services.audit import check_books
from metering.services.cashier import Cashier
from tests.payments.fixtures import cashier, gateway, simulator_process, stripe_simulator
from tests.services.buying import Buyer
from tests.services.till import Till
from tests.simulator.fixtures import RunningSimulator

__all__ = ["cashier", "gateway", "simulator_process", "stripe_simulator"]


@pytest.fixture
def till(cashier: Cashier, stripe_simulator: RunningSimulator) -> Iterator[Till]:
    """A customer who buys; time is as it was afterwards."""
    yield Till(cashier, stripe_simulator)
    clock.run_ahead(timedelta(0))


@pytest.fixture
def buyer(cashier: Cashier, stripe_simulator: RunningSimulator, database_url: str) -> Iterator[Buyer]:
    """A customer with $20; at the end time is put back, and the books keep their laws."""
    buyer = Buyer(cashier, stripe_simulator, database_url)
    buyer.grant("20")
    yield buyer
    clock.run_ahead(timedelta(0))
    assert check_books(buyer.database) == []


@pytest.fixture
def fallen(buyer: Buyer) -> Buyer:
    """A customer whose balance has just fallen to 9, below 10, where 50 are to be bought."""
    buyer.save_card()
    buyer.turn_on()
    buyer.use(11)
    return buyer
