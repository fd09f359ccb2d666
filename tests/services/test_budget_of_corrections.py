"""A key's budget follows what its events cost, also what they came to cost later."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from metering import clock
from metering.errors import AlreadyCorrected, BudgetExceeded, InsufficientCredits
from metering.ledger.budgets import BudgetPeriod, BudgetTerms
from metering.money import to_pico
from metering.services.audit import check_books
from metering.services.corrections import reverse_event, reverse_transfer
from metering.services.grants import Wanted, grant_credit
from metering.services.lots import expire_due
from metering.storage.database import Database
from tests.services.correcting import Ledger
from tests.services.desk import Desk

WHO = {"reason": "a mistake", "actor": "finance"}


@pytest.fixture(autouse=True)
def _clock_goes_right() -> Iterator[None]:
    yield
    clock.run_ahead(timedelta(0))


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """An account with $1,000."""
    ledger = Ledger(database)
    ledger.grant("1000")
    return ledger


@pytest.fixture
def desk(database: Database) -> Desk:
    """Where holds are asked for."""
    return Desk(database)


def test_an_amendment_gives_no_budget_to_another_day(desk: Desk, ledger: Ledger) -> None:
    key_id, key_hash = desk.key(ledger.account_id, budget=BudgetTerms(to_pico(5), BudgetPeriod.DAY))
    ledger.record({"id": "first", "model": "gone", "api_key_id": key_id})
    clock.run_ahead(timedelta(days=1))
    ledger.record({"id": "second", "model": "free", "api_key_id": key_id, "supersedes": "first"})
    with pytest.raises(BudgetExceeded):
        desk.authorize(None, to_pico(6), key_hash=key_hash)
    assert desk.authorize(None, to_pico(5), key_hash=key_hash).verb == "granted"


def test_an_amendment_gives_no_budget_to_another_key(desk: Desk, ledger: Ledger) -> None:
    total = BudgetTerms(to_pico(5), BudgetPeriod.TOTAL)
    (first_id, first), (second_id, second) = (desk.key(ledger.account_id, budget=total) for _ in range(2))
    ledger.record({"id": "first", "model": "gone", "api_key_id": first_id})
    ledger.record({"id": "second", "model": "free", "api_key_id": second_id, "supersedes": "first"})
    for key_hash in (first, second):
        with pytest.raises(BudgetExceeded):
            desk.authorize(None, to_pico(6), key_hash=key_hash)
        assert desk.authorize(None, to_pico(5), key_hash=key_hash).verb == "granted"


def test_a_reversed_event_uses_up_no_budget(desk: Desk, ledger: Ledger, database: Database) -> None:
    total = BudgetTerms(to_pico(5), BudgetPeriod.TOTAL)
    key_id, key_hash = desk.key(ledger.account_id, budget=total)
    ledger.record(*[{"id": f"event {n}", "model": "gone", "api_key_id": key_id} for n in range(2)])
    with pytest.raises(BudgetExceeded):
        desk.authorize(None, to_pico(5), key_hash=key_hash)
    for number in range(2):
        reverse_event(database, ledger.account_id, f"event {number}", **WHO)
    assert desk.authorize(None, to_pico(5), key_hash=key_hash).verb == "granted"


def test_credit_given_back_to_a_lot_that_has_ended_is_not_set_aside(
    desk: Desk, ledger: Ledger, database: Database
) -> None:
    account_id = desk.account("0")
    ends = clock.now() + timedelta(minutes=10)
    grant_credit(database, account_id, Wanted("promotional", to_pico(4), "try it", "f", expires_at=ends), "p")
    ledger.record({"id": "used", "model": "gone", "account_id": account_id})
    clock.run_ahead(timedelta(minutes=11))
    expire_due(database)
    reverse_event(database, account_id, "used", **WHO)
    with pytest.raises(InsufficientCredits) as refused:
        desk.authorize(account_id, to_pico(1))
    assert refused.value.available_pico == 0
    assert check_books(database) == []


@pytest.mark.parametrize("expired_before", [True, False])
def test_a_credit_that_has_expired_in_part_is_not_taken_back_twice(
    ledger: Ledger, database: Database, *, expired_before: bool
) -> None:
    ends = clock.now() + timedelta(minutes=10)
    wanted = Wanted("promotional", to_pico(10), "try it", "f", 1, ends)
    granted, _ = grant_credit(database, ledger.account_id, wanted, "promotion")
    ledger.record({"id": "used", "model": "gone"})
    clock.run_ahead(timedelta(minutes=11))
    if expired_before:
        expire_due(database)
    with pytest.raises(AlreadyCorrected, match="has expired"):
        reverse_transfer(database, ledger.account_id, granted.transfer_id, **WHO)
    expire_due(database)
    assert to_pico(ledger.posted()) == to_pico(1_000)
    assert check_books(database) == []
