"""Accounts changed: only what is named, from the next request on."""

from __future__ import annotations

import pytest

from metering import ids
from metering.errors import AccountNotFound, InvalidParameter, LimitReached, RateLimitExceeded
from metering.services.accounts import AccountChanges, create_account, get_account, update_account
from metering.services.api_keys import create_api_key
from metering.storage.database import Database
from tests.services.desk import Desk


def test_only_what_is_named_is_changed(database: Database) -> None:
    first = create_account(database, "Ada", metadata={"crm": "7"})
    account_id = first.account.account_id
    second = update_account(database, account_id, {"name": " Ada L. ", "key_limit": 2})
    assert second.account == first.account._replace(name="Ada L.", key_limit=2)
    third = update_account(database, account_id, {"metadata": None, "tokens_per_minute": 0})
    assert third.account == second.account._replace(metadata=None, tokens_per_minute=0)
    assert update_account(database, account_id, {}) == get_account(database, account_id) == third


def test_changed_limits_hold_from_the_next_request_on(database: Database) -> None:
    desk = Desk(database)
    account_id = desk.account(requests=1)
    desk.authorize(account_id)
    with pytest.raises(RateLimitExceeded):
        desk.authorize(account_id)
    update_account(database, account_id, {"requests_per_minute": 2, "key_limit": 0})
    desk.authorize(account_id)
    with pytest.raises(LimitReached):
        create_api_key(database, account_id, prefix="sk-test-")


def test_what_cannot_be_changed_is_refused(database: Database) -> None:
    changed: tuple[AccountChanges, ...] = ({}, {"key_limit": 1})
    for changes in changed:
        with pytest.raises(AccountNotFound):
            update_account(database, ids.new_id(), changes)
    account_id = create_account(database, "Ada").account.account_id
    with pytest.raises(InvalidParameter) as refused:
        update_account(database, account_id, {"name": " ", "key_limit": 1})
    assert refused.value.param == "name"
    assert get_account(database, account_id).account.key_limit == 50
