"""The room's tests talk to the simulator through the product's own gateway."""

from __future__ import annotations

from tests.payments.fixtures import cashier, gateway, simulator_process, stripe_simulator

__all__ = ["cashier", "gateway", "simulator_process", "stripe_simulator"]
