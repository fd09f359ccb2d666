"""What an account is told, over HTTP: its webhooks, its mail, its receipts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from litestar.testing import TestClient
from pypdf import PdfReader

from metering import clock
from metering.app import build, create_asgi
from metering.config import Settings
from metering.ledger.notices import NoticeType
from metering.messages.webhooks import WebhookSender
from metering.pricing.book import PriceBook
from metering.services.accounts import create_account
from metering.services.api_keys import create_api_key
from metering.services.webhook_deliveries import deliver_webhooks
from metering.storage.database import Database
from tests.api.live import error_of
from tests.services.telling import a_paid_top_up, tell

Client = TestClient[Any]
Headers = dict[str, str]
WEBHOOKS = "/v1/account/webhooks"
SETTINGS = "/v1/account/notifications"
URL = "https://customer.invalid/hooks"
ALL = [kind.value for kind in NoticeType]
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def clock_of_the_machine() -> Iterator[None]:
    """The clock, set back at the end."""
    yield
    clock.run_ahead(timedelta(0))


@pytest.fixture
def mine(api_key: str) -> Headers:
    """The customer's headers."""
    return {"x-api-key": api_key}


@pytest.fixture
def other_s(database: Database) -> Headers:
    """Another customer's headers."""
    account_id = create_account(database, "Eve").account.account_id
    return {"x-api-key": create_api_key(database, account_id, prefix="sk-test-")[1]}


@pytest.fixture
def payments(database: Database, price_book: PriceBook) -> Iterator[Client]:
    """A client of a service that can take payments; the processor is not there."""
    processor = {"API_KEY": "sk_test_nobody", "WEBHOOK_SECRET": "whsec_x", "API_BASE": "http://127.0.0.1:9"}
    environment = {f"METERING_STRIPE_{name}": value for name, value in processor.items()}
    app = build(Settings.from_environment(environment), database, price_book)
    with TestClient(create_asgi(app), raise_server_exceptions=False) as client:
        yield client


def make(client: Client, headers: Headers, **body: object) -> dict[str, Any]:
    answer = client.post(WEBHOOKS, headers=headers, json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_the_secret_is_shown_once(client: Client, mine: Headers) -> None:
    made = make(client, mine)
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made == {
        "id": made["id"],
        "object": "webhook_endpoint",
        "url": URL,
        "types": ALL,
        "enabled": True,
        "off_reason": None,
        "created_at": made["created_at"],
    }
    listed = client.get(WEBHOOKS, headers=mine)
    assert listed.json() == {"data": [made]}
    assert secret not in listed.text


def test_an_endpoint_is_changed_and_removed(client: Client, mine: Headers) -> None:
    made = make(client, mine)
    del made["secret"]
    one = f"{WEBHOOKS}/{made['id']}"
    assert client.patch(one, headers=mine, json={}).json() == made
    body = {"url": f"{URL}/2", "types": ["hold.refused", "balance.low", "hold.refused"], "enabled": False}
    changed = client.patch(one, headers=mine, json=body)
    types = ["balance.low", "hold.refused"]
    assert changed.json() == {**made, "url": f"{URL}/2", "types": types, "enabled": False}
    assert client.delete(one, headers=mine).status_code == 200
    assert client.get(WEBHOOKS, headers=mine).json() == {"data": []}
    assert client.patch(one, headers=mine, json={}).status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": "http://customer.example"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": 5}, "url"),
        ({"url": URL, "types": []}, "types"),
        ({"url": URL, "types": ["balance.high"]}, "types[0]"),
        ({"url": URL, "colour": 1}, "colour"),
    ],
)
def test_a_bad_endpoint_is_refused_with_the_field(
    client: Client, mine: Headers, body: dict[str, Any], param: str
) -> None:
    answer = client.post(WEBHOOKS, headers=mine, json=body)
    assert (answer.status_code, error_of(answer)["param"]) == (400, param)


def test_deliveries_are_paged_and_replayed(
    client: Client, database: Database, account_id: str, mine: Headers
) -> None:
    one = f"{WEBHOOKS}/{make(client, mine)['id']}"
    notices = [tell(database, account_id, NoticeType.BALANCE_LOW) for _ in range(3)]
    deliver_webhooks(database, WebhookSender())
    first = client.get(f"{one}/deliveries", headers=mine, params={"limit": 2}).json()
    assert [delivery["id"] for delivery in first["data"]] == [notices[2], notices[1]]
    assert first["has_more"] is True
    rest = client.get(f"{one}/deliveries", headers=mine, params={"before": first["next_cursor"]}).json()
    (oldest,) = rest["data"]
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)
    assert oldest == {
        "id": notices[0],
        "object": "webhook_delivery",
        "type": "balance.low",
        "state": "waiting",
        "attempts": 1,
        "response_status": None,
        "failure": "The host's name is not known.",
        "created_at": oldest["created_at"],
        "next_attempt_at": oldest["next_attempt_at"],
        "delivered_at": None,
    }
    since = (clock.now() - timedelta(hours=1)).isoformat()
    for body in ({"notice_id": notices[0]}, {"since": since}):
        replayed = client.post(f"{one}/replay", headers=mine, json=body)
        assert replayed.json() == {"object": "webhook_replay", "replayed": 0}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "notice_id"),
        ({"notice_id": NOBODY, "since": "2026-01-01T00:00:00Z"}, "notice_id"),
        ({"notice_id": "x"}, "notice_id"),
        ({"since": "2020-01-01T00:00:00Z"}, "since"),
        ({"since": "2020-01-01T00:00:00"}, "since"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
    ],
)
def test_a_bad_replay_is_refused_with_the_field(
    client: Client, mine: Headers, body: dict[str, Any], param: str
) -> None:
    one = f"{WEBHOOKS}/{make(client, mine)['id']}"
    answer = client.post(f"{one}/replay", headers=mine, json=body)
    assert (answer.status_code, error_of(answer)["param"]) == (400, param)


