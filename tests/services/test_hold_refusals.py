"""What a refused hold is told: the field at fault, and what would help."""

from __future__ import annotations

import pytest

from metering import ids
from metering.errors import BudgetExceeded, InsufficientCredits, InvalidApiKey, RateLimitExceeded
from metering.ledger.budgets import BudgetPeriod, BudgetTerms
from metering.services.api_keys import revoke_api_key
from metering.storage.database import Database
from tests.services.desk import CENT, DOLLAR, Desk


@pytest.fixture
def desk(database: Database) -> Desk:
    """The use case over a fresh database."""
    return Desk(database)


def test_a_key_that_is_no_good_is_named_as_it_was_sent(desk: Desk) -> None:
    account_id = desk.account()
    key_id, key_hash = desk.key(account_id)
    revoke_api_key(desk.database, account_id, key_id)
    for sent, param in (
        ({"account_id": account_id, "api_key_id": key_id}, "api_key_id"),
        ({"account_id": account_id, "api_key_id": ids.new_id()}, "api_key_id"),
        ({"account_id": None, "key_hash": key_hash}, "api_key"),
    ):
        with pytest.raises(InvalidApiKey) as refused:
            desk.authorize(**sent)
        assert refused.value.param == param


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ((0, 9_999), "its limit is 0 requests a minute"),
        ((9, 0), "its limit is 0 tokens a minute"),
        ((9, 1_000), "The request's 1,001 tokens alone are beyond the limit of 1,000 a minute"),
    ],
)
def test_a_request_that_no_wait_lets_in_is_not_told_to_try_again(
    desk: Desk, limits: tuple[int, int], told: str
) -> None:
    requests, tokens = limits
    with pytest.raises(RateLimitExceeded, match=told) as refused:
        desk.authorize(desk.account(requests=requests, tokens=tokens), tokens=1_001)
    assert "Try again" not in refused.value.message
    assert refused.value.retry_after_seconds == 60


def test_a_request_that_a_wait_lets_in_is_told_for_how_long(desk: Desk) -> None:
    account_id = desk.account(tokens=1_000)
    desk.authorize(account_id, tokens=1_000)
    with pytest.raises(RateLimitExceeded, match=r"Try again in \d+ seconds"):
        desk.authorize(account_id, tokens=1)


def test_less_than_nothing_is_told_as_it_is(desk: Desk) -> None:
    account_id = desk.account()
    key_id, _ = desk.key(account_id, budget=BudgetTerms(DOLLAR // 2, BudgetPeriod.TOTAL))
    held = desk.authorize(account_id, DOLLAR // 2, api_key_id=key_id)
    with pytest.raises(BudgetExceeded, match=r"^0\.01 is wanted, 0 is left of the API key's budget\.$"):
        desk.authorize(account_id, CENT, api_key_id=key_id)
    other = desk.authorize(account_id, DOLLAR // 4)
    desk.extend(other, DOLLAR // 2)
    told = r"^0\.01 is wanted, -0\.25 is available: top up first\.$"
    with pytest.raises(InsufficientCredits, match=told):
        desk.extend(held._replace(hold=other.hold), CENT)
