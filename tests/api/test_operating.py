"""Health, metrics and documentation, and the failures that are ours."""

from __future__ import annotations

from typing import Any

import pytest
from litestar.testing import TestClient

from metering.app import App, build, create_asgi
from metering.config import Settings
from metering.errors import ConfigurationError
from metering.pricing.book import PriceBook
from metering.storage.database import Database

Client = TestClient[Any]
Headers = dict[str, str]
ERROR = {"message", "type", "code", "param"}
# Documents and metrics: the answers that are not ours to envelope.
PATHS = ("/healthz", "/readyz", "/metrics", "/docs", "/docs/openapi.json", "/v1/prices")


@pytest.fixture
def app_without_database(database: Database, price_book: PriceBook, monkeypatch: pytest.MonkeyPatch) -> App:
    """An application whose database went away after the start."""
    app = build(Settings.from_environment({}), database, price_book)
    database.close()
    database._url = "postgresql://nobody@127.0.0.1:1/nothing"
    return app


def test_what_needs_no_key_answers(client: Client) -> None:
    for path in PATHS:
        assert client.get(path).status_code == 200, path


def test_without_a_database_the_service_says_so(app_without_database: App) -> None:
    with TestClient(create_asgi(app_without_database), raise_server_exceptions=False) as client:
        assert client.get("/healthz").status_code == 200
        for path, headers in (("/readyz", {}), ("/v1/account", {"x-api-key": "sk-empiriolabs-unknown"})):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["error"]["code"] == "service_unavailable"
            assert "127.0.0.1" not in answer.text


def test_an_error_of_ours_shows_nothing_of_itself(
    app: App, service: Headers, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("host db-7.internal, table balances")

    monkeypatch.setattr(type(app.services.security), "customer", explode)
    with TestClient(create_asgi(app), raise_server_exceptions=False) as client:
        answer = client.get("/v1/account", headers={"x-api-key": "sk-empiriolabs-x"})
    assert answer.status_code == 500
    assert set(answer.json()["error"]) == ERROR
    assert answer.json()["error"]["type"] == "api_error"
    assert "db-7" not in answer.text


def test_the_metrics_count_events_by_outcome_and_tell_no_balance(client: Client) -> None:
    text = client.get("/metrics").text
    for outcome in ("accepted", "duplicate", "conflict", "unpriced", "rejected"):
        assert f'metering_events_total{{outcome="{outcome}"}}' in text
    for name in ("metering_ingest_seconds_bucket", "metering_batch_events_bucket"):
        assert name in text
    assert "balance" not in text


def test_the_documentation_states_every_error_in_the_envelope(client: Client) -> None:
    document = client.get("/docs/openapi.json").json()
    assert {"/v1/accounts", "/v1/usage/events", "/v1/account/usage", "/v1/prices"} <= document["paths"].keys()
    assert document["components"]["securitySchemes"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    schema = answer["content"]["application/json"]["schema"]
                    body = "CreditErrorBody" if status == "402" else "ErrorBody"
                    assert schema["$ref"].endswith(f"/{body}"), (method, path, status)


def test_a_schema_that_is_not_at_head_is_refused(empty_database_url: str, price_book: PriceBook) -> None:
    database = Database(empty_database_url)
    with pytest.raises(ConfigurationError, match="run `metering migrate`"):
        build(Settings.from_environment({}), database, price_book)
    database.close()
