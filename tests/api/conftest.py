"""The whole application: over a fresh database, without a socket; or `live`, shared by the run, with one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from metering.app import App, build, create_asgi
from metering.config import Settings
from metering.payments.simulator.server import Simulator
from metering.pricing.book import PriceBook
from metering.pricing.compiler import compile_book
from metering.pricing.loader import load, read_documents
from metering.services.accounts import create_account
from metering.services.api_keys import create_api_key
from metering.services.service_tokens import Scope, create_service_token
from metering.storage.database import Database
from tests.api.live import Customer, Live, payments_of, running
from tests.conftest import other_database, run_sql

Client = TestClient[Any]


@pytest.fixture(scope="session")
def price_book() -> PriceBook:
    """The book that comes with the product."""
    return load(Settings.from_environment({}).price_book)


@pytest.fixture(scope="session")
def example_book() -> PriceBook:
    """A small book, at whose prices the contract's example comes out."""
    chat = [
        {"charge": "Request", "model": "flat", "per": "request", "rate": "0.00497"},
        {"charge": "Input", "meter": "prompt_tokens", "per": "1M tokens", "rate": "0.8"},
        {"charge": "Output", "meter": "completion_tokens", "per": "1M tokens", "rate": "5.5"},
    ]
    runtime = {"charge": "H100", "meter": "gpu_seconds", "model": "package", "per": "147 seconds"}
    documents = read_documents(Settings.from_environment({}).price_book)
    models = {"qwen3-max": chat, "gpu-cloud:h100-nvl": [{**runtime, "rate": "0.228086"}]}
    cards = {name: {"name": name, "category": "Any", "charges": charges} for name, charges in models.items()}
    return compile_book(
        {
            "book.yml": documents["book.yml"],
            "meters.yml": documents["meters.yml"],
            "providers/example.yml": {"provider": "Example", "models": cards},
        }
    )


@pytest.fixture
def app(database: Database, price_book: PriceBook) -> Iterator[App]:
    """The parts, closed at the end."""
    app = build(Settings.from_environment({}), database, price_book)
    yield app
    app.stop()


@pytest.fixture
def client(app: App) -> Iterator[Client]:
    """A client without a key."""
    with TestClient(create_asgi(app), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def token_for(database: Database) -> Callable[..., dict[str, str]]:
    """Headers with a new service token of the scopes; all scopes if none is named."""

    def make(*scopes: Scope) -> dict[str, str]:
        _, secret = create_service_token(database, name="a test", scopes=scopes or tuple(Scope))
        return {"Authorization": f"Bearer {secret}"}

    return make


@pytest.fixture
def service(token_for: Callable[..., dict[str, str]]) -> dict[str, str]:
    """Headers with a service token that may do everything."""
    return token_for()


@pytest.fixture
def account_id(database: Database) -> str:
    """A new account."""
    return create_account(database, "Ada").account.account_id


@pytest.fixture
def api_key(database: Database, account_id: str) -> str:
    """A key of that account."""
    return create_api_key(database, account_id, prefix="sk-test-")[1]


@pytest.fixture(scope="session")
def live(postgres_url: str, template: str, price_book: PriceBook) -> Iterator[Live]:
    """A running service for all tests that bring their own account; it sells through a Stripe on loopback."""
    name = f"metering_live_{secrets.token_hex(6)}"
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    with Simulator() as simulator:
        environment = payments_of(simulator.url)
        with running(other_database(postgres_url, name), price_book, environment) as service:
            yield service
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def customer(live: Live) -> Customer:
    """A new account of the running service, with $100."""
    return live.customer()
