"""The history of a key: its end, its rotation, its use and its budget."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from metering import clock, ids
from metering.errors import (
    AccountNotFound,
    InvalidApiKey,
    InvalidParameter,
    KeyClosed,
    LimitReached,
    NotFound,
)
from metering.ledger.budgets import BudgetPeriod, BudgetTerms
from metering.money import PICO_PER_USD, to_pico
from metering.services.accounts import create_account
from metering.services.api_keys import (
    KeyChanges,
    KeyView,
    authenticate_api_key,
    create_api_key,
    list_api_keys,
    revoke_api_key,
    rotate_api_key,
    update_api_key,
)
from metering.storage.api_keys import Spending
from metering.storage.database import Database

PREFIX = "sk-test-"
HOUR = timedelta(hours=1)
TERMS = BudgetTerms(5 * PICO_PER_USD, BudgetPeriod.MONTH)


@pytest.fixture
def account_id(database: Database) -> str:
    """A new account."""
    return create_account(database, "Ada").account.account_id


@pytest.fixture(autouse=True)
def clock_of_the_machine() -> Iterator[None]:
    """The clock, set back at the end."""
    yield
    clock.run_ahead(timedelta(0))


def opens(database: Database, secret: str) -> bool:
    try:
        authenticate_api_key(database, secret)
    except InvalidApiKey:
        return False
    return True


def only(database: Database, account_id: str) -> KeyView:
    (view,) = list_api_keys(database, account_id)
    return view


def test_a_key_opens_nothing_after_its_end(database: Database, account_id: str) -> None:
    _, secret = create_api_key(database, account_id, prefix=PREFIX, expires_at=clock.now() + HOUR)
    assert opens(database, secret)
    clock.run_ahead(HOUR)
    assert not opens(database, secret)


def test_an_expired_key_makes_room_for_another(database: Database) -> None:
    account_id = create_account(database, "Few", key_limit=1).account.account_id
    create_api_key(database, account_id, prefix=PREFIX, expires_at=clock.now() + HOUR)
    with pytest.raises(LimitReached):
        create_api_key(database, account_id, prefix=PREFIX)
    clock.run_ahead(HOUR)
    create_api_key(database, account_id, prefix=PREFIX)


def test_rotation_ends_the_old_key_after_the_overlap(database: Database, account_id: str) -> None:
    old, old_secret = create_api_key(database, account_id, prefix=PREFIX, name="laptop", budget=TERMS)
    new, new_secret = rotate_api_key(database, account_id, old.id, prefix="sk-new-", overlap=HOUR)
    assert (new.name, new.budget, new.replaces_id, new.prefix) == ("laptop", TERMS, old.id, "sk-new-")
    assert new.expires_at is None
    assert opens(database, old_secret)
    assert opens(database, new_secret)
    clock.run_ahead(HOUR)
    assert not opens(database, old_secret)
    assert opens(database, new_secret)
    assert [view.key.id for view in list_api_keys(database, account_id)] == [old.id, new.id]


def test_rotation_without_overlap_ends_the_old_key_at_once(database: Database, account_id: str) -> None:
    old, secret = create_api_key(database, account_id, prefix=PREFIX)
    rotate_api_key(database, account_id, old.id, prefix=PREFIX)
    assert not opens(database, secret)


def test_a_replaced_key_ends_no_later_than_its_overlap(database: Database) -> None:
    account_id = create_account(database, "Few", key_limit=1).account.account_id
    old, secret = create_api_key(database, account_id, prefix=PREFIX)
    new, _ = rotate_api_key(database, account_id, old.id, prefix=PREFIX, overlap=HOUR)
    ends = list_api_keys(database, account_id)[0].key.expires_at
    assert ends is not None
    for later in (None, ends + timedelta(seconds=1)):
        with pytest.raises(KeyClosed, match=new.id):
            update_api_key(database, account_id, old.id, {"expires_at": later})
    for as_early in (ends, ends - HOUR / 2):
        changed = update_api_key(database, account_id, old.id, {"expires_at": as_early, "name": "old"})
        assert (changed.key.expires_at, changed.key.name) == (as_early, "old")
    clock.run_ahead(HOUR / 2)
    assert not opens(database, secret)
    assert update_api_key(database, account_id, new.id, {"expires_at": ends}).key.expires_at == ends
    assert update_api_key(database, account_id, new.id, {"expires_at": None}).key.expires_at is None


def test_a_change_that_waited_for_a_rotation_does_not_undo_it(
    database: Database, database_url: str, account_id: str
) -> None:
    key, secret = create_api_key(database, account_id, prefix=PREFIX)
    with psycopg.connect(database_url) as other, ThreadPoolExecutor(1) as waiting:
        other.execute("SELECT 1 FROM api_keys WHERE id = %s FOR UPDATE", [key.id])
        change = waiting.submit(update_api_key, database, account_id, key.id, {"expires_at": None})
        with pytest.raises(TimeoutError):
            change.result(0.5)
        other.execute("UPDATE api_keys SET expires_at = %s WHERE id = %s", [clock.now(), key.id])
        other.commit()
        with pytest.raises(KeyClosed, match="expired"):
            change.result(30)
    assert not opens(database, secret)


def test_rotation_lengthens_no_life(database: Database, account_id: str) -> None:
    ends = clock.now() + HOUR
    old, _ = create_api_key(database, account_id, prefix=PREFIX, expires_at=ends)
    new, _ = rotate_api_key(database, account_id, old.id, prefix=PREFIX, overlap=2 * HOUR)
    assert [view.key.expires_at for view in list_api_keys(database, account_id)] == [ends, ends]
    assert new.expires_at == ends


def test_of_rotations_at_once_one_replaces_the_key(database: Database, account_id: str) -> None:
    old, _ = create_api_key(database, account_id, prefix=PREFIX)

    def rotate(_: int) -> bool:
        try:
            rotate_api_key(database, account_id, old.id, prefix=PREFIX, overlap=HOUR)
        except KeyClosed:
            return False
        return True

    with ThreadPoolExecutor(max_workers=4) as threads:
        assert sum(threads.map(rotate, range(8))) == 1
    successor = list_api_keys(database, account_id)[-1].key
    rotate_api_key(database, account_id, successor.id, prefix=PREFIX)
    line = {view.key.id: view.key.replaces_id for view in list_api_keys(database, account_id)}
    assert list(line.values()) == [None, old.id, successor.id]


def test_a_full_account_can_rotate_but_not_without_bound(database: Database) -> None:
    account_id = create_account(database, "Few", key_limit=2).account.account_id
    keys = [create_api_key(database, account_id, prefix=PREFIX)[0] for _ in range(2)]
    newer = [rotate_api_key(database, account_id, key.id, prefix=PREFIX, overlap=HOUR)[0] for key in keys]
    with pytest.raises(LimitReached):
        rotate_api_key(database, account_id, newer[0].id, prefix=PREFIX, overlap=HOUR)
    with pytest.raises(LimitReached):
        create_api_key(database, account_id, prefix=PREFIX)
    rotate_api_key(database, account_id, newer[0].id, prefix=PREFIX)


def test_what_is_left_out_of_a_change_stays(database: Database, account_id: str) -> None:
    ends = clock.now() + HOUR
    key, _ = create_api_key(database, account_id, prefix=PREFIX, name="a", expires_at=ends, budget=TERMS)
    assert update_api_key(database, account_id, key.id, {}).key == key
    assert update_api_key(database, account_id, key.id, {"name": "b"}).key == key._replace(name="b")
    changed = update_api_key(database, account_id, key.id, {"budget": None, "expires_at": None})
    assert changed.key == key._replace(name="b", budget=None, expires_at=None)
    day = BudgetTerms(to_pico("0.000000000001"), BudgetPeriod.DAY)
    assert update_api_key(database, account_id, key.id, {"budget": day}).key.budget == day
    assert only(database, account_id).key.budget == day


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_closed_key_is_history(database: Database, account_id: str, how: str) -> None:
    key, secret = create_api_key(database, account_id, prefix=PREFIX, expires_at=clock.now() + HOUR)
    if how == "revoked":
        revoke_api_key(database, account_id, key.id)
    else:
        clock.run_ahead(HOUR)
    with pytest.raises(KeyClosed, match=how):
        rotate_api_key(database, account_id, key.id, prefix=PREFIX)
    with pytest.raises(KeyClosed, match=how):
        update_api_key(database, account_id, key.id, {"expires_at": None})
    assert not opens(database, secret)


def test_another_account_s_key_is_not_there(database: Database, account_id: str) -> None:
    key, _ = create_api_key(database, account_id, prefix=PREFIX)
    other = create_account(database, "Eve").account.account_id
    for found_nothing, account in ((NotFound, other), (AccountNotFound, ids.new_id())):
        with pytest.raises(found_nothing):
            rotate_api_key(database, account, key.id, prefix=PREFIX)
        with pytest.raises(found_nothing):
            update_api_key(database, account, key.id, {"name": "mine"})


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"name": " "}, "name"),
        ({"expires_at": clock.now() - HOUR}, "expires_at"),
        ({"budget": BudgetTerms(0, BudgetPeriod.DAY)}, "budget.amount_usd"),
        ({"budget": BudgetTerms(10**22, BudgetPeriod.DAY)}, "budget.amount_usd"),
    ],
)
def test_a_bad_change_is_refused(
    database: Database, account_id: str, changes: KeyChanges, param: str
) -> None:
    key, _ = create_api_key(database, account_id, prefix=PREFIX)
    with pytest.raises(InvalidParameter) as refused:
        update_api_key(database, account_id, key.id, changes)
    assert refused.value.param == param
    with pytest.raises(InvalidParameter):
        create_api_key(database, account_id, prefix=PREFIX, **changes)
    assert only(database, account_id).key == key


@pytest.mark.parametrize("overlap", [-timedelta(seconds=1), timedelta(days=30, seconds=1)])
def test_an_overlap_is_at_most_30_days(database: Database, account_id: str, overlap: timedelta) -> None:
    key, _ = create_api_key(database, account_id, prefix=PREFIX)
    with pytest.raises(InvalidParameter):
        rotate_api_key(database, account_id, key.id, prefix=PREFIX, overlap=overlap)


def test_use_is_noted_once_a_minute(database: Database, account_id: str) -> None:
    key, secret = create_api_key(database, account_id, prefix=PREFIX)
    assert only(database, account_id).key.last_used_at is None
    before = clock.now()
    authenticate_api_key(database, secret)
    first = only(database, account_id).key.last_used_at
    assert first is not None
    assert before <= first <= clock.now()
    clock.run_ahead(timedelta(seconds=50))
    authenticate_api_key(database, secret)
    assert only(database, account_id).key.last_used_at == first
    clock.run_ahead(timedelta(seconds=61))
    authenticate_api_key(database, secret)
    later = only(database, account_id).key.last_used_at
    assert later is not None
    assert later > first
    assert only(database, account_id).key == key._replace(last_used_at=later)


def test_a_locked_key_opens_the_door_without_a_wait(
    database: Database, database_url: str, account_id: str
) -> None:
    key, secret = create_api_key(database, account_id, prefix=PREFIX)
    with psycopg.connect(database_url) as other:
        other.execute("SELECT 1 FROM api_keys WHERE id = %s FOR UPDATE", [key.id])
        assert authenticate_api_key(database, secret) == key
    assert only(database, account_id).key.last_used_at is None


SPENT = "INSERT INTO api_key_spend VALUES (%s, %s, %s, %s)"
HELD = """INSERT INTO holds (account_id, id, state, authorized_usd, amount_usd, api_key_id, tokens,
                            body_digest, created_at, expires_at, closed_at)
          VALUES (%s, gen_random_uuid(), %s, 1, %s, %s, 0, '', now(), %s, %s)"""


@pytest.mark.parametrize(
    ("period", "spent"), [(BudgetPeriod.DAY, "1"), (BudgetPeriod.MONTH, "11"), (BudgetPeriod.TOTAL, "111")]
)
def test_a_budget_counts_its_period_and_open_holds(
    database: Database, database_url: str, account_id: str, period: BudgetPeriod, spent: str
) -> None:
    key, _ = create_api_key(database, account_id, prefix=PREFIX, budget=BudgetTerms(10**15, period))
    plain, _ = create_api_key(database, account_id, prefix=PREFIX)
    # The middle of a month, so that a day of it lies before today.
    middle = (clock.now() + timedelta(days=40)).replace(day=15, hour=12)
    clock.run_ahead(middle - clock.now())
    days = {1: timedelta(0), 10: timedelta(days=14), 100: timedelta(days=20)}
    ends, over = middle + HOUR, middle - HOUR
    with psycopg.connect(database_url) as connection:
        for one in (key, plain):
            for dollars, ago in days.items():
                connection.execute(SPENT, [account_id, one.id, (middle - ago).date(), dollars])
            for state, dollars, until, closed in (
                ("open", 2, ends, None),
                ("open", 4, ends, None),
                ("open", 1000, over, None),
                ("voided", 1000, ends, over),
            ):
                connection.execute(HELD, [account_id, state, dollars, one.id, until, closed])
    first, second = list_api_keys(database, account_id)
    assert first.spending == Spending(to_pico(spent), to_pico(6))
    assert second == KeyView(plain)
    assert update_api_key(database, account_id, key.id, {"name": "x"}).spending == first.spending
    assert revoke_api_key(database, account_id, key.id).spending == first.spending
