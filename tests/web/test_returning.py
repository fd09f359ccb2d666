"""The page to which customers come back from paying: true without any message, silent about who they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import psycopg
import pytest
from litestar.testing import TestClient

from metering import clock
from metering.app import App, build, create_asgi
from metering.config import Settings
from metering.services.accounts import create_account
from metering.services.cashier import Cashier
from metering.services.top_ups import WantedTopUp, create_top_up
from metering.storage.database import Database
from metering.storage.top_ups import TopUp
from tests.simulator.fixtures import RunningSimulator, simulator_process, stripe_simulator

__all__ = ["simulator_process", "stripe_simulator"]

Client = TestClient[Any]
THOUSAND: Final = 1_000 * 10**12
PUBLIC: Final = "https://metering.example"
SOON: Final = timedelta(seconds=5)


@pytest.fixture
def app(database: Database, stripe_simulator: RunningSimulator) -> Iterator[App]:
    """The parts as they are configured for a payment processor; time is as it was afterwards."""
    given = {
        "METERING_STRIPE_API_KEY": stripe_simulator.key,
        "METERING_STRIPE_WEBHOOK_SECRET": stripe_simulator.secret,
        "METERING_STRIPE_API_BASE": stripe_simulator.url,
        "METERING_PUBLIC_URL": PUBLIC,
    }
    app = build(Settings.from_environment(given), database)
    yield app
    app.stop()
    clock.run_ahead(timedelta(0))


@pytest.fixture
def cashier(app: App) -> Cashier:
    """The application's own."""
    assert app.services.cashier is not None
    return app.services.cashier


@pytest.fixture
def browser(app: App) -> Iterator[Client]:
    """Somebody without a key."""
    with TestClient(create_asgi(app), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def top_up(cashier: Cashier) -> TopUp:
    """Ada's, of 1,000, open for some seconds already."""
    account = create_account(cashier.database, "Ada Lovelace", email="ada@customer.example").account
    view, _ = create_top_up(cashier, account.account_id, WantedTopUp(THOUSAND), None)
    clock.run_ahead(SOON)
    return view.top_up


def read(browser: Client, top_up: TopUp, refresh: str | None = None) -> str:
    """The words of the page about it, which looks again in so many seconds."""
    answer = browser.get("/billing", params={"top_up": top_up.id})
    assert answer.status_code == 200
    assert answer.headers.get("refresh") == refresh
    return words_of(answer.text)


def words_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def session_of(top_up: TopUp) -> str:
    assert top_up.session_id is not None
    return top_up.session_id


def test_the_payment_page_leads_here_by_default(top_up: TopUp, stripe_simulator: RunningSimulator) -> None:
    session = stripe_simulator.client().v1.checkout.sessions.retrieve(session_of(top_up))
    assert session.success_url == session.cancel_url == f"{PUBLIC}/billing?top_up={top_up.id}"


def test_what_was_paid_is_shown_though_no_message_came(
    browser: Client, top_up: TopUp, stripe_simulator: RunningSimulator
) -> None:
    assert "Waiting for your payment" in read(browser, top_up, refresh="2")
    stripe_simulator.control.pay(session_of(top_up))
    page = read(browser, top_up)
    assert "$1,050.00 of credit added" in page
    assert "Volume bonus, 5 %: $50.00 of credit" in page
    assert re.search(r"Total paid \$1,000\.00 Receipt number \S+-0001", page)


def test_tax_is_part_of_the_total(
    browser: Client, top_up: TopUp, stripe_simulator: RunningSimulator, database_url: str
) -> None:
    stripe_simulator.control.pay(session_of(top_up))
    read(browser, top_up)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE top_ups SET tax_usd = 82.5")
    assert "Tax $82.50 Total paid $1,082.50" in read(browser, top_up)


@pytest.mark.parametrize("paid", [True, False])
def test_a_bank_that_takes_days_is_waited_for(
    browser: Client, top_up: TopUp, stripe_simulator: RunningSimulator, paid: bool
) -> None:
    control = stripe_simulator.control
    payment = control.pay(session_of(top_up), method="us_bank_account")["payment_intent"]
    assert "Some banks take days" in read(browser, top_up, refresh="2")
    clock.run_ahead(timedelta(hours=1))
    assert "Some banks take days" in read(browser, top_up, refresh="60")
    (control.settle_payment if paid else control.fail_payment)(payment)
    expected = "of credit added" if paid else "did not go through Nothing was charged"
    assert expected in read(browser, top_up)


def test_a_page_that_ended_unpaid_says_that_nothing_was_charged(
    browser: Client, top_up: TopUp, stripe_simulator: RunningSimulator
) -> None:
    stripe_simulator.control.expire(session_of(top_up))
    assert "This payment was not made Nothing was charged" in read(browser, top_up)


def test_it_does_not_say_whose_it_is(
    browser: Client, top_up: TopUp, stripe_simulator: RunningSimulator
) -> None:
    stripe_simulator.control.pay(session_of(top_up))
    answer = browser.get("/billing", params={"top_up": top_up.id})
    for secret in ("Ada", "ada@", top_up.account_id, "4242", "Visa", stripe_simulator.url):
        assert secret not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("id", ["", "x", "\0", "0198c1a0-0000-7000-8000-000000000000"])
def test_an_id_that_is_none_shows_nothing(browser: Client, id: str) -> None:
    answer = browser.get("/billing", params={"top_up": id})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "There is no such top-up" in answer.text


def test_what_auto_top_up_bought_is_not_shown(browser: Client, top_up: TopUp, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE top_ups SET origin = 'auto'")
    assert browser.get("/billing", params={"top_up": top_up.id}).status_code == 404


def test_who_only_saved_a_card_is_told_so(browser: Client) -> None:
    answer = browser.get("/billing")
    assert answer.status_code == 200
    assert "You are back" in answer.text
    assert "refresh" not in answer.headers


def test_while_the_processor_is_away_the_page_shows_what_is_known(
    browser: Client, top_up: TopUp, stripe_simulator: RunningSimulator
) -> None:
    stripe_simulator.control.pay(session_of(top_up))
    stripe_simulator.control.fault("error_500", method="GET", times=None)
    assert "Waiting for your payment" in read(browser, top_up, refresh="2")
    stripe_simulator.control.clear_faults()
    assert "of credit added" in read(browser, top_up)


def test_while_the_database_is_away_it_asks_for_patience(
    browser: Client, top_up: TopUp, database_url: str, postgres_url: str
) -> None:
    name = database_url.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
    answer = browser.get("/billing", params={"top_up": top_up.id})
    assert (answer.status_code, answer.headers["refresh"]) == (503, "5")
    assert "This page tries again by itself" in answer.text
