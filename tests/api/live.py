"""A running service: uvicorn on a real socket over a real database, and what a test needs around it."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import psycopg
import uvicorn

from metering import clock
from metering.app import App, build, create_asgi
from metering.config import Settings
from metering.money import to_pico
from metering.pricing.book import PriceBook
from metering.services.accounts import create_account
from metering.services.api_keys import create_api_key
from metering.services.audit import check_books
from metering.services.grants import Wanted, grant_credit
from metering.services.service_tokens import Scope, create_service_token
from metering.storage.database import Database
from tests.contract.account_usage import validate
from tests.simulator.fixtures import KEY, SECRET

Event = dict[str, Any]
_JSON = msgspec.json.Encoder(decimal_format="number")
_START_SECONDS = 20


@dataclass(frozen=True)
class Customer:
    """An account and its key."""

    account_id: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """What the customer's own calls carry."""
        return {"x-api-key": self.key}

    def event(self, **changes: Any) -> Event:  # noqa: ANN401  (JSON)
        """A new event of the account."""
        usage = {"prompt_tokens": 1_000, "completion_tokens": 100}
        event = {"id": f"evt_{secrets.token_hex(8)}", "account_id": self.account_id, "model": "qwen3-max"}
        return {**event, "usage": usage, **changes}


@dataclass(frozen=True)
class Live:
    """The service at `url`; answers are decoded with numbers as the decimals they spell."""

    url: str
    database_url: str
    app: App
    http: httpx.Client
    service: Mapping[str, str]

    def customer(self, credit: str = "100") -> Customer:
        """A new account with a key and promotional credit."""
        database = self.app.database
        account_id = create_account(database, "A customer").account.account_id
        key = create_api_key(database, account_id, prefix="sk-test-")[1]
        wanted = Wanted("promotional", to_pico(credit), "a test", "tests", 100, None)
        grant_credit(database, account_id, wanted, "opening")
        return Customer(account_id, key)

    def post(
        self, body: object, *, path: str = "/v1/usage/events", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """POST as the gateway; bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else encode(body)
        given = {"Content-Type": "application/json", **self.service, **(headers or {})}
        return self.http.post(path, content=content, headers=given)

    def send(self, events: Sequence[Event], *, path: str = "/v1/usage/events") -> list[dict[str, Any]]:
        """The results of a list of events."""
        answer = self.post(events, path=path)
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = decode(answer)["results"]
        assert [one["id"] for one in results] == [one.get("id") for one in events]
        return results

    def usage(self, customer: Customer, **query: str | int | None) -> dict[str, Any]:
        """The customer's history, which the contract's schema is held against; `from_` is `from`."""
        body = self._page(customer, query)
        validate(body)
        return body

    def pages(self, customer: Customer, **query: str | int | None) -> Iterator[dict[str, Any]]:
        """Page after page, to the end; the schema is held against the first and the last."""
        before: str | None = None
        while True:
            page = self._page(customer, {**query, "before": before})
            if before is None or page["next_cursor"] is None:
                validate(page)
            yield page
            before = page["next_cursor"]
            assert page["has_more"] is (before is not None)
            if before is None:
                return

    def _page(self, customer: Customer, query: Mapping[str, str | int | None]) -> dict[str, Any]:
        named = {name.rstrip("_"): value for name, value in query.items() if value is not None}
        answer = self.http.get("/v1/account/usage", params=named, headers=customer.headers)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = decode(answer)
        return body

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What stands in the database."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def audit(self) -> None:
        """The books keep their laws."""
        assert check_books(self.app.database) == []


@contextmanager
def running(
    database_url: str, book: PriceBook, environment: Mapping[str, str] | None = None
) -> Iterator[Live]:
    """A service over that database, stopped at the end as a deployment stops it."""
    database = Database(database_url)
    app = build(Settings.from_environment(environment or {}), database, book)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(create_asgi(app), loop="uvloop", http="httptools", ws="none", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="service", daemon=True)
    thread.start()
    until = time.monotonic() + _START_SECONDS
    while not server.started and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    _, secret = create_service_token(database, name="tests", scopes=tuple(Scope))
    try:
        with httpx.Client(base_url=url, timeout=60) as http:
            yield Live(url, database_url, app, http, {"Authorization": f"Bearer {secret}"})
    finally:
        server.should_exit = True
        thread.join()
        app.close()
        listener.close()


def payments_of(url: str, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    """The settings of a service that sells through the Stripe at `url`."""
    return {
        "METERING_STRIPE_API_KEY": key,
        "METERING_STRIPE_WEBHOOK_SECRET": secret,
        "METERING_STRIPE_API_BASE": url,
    }


def ago(**time: float) -> str:
    """The moment that long ago, as an event has it: `ago(days=2)`."""
    return (clock.now() - timedelta(**time)).isoformat()


def encode(body: object) -> bytes:
    """JSON, with Decimals as numbers."""
    return _JSON.encode(body)


def lines(events: Iterable[object]) -> bytes:
    """NDJSON."""
    return b"\n".join(encode(event) for event in events)


def decode(answer: httpx.Response) -> Any:  # noqa: ANN401  (JSON)
    """The answer's JSON, with numbers as the decimals they spell."""
    return json.loads(answer.content, parse_float=Decimal)


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error of an answer, which must be our envelope and nothing else."""
    body = answer.json()
    assert set(body) == {"error"}
    return well_formed(body["error"])


def well_formed(error: dict[str, Any]) -> dict[str, Any]:
    """The error, which must have all that the envelope has."""
    assert set(error) == {"message", "type", "code", "param"}
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert "Traceback" not in error["message"]
    return error


def statuses(results: Iterable[dict[str, Any]]) -> list[str]:
    """What became of each event."""
    return [one["status"] for one in results]


def posted(live: Live, customer: Customer) -> Decimal:
    """The balance as the customer sees it."""
    amount: Decimal = live.usage(customer, limit=1)["balance"]["amount"]
    return Decimal(amount)
