"""Whatever order our calls, the processor's events, faults and crashes come in: money in ends the same."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.services.money_in_machine import Machine
from tests.services.money_in_world import World
from tests.simulator.fixtures import RunningSimulator


@pytest.fixture
def world(stripe_simulator: RunningSimulator, database_url: str) -> Iterator[World]:
    """The product over an empty database, and the processor."""
    world = World(stripe_simulator, database_url)
    yield world
    world.close()


def test_money_in_ends_as_the_processor_says_whatever_breaks_meanwhile(world: World) -> None:
    run_state_machine_as_test(
        partial(Machine, world),  # type: ignore[arg-type]  # any maker will do
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
