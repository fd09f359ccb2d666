"""A town of real processes, a post office, and a browser in it; each test has customers of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from metering.storage.database import Database
from tests.conftest import other_database, run_sql
from tests.messages.postbox import Postbox, open_postbox
from tests.payments.town import Customer, Town, open_town
from tests.simulator.browser import chromium, tab

__all__ = ["chromium", "tab"]


@pytest.fixture(scope="module")
def postbox() -> Iterator[Postbox]:
    """An SMTP server to which the worker brings its mails."""
    with open_postbox() as postbox:
        yield postbox


@pytest.fixture(scope="module")
def town(
    postgres_url: str, template: str, postbox: Postbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    """Service, worker and Stripe, running."""
    name = f"metering_test_{secrets.token_hex(6)}"
    url = other_database(postgres_url, name)
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    with ExitStack() as stack:
        stack.callback(run_sql, postgres_url, f"DROP DATABASE {name} WITH (FORCE)")
        database = stack.enter_context(closing(Database(url, pool_size=2)))
        yield stack.enter_context(open_town(tmp_path_factory.mktemp("town"), database, url, postbox.url))


@pytest.fixture
def ada(town: Town) -> Customer:
    """A customer who gets mail."""
    return town.new_customer(f"ada-{secrets.token_hex(4)}@customer.example", name="Ada Lovelace")
