"""However messages come - twice, in any order, late, early, never - each payment is credited once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import repeat
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from metering import clock
from metering.errors import PaymentsUnavailable
from metering.money import PICO_PER_USD
from metering.payments.gateway import Message
from metering.services.accounts import create_account
from metering.services.cards import open_card_setup
from metering.services.cashier import Cashier
from metering.services.processor_events import receive, settle_message, settle_pending, sweep
from metering.services.top_ups import WantedTopUp, create_top_up
from metering.storage import cards
from metering.storage.database import driver
from tests.payments.fixtures import cashier, gateway, simulator_process, stripe_simulator
from tests.payments.messages import event, messages_of, signature
from tests.simulator.fixtures import RunningSimulator

__all__ = ["cashier", "gateway", "simulator_process", "stripe_simulator"]

TEN = 10 * PICO_PER_USD


@pytest.fixture(autouse=True)
def true_clock() -> Iterator[None]:
    """The clock as it is, after a test has moved it."""
    yield
    clock.run_ahead(timedelta(0))


@pytest.fixture
def account_id(cashier: Cashier) -> str:
    """A new account."""
    return create_account(cashier.database, "Ada").account.account_id


def buy(cashier: Cashier, simulator: RunningSimulator, account_id: str) -> str:
    """Ten dollars, paid on the processor's page, and nobody has heard of it: the top-up."""
    view, _ = create_top_up(cashier, account_id, WantedTopUp(TEN, False, None, None), None)
    assert view.top_up.session_id is not None
    simulator.control.pay(view.top_up.session_id)
    return view.top_up.id


def hand_over(cashier: Cashier, message: Message) -> None:
    """The webhook of a message, settled behind its answer."""
    body = message.payload.encode()
    if received := receive(cashier, body, signature(body)):
        settle_message(cashier, received.id)


