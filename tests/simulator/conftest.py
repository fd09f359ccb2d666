"""The simulator's own tests use it as others do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulator.fixtures import RunningSimulator, simulator_process, stripe_simulator
from tests.simulator.receiver import Receiver, receiving
from tests.simulator.shop import Shop

__all__ = ["simulator_process", "stripe_simulator"]


@pytest.fixture
def shop(stripe_simulator: RunningSimulator) -> Shop:
    """A customer at a fresh simulator."""
    return Shop(stripe_simulator)


@pytest.fixture
def receiver(stripe_simulator: RunningSimulator) -> Iterator[Receiver]:
    """A receiver of all the simulator's events."""
    with receiving() as made:
        stripe_simulator.send_webhooks_to(made.url)
        yield made
