"""Holds over a real database: what is let in, what it counts for, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from metering import clock, ids
from metering.errors import (
    AccountNotFound,
    BudgetExceeded,
    HoldClosed,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidApiKey,
    InvalidParameter,
    ModelNotFound,
    NotFound,
    RateLimitExceeded,
)
from metering.ledger.budgets import BudgetPeriod, BudgetTerms
from metering.ledger.holds import HoldState
from metering.services.accounts import get_account
from metering.services.api_keys import list_api_keys, revoke_api_key
from metering.services.audit import check_books
from metering.services.authorizing import Held, Void
from metering.services.grants import Wanted, grant_credit
from metering.storage.database import Database
from tests.services.correcting import Ledger
from tests.services.desk import CENT, DOLLAR, TEN_MINUTES, Desk, authorize, extend


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """The use case over a fresh database; time is put back, and the books keep their laws, at the end."""
    yield Desk(database)
    clock.run_ahead(timedelta(0))
    assert check_books(database) == []


def test_of_many_at_once_as_many_are_granted_as_there_is_credit_for(desk: Desk) -> None:
    account_id = desk.account("0.10")
    with ThreadPoolExecutor(5) as threads:
        outcomes = [
            outcome
            for some in threads.map(
                lambda _: desk.holds.apply([authorize(account_id), authorize(account_id)]), range(20)
            )
            for outcome in some
        ]
    granted = [one for one in outcomes if isinstance(one, Held)]
    refused = [one for one in outcomes if isinstance(one, InsufficientCredits)]
    assert (len(granted), len(refused)) == (10, 30)
    assert {(one.available_pico, one.wanted_pico) for one in refused} == {(0, CENT)}
    assert desk.available(account_id) == 0


def test_a_refusal_does_not_sink_the_others_of_its_group(desk: Desk) -> None:
    rich, poor = desk.account(), desk.account("0")
    outcomes = desk.holds.apply(
        [authorize(rich), authorize(poor), authorize(ids.new_id()), Void(ids.new_id()), authorize(rich)]
    )
    assert [type(one) for one in outcomes] == [Held, InsufficientCredits, AccountNotFound, NotFound, Held]
    assert desk.available(rich) == DOLLAR - 2 * CENT


def test_what_costs_nothing_is_let_in_on_an_empty_account(desk: Desk) -> None:
    assert desk.authorize(desk.account("0"), 0).hold.amount_pico == 0


def test_an_expired_hold_counts_for_nothing_though_nobody_closed_it(desk: Desk) -> None:
    account_id = desk.account()
    first = desk.authorize(account_id, DOLLAR)
    with pytest.raises(InsufficientCredits):
        desk.authorize(account_id)
    clock.run_ahead(TEN_MINUTES + timedelta(seconds=1))
    assert desk.available(account_id) == DOLLAR
    assert desk.holds.get_hold(first.hold.id).hold.state is HoldState.EXPIRED
    assert desk.authorize(account_id, DOLLAR).balance.available_pico == 0
    closed = desk.holds.get_hold(first.hold.id).hold
    assert (closed.state, closed.closed_at) == (HoldState.EXPIRED, first.hold.expires_at)


def test_holds_are_listed_by_the_state_that_they_have_now(desk: Desk) -> None:
    account_id = desk.account()
    short = desk.authorize(account_id, lasts=timedelta(seconds=5)).hold.id
    voided = desk.authorize(account_id).hold.id
    desk.tell(Void(voided))
    lasting = [desk.authorize(account_id).hold.id for _ in range(3)]
    clock.run_ahead(timedelta(seconds=6))

    def listed(state: HoldState | None, **page: Any) -> list[str]:  # noqa: ANN401  (paging)
        asked = {"after": None, "limit": 100, **page}
        return [one.id for one in desk.holds.list_holds(account_id, state=state, **asked).holds]

    assert listed(HoldState.OPEN) == lasting
    assert listed(HoldState.EXPIRED) == [short]
    assert listed(HoldState.VOIDED) == [voided]
    assert listed(HoldState.CAPTURED) == []
    assert listed(None) == [short, voided, *lasting]
    assert listed(None, after=voided, limit=2) == lasting[:2]
    with pytest.raises(AccountNotFound):
        desk.holds.list_holds(ids.new_id(), state=None, after=None, limit=1)


def test_a_revoked_or_expired_key_is_refused_at_once(desk: Desk) -> None:
    account_id = desk.account()
    key_id, key_hash = desk.key(account_id)
    assert desk.authorize(None, key_hash=key_hash).hold.api_key_id == key_id
    assert desk.authorize(account_id, api_key_id=key_id).hold.account_id == account_id
    revoke_api_key(desk.database, account_id, key_id)
    for named in (
        {"account_id": None, "key_hash": key_hash},
        {"account_id": account_id, "api_key_id": key_id},
    ):
        with pytest.raises(InvalidApiKey):
            desk.authorize(**named)
    _, short = desk.key(account_id, expires_at=clock.now() + timedelta(minutes=1))
    desk.authorize(None, key_hash=short)
    clock.run_ahead(timedelta(minutes=1))
    with pytest.raises(InvalidApiKey):
        desk.authorize(None, key_hash=short)


def test_a_key_of_another_account_opens_nothing(desk: Desk) -> None:
    key_id, _ = desk.key(desk.account())
    with pytest.raises(InvalidApiKey):
        desk.authorize(desk.account(), api_key_id=key_id)
    with pytest.raises(InvalidApiKey):
        desk.authorize(None, key_hash=b"nobody's")


def test_the_use_of_a_key_is_noted_once_a_minute(desk: Desk) -> None:
    account_id = desk.account()
    _, key_hash = desk.key(account_id)

    def used() -> datetime | None:
        return list_api_keys(desk.database, account_id)[0].key.last_used_at

    assert used() is None
    desk.authorize(None, key_hash=key_hash)
    first = used()
    desk.authorize(None, key_hash=key_hash)
    assert used() == first is not None
    clock.run_ahead(timedelta(minutes=1))
    desk.authorize(None, key_hash=key_hash)
    assert used() != first


def test_requests_beyond_the_limit_wait_as_long_as_they_are_told(desk: Desk) -> None:
    account_id = desk.account(requests=3)
    for _ in range(3):
        desk.authorize(account_id)
    with pytest.raises(RateLimitExceeded) as refused:
        desk.authorize(account_id)
    clock.run_ahead(timedelta(seconds=refused.value.retry_after_seconds))
    desk.authorize(account_id)
    with pytest.raises(RateLimitExceeded):
        desk.authorize(account_id)


def test_tokens_are_counted_over_all_keys_and_only_what_was_granted(desk: Desk) -> None:
    account_id = desk.account(tokens=1_000)
    hashes = [desk.key(account_id)[1] for _ in range(2)]
    desk.authorize(None, key_hash=hashes[0], tokens=600)
    for _ in range(3):
        with pytest.raises(InsufficientCredits):
            desk.authorize(account_id, 2 * DOLLAR, tokens=400)
    with pytest.raises(RateLimitExceeded):
        desk.authorize(None, key_hash=hashes[1], tokens=401)
    desk.authorize(None, key_hash=hashes[1], tokens=400)


def test_a_limit_of_zero_lets_nothing_in(desk: Desk) -> None:
    with pytest.raises(RateLimitExceeded):
        desk.authorize(desk.account(requests=0))
    with pytest.raises(RateLimitExceeded):
        desk.authorize(desk.account(tokens=0))


def test_the_same_call_again_is_answered_with_the_hold_as_it_is_now(desk: Desk) -> None:
    account_id = desk.account(requests=1)
    first = desk.authorize(account_id, idempotency_key="k")
    again = desk.authorize(account_id, idempotency_key="k")
    assert (again.verb, again.hold, again.balance) == ("repeated", first.hold, first.balance)
    desk.tell(Void(first.hold.id))
    assert desk.authorize(account_id, idempotency_key="k").hold.state is HoldState.VOIDED
    with pytest.raises(IdempotencyConflict):
        desk.authorize(account_id, idempotency_key="k", body_digest=b"another body")


def test_a_key_and_its_account_share_their_idempotency_keys_and_no_other_account_does(desk: Desk) -> None:
    account_id, other = desk.account(), desk.account()
    _, key_hash = desk.key(account_id)
    first = desk.authorize(None, key_hash=key_hash, idempotency_key="k")
    assert desk.authorize(account_id, idempotency_key="k").hold.id == first.hold.id
    assert desk.authorize(other, idempotency_key="k").hold.id != first.hold.id


def test_the_same_call_twice_in_one_group_holds_once(desk: Desk) -> None:
    account_id = desk.account()
    one, two = desk.holds.apply([authorize(account_id, idempotency_key="k") for _ in range(2)])
    assert isinstance(one, Held)
    assert isinstance(two, Held)
    assert one.hold == two.hold
    assert desk.available(account_id) == DOLLAR - CENT


def test_a_stream_is_extended_beyond_the_credit_once_and_told_by_how_much(desk: Desk) -> None:
    account_id = desk.account()
    held = desk.authorize(account_id, 90 * CENT)
    within = desk.extend(held, 9 * CENT)
    assert (within.overspend_pico, within.hold.amount_pico) == (0, 99 * CENT)
    beyond = desk.extend(held, 9 * CENT)
    assert (beyond.overspend_pico, beyond.balance.available_pico) == (8 * CENT, -8 * CENT)
    with pytest.raises(InsufficientCredits) as refused:
        desk.extend(held, 1)
    assert (refused.value.available_pico, refused.value.wanted_pico) == (-8 * CENT, 1)
    assert desk.extend(held, 0).hold.amount_pico == 108 * CENT


def test_extensions_of_one_group_see_each_other(desk: Desk) -> None:
    account_id = desk.account("0.03")
    held = desk.authorize(account_id)
    outcomes = desk.holds.apply([extend(held, 2 * CENT), extend(held, 1)])
    assert [type(one) for one in outcomes] == [Held, InsufficientCredits]


def test_an_extension_is_made_once_per_idempotency_key(desk: Desk) -> None:
    held = desk.authorize(desk.account("0.02"))
    first = desk.extend(held, 3 * CENT, idempotency_key="k")
    again = desk.extend(held, 3 * CENT, idempotency_key="k")
    assert (again.verb, again.overspend_pico) == ("repeated", 2 * CENT)
    assert again.hold == first.hold
    with pytest.raises(IdempotencyConflict):
        desk.extend(held, CENT, idempotency_key="k", body_digest=b"another body")
    desk.tell(Void(held.hold.id))
    assert desk.extend(held, 3 * CENT, idempotency_key="k").hold.state is HoldState.VOIDED


def test_an_extension_lets_the_hold_last_longer_and_never_shorter(desk: Desk) -> None:
    held = desk.authorize(desk.account())
    shorter = desk.extend(held, 1, lasts=timedelta(seconds=1))
    assert shorter.hold.expires_at == held.hold.expires_at
    longer = desk.extend(held, 1, lasts=timedelta(hours=1))
    assert longer.hold.expires_at > held.hold.expires_at + timedelta(minutes=49)
    clock.run_ahead(timedelta(minutes=30))
    assert desk.holds.get_hold(held.hold.id).hold.state is HoldState.OPEN


def test_what_has_ended_is_not_extended(desk: Desk) -> None:
    account_id = desk.account()
    voided, expired = desk.authorize(account_id), desk.authorize(account_id)
    desk.tell(Void(voided.hold.id))
    with pytest.raises(HoldClosed, match="voided"):
        desk.extend(voided, 1)
    clock.run_ahead(TEN_MINUTES)
    with pytest.raises(HoldClosed, match="expired"):
        desk.extend(expired, 1)


def test_a_hold_is_released_once(desk: Desk) -> None:
    account_id = desk.account()
    held = desk.authorize(account_id, DOLLAR)
    first, again = desk.holds.apply([Void(held.hold.id), Void(held.hold.id)])
    assert isinstance(first, Held)
    assert isinstance(again, Held)
    assert (first.verb, again.verb) == ("voided", "repeated")
    assert first.hold == again.hold
    assert desk.tell(Void(held.hold.id)).hold == first.hold
    assert desk.available(account_id) == DOLLAR


def test_an_expired_hold_is_voided_as_it_is(desk: Desk) -> None:
    held = desk.authorize(desk.account())
    clock.run_ahead(TEN_MINUTES)
    assert desk.tell(Void(held.hold.id)).hold.state is HoldState.EXPIRED


@pytest.mark.parametrize(
    ("period", "back"),
    [
        (BudgetPeriod.DAY, timedelta(days=1)),
        (BudgetPeriod.MONTH, timedelta(days=31)),
        (BudgetPeriod.TOTAL, None),
    ],
)
def test_a_budget_counts_what_its_period_has_spent_and_what_is_held(
    desk: Desk, period: BudgetPeriod, back: timedelta | None
) -> None:
    account_id, ledger = desk.account("100"), Ledger(desk.database)
    key_id, key_hash = desk.key(account_id, budget=BudgetTerms(10 * DOLLAR, period))
    event = {"account_id": account_id, "api_key_id": key_id, "model": "gone"}
    if back is not None:
        ledger.record(*({**event, "id": f"before {number}"} for number in range(3)))
        clock.run_ahead(back)
    ledger.record({**event, "id": "now"})
    held = desk.authorize(None, 5 * DOLLAR, key_hash=key_hash)
    with pytest.raises(BudgetExceeded) as refused:
        desk.authorize(account_id, 2 * DOLLAR, api_key_id=key_id)
    assert (refused.value.available_pico, refused.value.wanted_pico) == (DOLLAR, 2 * DOLLAR)
    desk.authorize(account_id, 2 * DOLLAR)
    assert desk.extend(held, 2 * DOLLAR).overspend_pico == 0
    with pytest.raises(BudgetExceeded):
        desk.extend(held, 1)
    desk.tell(Void(held.hold.id))
    desk.authorize(None, 6 * DOLLAR, key_hash=key_hash)


def test_an_expired_hold_is_given_back_to_its_keys_budget(desk: Desk) -> None:
    account_id = desk.account("100")
    _, key_hash = desk.key(account_id, budget=BudgetTerms(DOLLAR, BudgetPeriod.TOTAL))
    desk.authorize(None, DOLLAR, key_hash=key_hash, lasts=timedelta(seconds=2))
    clock.run_ahead(timedelta(seconds=3))
    desk.authorize(None, DOLLAR, key_hash=key_hash)


def test_a_budget_begins_anew_with_its_month_and_its_day(desk: Desk) -> None:
    account_id, ledger = desk.account("100", requests=10), Ledger(desk.database)
    hashes = [
        desk.key(account_id, budget=BudgetTerms(DOLLAR, period))[1]
        for period in (BudgetPeriod.DAY, BudgetPeriod.MONTH)
    ]
    for key_hash in hashes:
        held = desk.authorize(None, DOLLAR, key_hash=key_hash).hold
        ledger.record({"id": held.id, "account_id": account_id, "hold_id": held.id})
        with pytest.raises(BudgetExceeded):
            desk.authorize(None, 1, key_hash=key_hash)
    clock.run_ahead(timedelta(days=32))
    for key_hash in hashes:
        desk.authorize(None, DOLLAR, key_hash=key_hash)


def test_credit_that_has_ended_is_not_held(desk: Desk) -> None:
    account_id = desk.account("0.10")
    ends = clock.now() + timedelta(hours=1)
    wanted = Wanted("promotional", DOLLAR, "welcome", "finance", expires_at=ends)
    grant_credit(desk.database, account_id, wanted, "welcome")
    held = desk.tell(Void(desk.authorize(account_id, DOLLAR).hold.id)).hold
    clock.run_ahead(timedelta(hours=1, seconds=1))
    assert desk.holds.get_hold(held.id).balance.available_pico == 10 * CENT
    with pytest.raises(InsufficientCredits) as refused:
        desk.authorize(account_id, DOLLAR)
    assert refused.value.available_pico == 10 * CENT
    assert desk.authorize(account_id, 10 * CENT).balance.posted_pico == 10 * CENT


def test_credit_that_ended_since_anybody_looked_is_not_held(desk: Desk) -> None:
    account_id = desk.account("0")
    ends = clock.now() + timedelta(hours=1)
    wanted = Wanted("promotional", DOLLAR, "welcome", "finance", expires_at=ends)
    grant_credit(desk.database, account_id, wanted, "welcome")
    clock.run_ahead(timedelta(hours=1, seconds=1))
    with pytest.raises(InsufficientCredits):
        desk.authorize(account_id)
    assert get_account(desk.database, account_id).balance.posted_pico == 0


def test_an_estimate_is_priced_by_the_book(desk: Desk) -> None:
    now = clock.now()
    assert desk.holds.estimate("dearer", {"requests": 3, "prompt_tokens": 5}, now) == (6 * DOLLAR, 5)
    assert desk.holds.estimate("free", {"requests": 1}, now).amount_pico == 0
    with pytest.raises(ModelNotFound):
        desk.holds.estimate("nobody's", {"requests": 1}, now)
    with pytest.raises(InvalidParameter) as refused:
        desk.holds.estimate("dearer", {"prompt_tokens": -1}, now)
    assert refused.value.param == "usage.prompt_tokens"


def test_a_hold_of_no_account_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound):
        desk.holds.get_hold(ids.new_id())


def test_locks_that_are_long_in_coming_do_not_keep_expired_money_held(desk: Desk, database_url: str) -> None:
    account_id = desk.account()
    desk.authorize(account_id, DOLLAR, lasts=timedelta(milliseconds=600))
    with psycopg.connect(database_url) as other, ThreadPoolExecutor(1) as waiting:
        other.execute("SELECT 1 FROM balances WHERE account_id = %s FOR UPDATE", [account_id])
        answer = waiting.submit(desk.authorize, account_id, DOLLAR)
        with pytest.raises(TimeoutError):
            answer.result(1)
        other.rollback()
        assert answer.result(30).verb == "granted"
