"""Credit, keys and tokens, also under concurrency."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

import psycopg
import pytest

from metering import ids
from metering.errors import (
    AccountNotFound,
    IdempotencyConflict,
    InvalidApiKey,
    InvalidParameter,
    LimitReached,
    NotFound,
)
from metering.money import PICO_PER_USD
from metering.services.accounts import create_account, get_account, list_accounts
from metering.services.api_keys import (
    authenticate_api_key,
    create_api_key,
    list_api_keys,
    revoke_api_key,
)
from metering.services.audit import check_books
from metering.services.demo import Demo, open_demo
from metering.services.grants import Wanted, grant_credit
from metering.services.service_tokens import (
    Scope,
    authenticate_service_token,
    create_service_token,
    list_service_tokens,
    revoke_service_token,
)
from metering.storage.database import Database

Result = TypeVar("Result")
TEN = Wanted("paid", 10 * PICO_PER_USD, "bank transfer", "finance")
PREFIX = "sk-test-"


@pytest.fixture
def account_id(database: Database) -> str:
    """A new account."""
    return create_account(database, "Ada").account.account_id


def posted(database: Database, account_id: str) -> int:
    return get_account(database, account_id).balance.posted_pico


def at_once(work: Callable[[int], Result], times: int) -> list[Result]:
    with ThreadPoolExecutor(max_workers=times) as threads:
        return list(threads.map(work, range(times)))


def test_of_many_calls_with_one_key_one_grants(database: Database, account_id: str) -> None:
    answers = at_once(lambda _: grant_credit(database, account_id, TEN, "same"), 12)
    assert sum(is_new for _, is_new in answers) == 1
    assert len({grant for grant, _ in answers}) == 1
    assert posted(database, account_id) == TEN.amount_pico
    assert not check_books(database)


def test_of_many_calls_with_keys_of_their_own_each_grants(database: Database, account_id: str) -> None:
    answers = at_once(lambda n: grant_credit(database, account_id, TEN, f"key {n}"), 12)
    assert sorted(grant.balance_after_pico for grant, _ in answers) == [
        n * TEN.amount_pico for n in range(1, 13)
    ]
    assert posted(database, account_id) == 12 * TEN.amount_pico
    assert not check_books(database)


def test_the_same_key_of_another_account_is_another(database: Database, account_id: str) -> None:
    other = create_account(database, "Bob").account.account_id
    assert grant_credit(database, account_id, TEN, "k")[1]
    assert grant_credit(database, other, TEN, "k")[1]


def test_a_key_stands_for_one_grant(database: Database, account_id: str) -> None:
    grant_credit(database, account_id, TEN, "k")
    with pytest.raises(IdempotencyConflict):
        grant_credit(database, account_id, TEN._replace(amount_pico=1), "k")
    # Who asks again is not what was asked.
    assert not grant_credit(database, account_id, TEN._replace(actor="somebody else"), "k")[1]
    assert posted(database, account_id) == TEN.amount_pico


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"amount_pico": 0}, "amount_usd"),
        ({"amount_pico": -1}, "amount_usd"),
        ({"amount_pico": 10**9 * PICO_PER_USD + 1}, "amount_usd"),
        ({"reason": " "}, "reason"),
        ({"reason": "a\0b"}, "reason"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at"),
    ],
)
def test_a_grant_that_cannot_be(
    database: Database, account_id: str, change: dict[str, object], param: str
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        grant_credit(database, account_id, TEN._replace(**change), "k")  # type: ignore[arg-type]
    assert caught.value.param == param
    assert posted(database, account_id) == 0


def test_nobody_gets_no_credit(database: Database) -> None:
    with pytest.raises(AccountNotFound):
        grant_credit(database, str(ids.new_id()), TEN, "k")


def test_of_many_keys_at_once_only_so_many_are_made(database: Database) -> None:
    account_id = create_account(database, "Few", key_limit=3).account.account_id

    def make(_: int) -> bool:
        try:
            create_api_key(database, account_id, prefix=PREFIX)
        except LimitReached:
            return False
        return True

    assert sum(at_once(make, 10)) == 3
    assert len(list_api_keys(database, account_id)) == 3


def test_a_key_is_kept_as_a_hash(database: Database, database_url: str, account_id: str) -> None:
    key, secret = create_api_key(database, account_id, prefix=PREFIX, name="laptop")
    _, token = create_service_token(database, name="gateway", scopes=[Scope.USAGE_WRITE])
    with psycopg.connect(database_url) as connection:
        for table in ("api_keys", "service_tokens"):
            rows = connection.execute(f"SELECT t::text FROM {table} AS t".encode()).fetchall()
            assert rows
            assert all(secret[len(PREFIX) :] not in row and token[4:] not in row for (row,) in rows)
    assert authenticate_api_key(database, secret) == key
    assert authenticate_service_token(database, token).scopes == {"usage:write"}


def test_what_was_revoked_opens_nothing(database: Database, account_id: str) -> None:
    key, secret = create_api_key(database, account_id, prefix=PREFIX)
    first = revoke_api_key(database, account_id, key.id)
    assert first.key.revoked_at is not None
    assert revoke_api_key(database, account_id, key.id) == first
    with pytest.raises(InvalidApiKey):
        authenticate_api_key(database, secret)
    with pytest.raises(NotFound):
        revoke_api_key(database, str(ids.new_id()), key.id)
    token, secret = create_service_token(database, name="gateway", scopes=Scope)
    revoke_service_token(database, token.id)
    with pytest.raises(InvalidApiKey):
        authenticate_service_token(database, secret)
    with pytest.raises(NotFound):
        revoke_service_token(database, str(ids.new_id()))
    assert [known.revoked_at is None for known in list_service_tokens(database)] == [False]


def test_accounts_are_listed_in_the_order_they_were_opened(database: Database) -> None:
    made = [create_account(database, f"n{n}").account.account_id for n in range(5)]
    first = [view.account.account_id for view in list_accounts(database, limit=3)]
    rest = [view.account.account_id for view in list_accounts(database, after=first[-1], limit=3)]
    assert first + rest == made


def test_the_demo_is_opened_once(database: Database) -> None:
    first = open_demo(database, None, api_key_prefix=PREFIX)
    assert open_demo(database, first, api_key_prefix=PREFIX) == first
    assert posted(database, first.account_id) == 100 * PICO_PER_USD
    (view,) = list_api_keys(database, first.account_id)
    revoke_api_key(database, first.account_id, view.key.id)
    second = open_demo(database, first, api_key_prefix=PREFIX)
    assert (second.account_id, second.service_token) == (first.account_id, first.service_token)
    assert authenticate_api_key(database, second.api_key).account_id == first.account_id
    assert posted(database, first.account_id) == 100 * PICO_PER_USD


def test_a_demo_of_another_database_is_opened_anew(database: Database) -> None:
    stale = Demo(str(ids.new_id()), "sk-test-stale", "mst-stale")
    demo = open_demo(database, stale, api_key_prefix=PREFIX)
    assert demo.account_id != stale.account_id
    assert authenticate_api_key(database, demo.api_key).account_id == demo.account_id
