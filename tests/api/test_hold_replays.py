"""A hold or an extension sent again to a service whose new price book has lost the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from metering.app import build, create_asgi
from metering.config import Settings
from metering.money import PICO_PER_USD
from metering.pricing.book import PriceBook
from metering.services.grants import Wanted, grant_credit
from metering.storage.database import Database
from tests.api.live import error_of

Client = TestClient[Any]
Headers = dict[str, str]
# In the book that comes with the product, and not in the small one.
ESTIMATE = {"model": "qwen3-5-plus", "usage": {"prompt_tokens": 1_000}}


@pytest.fixture
def later(database: Database, example_book: PriceBook) -> Iterator[Client]:
    """A client of a service with the small book, over the same database."""
    app = build(Settings.from_environment({}), database, example_book)
    with TestClient(create_asgi(app), raise_server_exceptions=False) as client:
        yield client
    app.stop()


@pytest.fixture
def ask(service: Headers, database: Database, account_id: str) -> Callable[..., Any]:
    """POST to the holds of an account with credit."""
    grant_credit(database, account_id, Wanted("paid", PICO_PER_USD, "a test", "tests"), "opening")

    def post(client: Client, key: str | None, path: str = "", **body: object) -> Any:  # noqa: ANN401  (an answer)
        named = {} if path else {"account_id": account_id}
        headers = service | ({} if key is None else {"Idempotency-Key": key})
        return client.post(f"/v1/holds{path}", headers=headers, json={**named, **ESTIMATE, **body})

    return post


def test_what_was_granted_by_the_old_book_is_answered_by_the_new_one(
    client: Client, later: Client, ask: Callable[..., Any]
) -> None:
    first = ask(client, "k")
    assert first.status_code == 201, first.text
    again = ask(later, "k")
    assert (again.status_code, again.json()) == (200, first.json())
    other = ask(later, "k", tokens=7)
    assert (other.status_code, error_of(other)["code"]) == (409, "idempotency_conflict")
    path = f"/{first.json()['id']}/extend"
    extended = ask(client, "e", path)
    assert extended.status_code == 200, extended.text
    assert ask(later, "e", path).json() == extended.json()
    assert later.get(f"/v1/holds/{first.json()['id']}", headers=again.request.headers).status_code == 200


@pytest.mark.parametrize("key", [None, "new"])
def test_what_the_new_book_has_no_price_for_is_not_granted(
    client: Client, later: Client, ask: Callable[..., Any], key: str | None
) -> None:
    path = f"/{ask(client, 'k').json()['id']}/extend"
    for refused in (ask(later, key), ask(later, key, path)):
        assert (refused.status_code, error_of(refused)["code"]) == (404, "model_not_found")
        assert error_of(refused)["param"] == "model"


@pytest.mark.parametrize("key", [None, "new"])
def test_an_estimate_that_is_no_usage_is_named_with_and_without_an_idempotency_key(
    client: Client, ask: Callable[..., Any], key: str | None
) -> None:
    refused = ask(client, key, usage={"prompt_tokens": -1})
    assert (refused.status_code, error_of(refused)["param"]) == (400, "usage.prompt_tokens")
