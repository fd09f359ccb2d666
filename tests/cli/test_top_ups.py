"""`metering top-ups`: what was bought, settled by hand, and given back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from metering.money import to_pico
from metering.services.accounts import create_account
from metering.services.cashier import Cashier
from metering.services.top_ups import WantedTopUp, create_top_up
from tests.cli.conftest import Run
from tests.payments.fixtures import cashier, gateway, simulator_process, stripe_simulator
from tests.simulator.fixtures import RunningSimulator

__all__ = ["cashier", "gateway", "simulator_process", "stripe_simulator"]

Told = Callable[..., dict[str, Any]]


@pytest.fixture
def told(run: Run, stripe_simulator: RunningSimulator) -> Told:
    """The JSON that `metering top-ups` answers, told of the payment processor."""

    def told(*arguments: str) -> dict[str, Any]:
        answer = run(
            "top-ups",
            *arguments,
            METERING_STRIPE_API_KEY=stripe_simulator.key,
            METERING_STRIPE_WEBHOOK_SECRET=stripe_simulator.secret,
            METERING_STRIPE_API_BASE=stripe_simulator.url,
        )
        assert answer.returncode == 0, answer.stderr
        body: dict[str, Any] = json.loads(answer.stdout) if "--json" in arguments else {"text": answer.stdout}
        return body

    return told


def test_a_top_up_is_settled_shown_and_refunded(
    cashier: Cashier, stripe_simulator: RunningSimulator, told: Told, run: Run
) -> None:
    account_id = create_account(cashier.database, "Ada").account.account_id
    view, _ = create_top_up(cashier, account_id, WantedTopUp(to_pico("1000")), None)
    top_up_id = view.top_up.id
    stripe_simulator.control.pay(str(view.top_up.session_id))
    assert told("list", account_id, "--json")["state"] == "open"
    settled = told("settle", account_id, top_up_id, "--json")
    assert (settled["state"], settled["bonus"]) == ("succeeded", "50")
    refund = "refund", account_id, top_up_id, "--reason", "not needed", "--idempotency-key", "k"
    first = told(*refund, "--amount", "400", "--json")
    assert (first["state"], first["bonus"], first["is_new"]) == ("succeeded", "20", True)
    assert not told(*refund, "--amount", "400", "--json")["is_new"]
    shown = told("show", account_id, top_up_id, "--json")
    assert (shown["refunded"], [one["refund"] for one in shown["refunds"]]) == ("400", [first["refund"]])
    assert "not needed" in told("show", account_id, top_up_id)["text"]
    assert "Visa" in told("list", account_id)["text"]
    assert "600" in told("refund", account_id, top_up_id, "--reason", "the rest")["text"]
    assert run("ledger", "check").returncode == 0


def test_a_dispute_is_shown_with_what_it_took(
    cashier: Cashier, stripe_simulator: RunningSimulator, told: Told
) -> None:
    account_id = create_account(cashier.database, "Ada").account.account_id
    view, _ = create_top_up(cashier, account_id, WantedTopUp(to_pico("1000")), None)
    key = account_id, view.top_up.id
    stripe_simulator.control.pay(str(view.top_up.session_id))
    payment_id = told("settle", *key, "--json")["payment_id"]
    (charge,) = stripe_simulator.client().v1.charges.list({"payment_intent": payment_id}).data
    dispute_id = stripe_simulator.control.dispute(charge.id, reason="fraudulent")["id"]
    (opened,) = told("settle", *key, "--json")["disputes"]
    assert (opened["dispute"], opened["stage"], opened["amount"]) == (dispute_id, "frozen", "1000")
    assert (opened["credit"], opened["bonus"]) == ("0", "0")
    stripe_simulator.control.lose(dispute_id)
    (lost,) = told("settle", *key, "--json")["disputes"]
    assert (lost["stage"], lost["credit"], lost["bonus"], lost["reason"]) == (
        "lost",
        "1000",
        "50",
        "fraudulent",
    )
    assert dispute_id in told("show", *key)["text"]


def test_a_refund_that_the_processor_refuses_is_an_exit_code(
    cashier: Cashier, stripe_simulator: RunningSimulator, told: Told, run: Run
) -> None:
    account_id = create_account(cashier.database, "Ada").account.account_id
    view, _ = create_top_up(cashier, account_id, WantedTopUp(to_pico("10")), None)
    stripe_simulator.control.pay(str(view.top_up.session_id))
    payment_id = told("settle", account_id, view.top_up.id, "--json")["payment_id"]
    (charge,) = stripe_simulator.client().v1.charges.list({"payment_intent": payment_id}).data
    # Nobody has told us of it yet.
    stripe_simulator.control.dispute(charge.id)
    refused = run(
        *("top-ups", "refund", account_id, view.top_up.id, "--reason", "x", "--json"),
        METERING_STRIPE_API_KEY=stripe_simulator.key,
        METERING_STRIPE_WEBHOOK_SECRET=stripe_simulator.secret,
        METERING_STRIPE_API_BASE=stripe_simulator.url,
    )
    assert (refused.returncode, json.loads(refused.stdout)["state"]) == (1, "failed")
    assert "refuses" in refused.stderr


def test_without_a_processor_a_refund_is_refused_and_the_list_is_shown(cashier: Cashier, run: Run) -> None:
    account_id = create_account(cashier.database, "Ada").account.account_id
    view, _ = create_top_up(cashier, account_id, WantedTopUp(to_pico("10")), None)
    assert view.top_up.id in run("top-ups", "list", account_id).stdout
    refused = run("top-ups", "refund", account_id, view.top_up.id, "--reason", "x")
    assert refused.returncode != 0
    assert "METERING_STRIPE_API_KEY" in refused.stderr
    assert "Traceback" not in refused.stderr
