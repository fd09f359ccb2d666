"""What customers are told besides: refused holds, seldom; and the settings of what is mailed to them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from metering import clock
from metering.errors import AccountNotFound, BudgetExceeded, InsufficientCredits, InvalidParameter
from metering.ledger.budgets import BudgetPeriod, BudgetTerms
from metering.ledger.notices import NoticeType
from metering.money import PICO_PER_USD, to_pico
from metering.services.accounts import create_account, get_account, update_account
from metering.services.corrections import WantedAdjustment, adjust_credit
from metering.services.notifications import get_notifications, set_notifications
from metering.services.webhook_endpoints import create_endpoint
from metering.storage.database import Database
from tests.services.desk import CENT, DOLLAR, Desk

URL = "https://customer.example/hooks"
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def clock_of_the_machine() -> Iterator[None]:
    """The clock, set back at the end."""
    yield
    clock.run_ahead(timedelta(0))


@pytest.fixture
def desk(database: Database) -> Desk:
    """Holds, one at a time."""
    return Desk(database)


def written(database_url: str) -> list[tuple[str, dict[str, Any]]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute("SELECT type, data FROM notices ORDER BY sequence").fetchall()


def wants(desk: Desk, account_id: str, *types: NoticeType) -> None:
    create_endpoint(desk.database, account_id, URL, types, allows_private=False)


def refuse(desk: Desk, account_id: str | None, **wanted: Any) -> None:  # noqa: ANN401  (fields)
    with pytest.raises(InsufficientCredits):
        desk.authorize(account_id, 2 * DOLLAR, **wanted)


def test_a_refused_hold_is_told_once_a_minute(desk: Desk, database_url: str) -> None:
    account_id = desk.account("1")
    wants(desk, account_id, NoticeType.HOLD_REFUSED)
    _, key_hash = desk.key(account_id)
    refuse(desk, account_id)
    refuse(desk, None, key_hash=key_hash)
    told = {"code": "insufficient_credits", "wanted": "2", "available": "1", "currency": "USD"}
    assert written(database_url) == [("hold.refused", told)]
    clock.run_ahead(timedelta(seconds=61))
    refuse(desk, None, key_hash=key_hash)
    assert written(database_url) == [("hold.refused", told)] * 2


def test_nobody_is_told_who_does_not_want_to_be(desk: Desk, database_url: str) -> None:
    accounts = [desk.account("1") for _ in range(3)]
    wants(desk, accounts[0], NoticeType.BALANCE_LOW)
    wants(desk, accounts[1], NoticeType.HOLD_REFUSED)
    refuse(desk, accounts[0])
    refuse(desk, accounts[2])
    desk.authorize(accounts[1], CENT)
    assert written(database_url) == []


def test_a_refused_extension_and_a_budget_that_is_used_up_are_told(desk: Desk, database_url: str) -> None:
    first, second = desk.account("1"), desk.account("1")
    for account_id in (first, second):
        wants(desk, account_id, NoticeType.HOLD_REFUSED)
    held = desk.authorize(first, DOLLAR)
    with pytest.raises(InsufficientCredits):
        desk.extend(held, CENT)
    key_id, _ = desk.key(second, budget=BudgetTerms(CENT, BudgetPeriod.TOTAL))
    with pytest.raises(BudgetExceeded):
        desk.authorize(second, DOLLAR, api_key_id=key_id)
    codes = [data["code"] for _, data in written(database_url)]
    assert codes == ["insufficient_credits", "budget_exceeded"]


def test_an_account_s_address_and_warning_are_kept(database: Database) -> None:
    view = create_account(database, "Ada", email=" ada@example.com ")
    account_id = view.account.account_id
    assert get_account(database, account_id).account.email == "ada@example.com"
    low_pico = 5 * PICO_PER_USD
    set_notifications(database, account_id, {"low_balance_pico": low_pico})
    assert get_notifications(database, account_id) == ("ada@example.com", low_pico)
    changed = set_notifications(database, account_id, {"email": "ops@example.com", "low_balance_pico": None})
    assert changed == get_notifications(database, account_id) == ("ops@example.com", None)
    update_account(database, account_id, {"email": None})
    assert get_notifications(database, account_id).email is None


def test_only_a_fall_below_the_warning_is_told(desk: Desk, database_url: str) -> None:
    account_id = desk.account("10")
    for low in (20, 5):
        set_notifications(desk.database, account_id, {"low_balance_pico": low * PICO_PER_USD})
    assert written(database_url) == []
    wanted = WantedAdjustment("adjustment", to_pico("-6"), "taken back", "tests")
    adjust_credit(desk.database, account_id, wanted, "adjustment")
    assert written(database_url) == [("balance.low", {"balance": "4", "threshold": "5"})]


@pytest.mark.parametrize(
    "email",
    ["", "ada", "ada@", "@example.com", "ada@localhost", "a b@example.com", "ada@example.com\r\nBcc: x@y.z",
     "ada@exämple.com", "Ada <ada@example.com>", "a" * 250 + "@example.com", "ada@example..com"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(database: Database, email: str) -> None:
    account_id = create_account(database, "Ada").account.account_id
    for act in (
        lambda: create_account(database, "Eve", email=email),
        lambda: update_account(database, account_id, {"email": email}),
        lambda: set_notifications(database, account_id, {"email": email}),
    ):
        with pytest.raises(InvalidParameter, match="must be an e-mail address") as refused:
            act()
        assert refused.value.param == "email"


@pytest.mark.parametrize("low", ["0", "-1", "1000000000.01"])
def test_a_warning_that_makes_no_sense_is_refused(database: Database, low: str) -> None:
    account_id = create_account(database, "Ada").account.account_id
    with pytest.raises(InvalidParameter) as refused:
        set_notifications(database, account_id, {"low_balance_pico": to_pico(low)})
    assert refused.value.param == "low_balance"


def test_settings_are_of_accounts_that_are_there(database: Database) -> None:
    with pytest.raises(AccountNotFound):
        get_notifications(database, NOBODY)
    with pytest.raises(AccountNotFound):
        set_notifications(database, NOBODY, {"email": "ada@example.com"})