def test_an_account_s_endpoints_are_its_own(client: Client, mine: Headers, other_s: Headers) -> None:
    one = f"{WEBHOOKS}/{make(client, mine)['id']}"
    assert client.get(WEBHOOKS, headers=other_s).json() == {"data": []}
    for answer in (
        client.patch(one, headers=other_s, json={"enabled": False}),
        client.delete(one, headers=other_s),
        client.get(f"{one}/deliveries", headers=other_s),
        client.post(f"{one}/replay", headers=other_s, json={"notice_id": NOBODY}),
    ):
        assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")
    assert client.get(WEBHOOKS, headers=mine).json()["data"][0]["enabled"] is True


def test_settings_stay_where_they_are_left_out(client: Client, mine: Headers) -> None:
    given = {"email": "ada@example.com", "low_balance": "12.34"}
    shown = {"object": "notifications", "email": "ada@example.com", "low_balance": 12.34, "currency": "USD"}
    assert client.put(SETTINGS, headers=mine, json=given).json() == shown
    assert client.put(SETTINGS, headers=mine, json={}).json() == shown
    assert client.put(SETTINGS, headers=mine, json={"low_balance": 5}).json() == {**shown, "low_balance": 5}
    bare = {**shown, "email": None, "low_balance": None}
    assert client.put(SETTINGS, headers=mine, json={"email": None, "low_balance": None}).json() == bare
    assert client.get(SETTINGS, headers=mine).json() == bare


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"email": "ada"}, "email"),
        ({"email": "ada..l@example.com"}, "email"),
        ({"email": ".ada@example.com"}, "email"),
        ({"email": "ada.@example.com"}, "email"),
        ({"email": 5}, "email"),
        ({"low_balance": 0}, "low_balance"),
        ({"low_balance": -5}, "low_balance"),
        ({"low_balance": "much"}, "low_balance"),
        ({"low_balance": 1e10}, "low_balance"),
        ({"colour": 1}, "colour"),
    ],
)
def test_bad_settings_are_refused_with_the_field(
    client: Client, mine: Headers, body: dict[str, Any], param: str
) -> None:
    answer = client.put(SETTINGS, headers=mine, json=body)
    assert (answer.status_code, error_of(answer)["param"]) == (400, param)


def test_a_service_sets_an_account_s_address(client: Client, service: Headers) -> None:
    body = {"name": "Ada", "email": "ada@example.com"}
    made = client.post("/v1/accounts", headers=service, json=body).json()
    assert made["email"] == "ada@example.com"
    one = f"/v1/accounts/{made['id']}"
    assert client.patch(one, headers=service, json={"email": None}).json()["email"] is None
    bad = client.patch(one, headers=service, json={"email": "ada"})
    assert (bad.status_code, error_of(bad)["param"]) == (400, "email")


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("receipt", None, "application/json"),
        ("receipt", "*/*", "application/json"),
        ("receipt", "application/json", "application/json"),
        ("receipt", "text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("receipt", "application/pdf", "application/pdf"),
        ("receipt", "image/png", "application/json"),
        ("receipt.pdf", None, "application/pdf"),
        ("receipt.pdf", "text/html", "application/pdf"),
    ],
)
def test_a_receipt_comes_in_three_forms(
    payments: Client,
    database: Database,
    account_id: str,
    mine: Headers,
    path: str,
    accept: str | None,
    kind: str,
) -> None:
    top_up_id = a_paid_top_up(database, account_id)
    headers = mine if accept is None else {**mine, "accept": accept}
    answer = payments.get(f"/v1/account/top_ups/{top_up_id}/{path}", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == kind
    if kind == "application/pdf":
        text = PdfReader(io.BytesIO(answer.content)).pages[0].extract_text()
        assert 'filename="receipt-ABC-0001.pdf"' in answer.headers["content-disposition"]
    else:
        text = answer.text
    for told in ("ABC-0001", "Visa •••• 4242", "WHOP*EMPIRIO", account_id):
        assert told in text


def test_a_receipt_adds_up(payments: Client, database: Database, account_id: str, mine: Headers) -> None:
    top_up_id = a_paid_top_up(database, account_id)
    body = payments.get(f"/v1/account/top_ups/{top_up_id}/receipt", headers=mine).json()
    amounts = {name: body[name] for name in ("amount", "bonus", "tax", "total", "credit", "bonus_percent")}
    assert amounts == {
        "amount": 1000, "bonus": 50, "tax": 70, "total": 1070, "credit": 1050, "bonus_percent": 5
    }  # fmt: skip
    assert body["customer"] == {"id": account_id, "name": "Ada", "email": None}


def test_another_s_receipt_is_not_there(
    payments: Client, database: Database, account_id: str, other_s: Headers, mine: Headers
) -> None:
    top_up_id = a_paid_top_up(database, account_id)
    for headers, one in ((other_s, top_up_id), (mine, NOBODY)):
        for path in ("receipt", "receipt.pdf"):
            answer = payments.get(f"/v1/account/top_ups/{one}/{path}", headers=headers)
            assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")