def credited(database_url: str) -> tuple[int, Any]:
    """How many top-ups were credited, and the sum of all balances."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM transfers WHERE kind = 'top_up'), sum(posted_usd) FROM balances"
        ).fetchone()
    assert row is not None
    return row


def kept(database_url: str) -> list[tuple[Any, ...]]:
    """(type, state, failure, is_swept) of all messages, in the order in which they occurred."""
    with psycopg.connect(database_url) as connection:
        query = "SELECT type, state, failure, is_swept FROM processor_events ORDER BY occurred_at, type"
        return connection.execute(query).fetchall()


def counted(outcome: str) -> float:
    labels = {"outcome": outcome}
    return REGISTRY.get_sample_value("metering_processor_messages_total", labels) or 0


@pytest.mark.parametrize("seed", range(6))
def test_messages_in_any_order_and_twice_credit_once(
    cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str, database_url: str, seed: int
) -> None:
    buy(cashier, stripe_simulator, account_id)
    messages = 2 * messages_of(cashier)
    random.Random(seed).shuffle(messages)
    for message in messages:
        hand_over(cashier, message)
    assert credited(database_url) == (1, 10)
    states = {state for _, state, _, _ in kept(database_url)}
    assert states == {"settled", "ignored"}


def test_each_single_message_of_a_payment_that_succeeded_credits_it(
    cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str, database_url: str
) -> None:
    types = ("payment_intent.succeeded", "charge.succeeded", "charge.updated", "checkout.session.completed")
    for paid, type_ in enumerate(types, 1):
        top_up_id = buy(cashier, stripe_simulator, account_id)
        for message in messages_of(cashier, type_):
            if message.top_up_id == top_up_id:
                hand_over(cashier, message)
        assert credited(database_url) == (paid, 10 * paid), type_


def test_a_payment_is_credited_though_the_call_that_made_its_page_was_never_answered(
    cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str, database_url: str
) -> None:
    stripe_simulator.control.fault("timeout", when="after", path="/v1/checkout/sessions")
    with pytest.raises(PaymentsUnavailable):
        create_top_up(cashier, account_id, WantedTopUp(TEN, False, None, None), "k")
    (session,) = stripe_simulator.client().v1.checkout.sessions.list().data
    stripe_simulator.control.pay(session.id)
    for message in messages_of(cashier):
        hand_over(cashier, message)
    assert credited(database_url) == (1, 10)


def test_messages_about_one_payment_are_settled_together(
    cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str, database_url: str
) -> None:
    buy(cashier, stripe_simulator, account_id)
    waiting = []
    for message in messages_of(cashier):
        body = message.payload.encode()
        waiting += [receive(cashier, body, signature(body))]
    ids = [received.id for received in waiting if received]
    assert settle_message(cashier, ids[0]) == len(ids) >= 3
    assert [settle_message(cashier, message_id) for message_id in ids] == [0] * len(ids)


def test_a_message_that_fails_waits_longer_each_time_and_raises_an_alarm_after_three_days(
    cashier: Cashier, account_id: str, database_url: str
) -> None:
    ours = {"account_id": account_id, "top_up_id": str(uuid4())}
    body = event("payment_intent.succeeded", object="payment_intent", metadata=ours)
    assert receive(cashier, body, signature(body)) is not None
    waits = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(12):
            assert settle_pending(cashier) == 0
            row = connection.execute("SELECT attempts, next_attempt_at FROM processor_events").fetchone()
            assert row is not None
            waits.append(round((row[1] - clock.now()).total_seconds()))
            assert settle_pending(cashier) == 0
            clock.run_ahead(row[1] - clock.now() + clock._ahead + timedelta(seconds=1))
    assert waits[:4] == [10, 20, 40, 80]
    assert max(waits) == 3_600
    ((_, state, failure, _),) = kept(database_url)
    assert (state, failure) == ("pending", "The account has no such top-up.")
    clock.run_ahead(timedelta(days=3, hours=1))
    with capture_logs() as logs:
        assert settle_pending(cashier) == 0
    assert [line["log_level"] for line in logs] == ["error"]
    ((_, state, failure, _),) = kept(database_url)
    assert (state, failure) == ("failed", "The account has no such top-up.")
    assert settle_pending(cashier) == 0


def test_a_message_that_waited_for_days_is_not_given_up_at_its_first_failure(
    cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str, database_url: str
) -> None:
    buy(cashier, stripe_simulator, account_id)
    (message,) = messages_of(cashier, "payment_intent.succeeded")
    body = message.payload.encode()
    receive(cashier, body, signature(body))
    no_worker = timedelta(days=4)
    clock.run_ahead(no_worker)
    stripe_simulator.control.fault("error_500", method="GET")
    assert settle_pending(cashier) == 0
    clock.run_ahead(no_worker + timedelta(seconds=11))
    assert settle_pending(cashier) == 1
    assert credited(database_url) == (1, 10)


def test_what_the_processor_could_not_answer_is_settled_later(
    cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str, database_url: str
) -> None:
    buy(cashier, stripe_simulator, account_id)
    messages = messages_of(cashier, "payment_intent.succeeded")
    stripe_simulator.control.fault("error_500", method="GET", times=None)
    for message in messages:
        hand_over(cashier, message)
    assert credited(database_url) == (0, 0)
    stripe_simulator.control.clear_faults()
    assert settle_pending(cashier) == 0
    clock.run_ahead(timedelta(seconds=11))
    assert settle_pending(cashier) == 1
    assert credited(database_url) == (1, 10)


def test_workers_at_once_settle_each_message_once(
    cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str, database_url: str
) -> None:
    for _ in range(3):
        buy(cashier, stripe_simulator, account_id)
    pending = 0
    for message in messages_of(cashier):
        body = message.payload.encode()
        pending += receive(cashier, body, signature(body)) is not None
    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(settle_pending, repeat(cashier, 2))) == pending
    assert credited(database_url) == (3, 30)


@pytest.mark.parametrize(
    ("type_", "about"),
    [
        ("payout.paid", {}),
        ("payment_intent.created", {"object": "payment_intent"}),
        ("checkout.session.completed", {"object": "checkout.session", "customer": "cus_other"}),
        ("payment_method.attached", {"object": "payment_method", "customer": "cus_other"}),
        ("checkout.session.expired", {"metadata": {"account_id": "7", "top_up_id": "x"}}),
    ],
)
def test_what_is_nothing_of_ours_is_kept_and_ignored(
    cashier: Cashier, database_url: str, type_: str, about: dict[str, Any]
) -> None:
    body = event(type_, **about)
    if received := receive(cashier, body, signature(body)):
        assert settle_message(cashier, received.id) == 1
    ((found, state, failure, _),) = kept(database_url)
    assert (found, state) == (type_, "ignored")
    assert failure


def test_a_payment_of_somebody_else_is_ignored(
    cashier: Cashier, stripe_simulator: RunningSimulator, database_url: str
) -> None:
    stripe_simulator.client().v1.payment_intents.create(
        {
            "amount": 700,
            "currency": "usd",
            "confirm": True,
            "payment_method": "pm_card_visa",
            "allowed_payment_method_types": ["card"],
        }
    )
    for message in messages_of(cashier):
        hand_over(cashier, message)
    assert {state for _, state, _, _ in kept(database_url)} == {"ignored"}
    assert credited(database_url)[0] == 0


def test_a_saved_card_is_known_after_its_message(
    cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str
) -> None:
    page = open_card_setup(cashier, account_id, success_url=None, cancel_url=None)
    stripe_simulator.control.pay(page.id)
    for message in messages_of(cashier, "setup_intent.succeeded"):
        hand_over(cashier, message)
    with cashier.database.snapshot() as connection:
        assert [card.last_four for card in cards.list_cards(driver(connection), account_id)] == ["4242"]


def test_a_sweep_finds_what_never_came_once(
    cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str, database_url: str
) -> None:
    assert sweep(cashier) == 0
    buy(cashier, stripe_simulator, account_id)
    assert sweep(cashier) == 0, "what is younger than a minute is on its way"
    came = messages_of(cashier)[0]
    hand_over(cashier, came)
    before = counted("swept")
    clock.run_ahead(timedelta(minutes=2))
    with capture_logs() as logs:
        swept = sweep(cashier)
    assert swept == len(messages_of(cashier)) - 1
    assert [(line["log_level"], line["messages"]) for line in logs] == [("warning", swept)]
    assert credited(database_url) == (1, 10)
    assert sum(is_swept for *_, is_swept in kept(database_url)) == swept == counted("swept") - before
    assert sweep(cashier) == 0
    clock.run_ahead(timedelta(hours=20))
    assert sweep(cashier) == 0
    assert credited(database_url) == (1, 10)


def test_a_sweep_that_fails_looks_at_the_same_again(
    cashier: Cashier, stripe_simulator: RunningSimulator, account_id: str, database_url: str
) -> None:
    buy(cashier, stripe_simulator, account_id)
    clock.run_ahead(timedelta(minutes=2))
    stripe_simulator.control.fault("error_500", method="GET", path="/v1/events")
    with pytest.raises(PaymentsUnavailable):
        sweep(cashier)
    assert sweep(cashier) > 0
    assert credited(database_url) == (1, 10)
