"""Adjustments, reversals: once each, mirrored to the last digit, and seen wherever costs are seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from metering import ids
from metering.errors import (
    AccountNotFound,
    AlreadyCorrected,
    IdempotencyConflict,
    InvalidParameter,
    NotFound,
)
from metering.ledger.adjustments import AdjustmentKind
from metering.money import to_pico
from metering.rating.engine import Rater
from metering.services.audit import check_books
from metering.services.corrections import (
    Reversal,
    WantedAdjustment,
    adjust_credit,
    reverse_event,
    reverse_transfer,
)
from metering.services.history import find_events, get_account_usage, list_unpriced
from metering.services.rerating import Window, post_rerating, rate_unpriced
from metering.storage.database import Database
from metering.usage.history import Filters
from tests.services.correcting import HOUR, NEW, Ledger

FIVE = WantedAdjustment("adjustment", to_pico(5), "a slip", "finance")
WHY: dict[str, Any] = {"reason": "charged by mistake", "actor": "finance"}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """A new account with $100."""
    ledger = Ledger(database)
    ledger.grant("100")
    return ledger


def transfers_of(database_url: str, kind: str) -> list[str]:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT id::text FROM transfers WHERE kind = %s", [kind]).fetchall()
    return [str(name) for (name,) in rows]


def usage_transfer(database_url: str) -> str:
    return transfers_of(database_url, "usage")[0]


def reverse(ledger: Ledger, event_id: str) -> tuple[Reversal, bool]:
    return reverse_event(ledger.database, ledger.account_id, event_id, **WHY)


def mirror(ledger: Ledger, transfer_id: str) -> tuple[Reversal, bool]:
    return reverse_transfer(ledger.database, ledger.account_id, transfer_id, **WHY)


@pytest.mark.parametrize(
    ("kind", "dollars", "balance"),
    [("adjustment", "5", 105), ("adjustment", "-0.5", 99.5), ("goodwill", "5", 105)],
)
def test_an_adjustment_moves_the_balance_by_its_amount_once(
    database: Database, ledger: Ledger, kind: AdjustmentKind, dollars: str, balance: float
) -> None:
    wanted = FIVE._replace(kind=kind, amount_pico=to_pico(dollars))
    with ThreadPoolExecutor(max_workers=6) as threads:
        answers = list(
            threads.map(lambda _: adjust_credit(database, ledger.account_id, wanted, "k"), range(6))
        )
    assert sum(is_new for _, is_new in answers) == 1
    assert len({adjustment for adjustment, _ in answers}) == 1
    assert ledger.posted() == Decimal(str(balance))
    assert answers[0][0].balance_after_pico == to_pico(str(balance))
    assert not check_books(database)


def test_an_adjustment_may_take_the_balance_below_zero(database: Database, ledger: Ledger) -> None:
    adjust_credit(database, ledger.account_id, FIVE._replace(amount_pico=-to_pico(101)), "k")
    assert ledger.posted() == -1
    assert not check_books(database)


def test_a_key_stands_for_one_adjustment(database: Database, ledger: Ledger) -> None:
    adjust_credit(database, ledger.account_id, FIVE, "k")
    for other in (FIVE._replace(amount_pico=1), FIVE._replace(kind="goodwill"), FIVE._replace(reason="x")):
        with pytest.raises(IdempotencyConflict):
            adjust_credit(database, ledger.account_id, other, "k")
    assert not adjust_credit(database, ledger.account_id, FIVE._replace(actor="another"), "k")[1]
    # A grant under the same key is another thing.
    ledger.grant("1", "k")
    assert ledger.posted() == 106


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"amount_pico": 0}, "amount_usd"),
        ({"amount_pico": to_pico(10**9) + 1}, "amount_usd"),
        ({"amount_pico": -to_pico(10**9) - 1}, "amount_usd"),
        ({"kind": "goodwill", "amount_pico": -1}, "amount_usd"),
        ({"reason": " "}, "reason"),
    ],
)
def test_an_adjustment_that_cannot_be(
    database: Database, ledger: Ledger, change: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        adjust_credit(database, ledger.account_id, FIVE._replace(**change), "k")
    assert caught.value.param == param
    assert ledger.posted() == 100


def test_a_reversed_grant_is_gone_and_once_only(database: Database, ledger: Ledger) -> None:
    transfer_id = ledger.grant("10", "another")
    first, is_new = mirror(ledger, transfer_id)
    assert is_new
    assert (first.amount_pico, first.reverses_id) == (-to_pico(10), transfer_id)
    assert mirror(ledger, transfer_id) == (first, False)
    # Whoever asks, for whatever reason.
    assert reverse_transfer(database, ledger.account_id, transfer_id, reason="x", actor="y") == (first, False)
    assert ledger.posted() == 100
    assert not check_books(database)


def test_a_reversed_adjustment_is_given_back(database: Database, ledger: Ledger) -> None:
    adjustment, _ = adjust_credit(database, ledger.account_id, FIVE._replace(amount_pico=-to_pico(7)), "k")
    reversal, _ = mirror(ledger, adjustment.transfer_id)
    assert reversal.amount_pico == to_pico(7)
    assert ledger.posted() == 100
    assert not check_books(database)


def test_of_many_who_reverse_an_event_at_once_one_does(database: Database, ledger: Ledger) -> None:
    ledger.record({"id": "a"})
    with ThreadPoolExecutor(max_workers=6) as threads:
        answers = list(threads.map(lambda _: reverse(ledger, "a"), range(6)))
    assert sum(is_new for _, is_new in answers) == 1
    assert len({answer for answer, _ in answers}) == 1
    assert ledger.posted() == 100
    assert not check_books(database)


def test_a_reversed_event_stays_and_costs_nothing(database: Database, ledger: Ledger) -> None:
    ledger.record({"id": "a"}, {"id": "b", "model": "dearer"})
    reversal, is_new = reverse(ledger, "b")
    assert is_new
    assert (reversal.event_id, reversal.amount_pico) == ("b", to_pico(2))
    assert reversal.balance_after_pico == to_pico(99)
    assert ledger.costs() == {"a": 100, "b": 0}
    event = ledger.history()["b"]
    assert (event.is_reversed, event.line_items, event.unpriced) == (True, None, None)
    assert ledger.spend() == 1
    # The ragged edges of a window add up events and corrections, not rollups.
    assert ledger.spend(HOUR + MINUTE, HOUR + MINUTE) == 1
    assert ledger.spend(HOUR + 2 * MINUTE, HOUR + 3 * MINUTE) == 0
    (story,) = find_events(database, "b")
    (correction,) = story.corrections
    assert (correction.kind, correction.delta_pico, correction.actor) == ("reversal", -to_pico(2), "finance")
    assert not check_books(database)


def test_an_event_that_cost_nothing_is_reversed_without_a_transfer(
    database: Database, ledger: Ledger
) -> None:
    ledger.record({"id": "free", "model": "free"}, {"id": "late", "model": "late"})
    assert list_unpriced(database)
    for event_id in ("free", "late"):
        first, is_new = reverse(ledger, event_id)
        assert is_new
        assert (first.transfer_id, first.amount_pico) == (None, 0)
        assert reverse(ledger, event_id) == (first, False)
    assert ledger.costs() == {"free": 0, "late": 0}
    assert not list_unpriced(database)
    assert not check_books(database)


def test_a_reversed_batch_takes_all_its_events_along(
    database: Database, database_url: str, ledger: Ledger
) -> None:
    batch = [{"id": f"e{n}", "model": ("steady", "dearer", "free", "late")[n % 4]} for n in range(40)]
    ledger.record(*batch)
    assert ledger.posted() == 70
    transfer_id = usage_transfer(database_url)
    first, is_new = mirror(ledger, transfer_id)
    assert is_new
    assert first.amount_pico == to_pico(30)
    assert mirror(ledger, transfer_id) == (first, False)
    assert ledger.posted() == 100
    assert ledger.spend() == 0
    assert {cost for cost in ledger.costs().values() if cost} == set()
    # An event of it is reversed already, by the same transfer.
    again, is_new = reverse(ledger, "e0")
    assert not is_new
    assert (again.transfer_id, again.reverses_id) == (first.transfer_id, transfer_id)
    assert again.amount_pico == to_pico(1)
    assert not check_books(database)


def test_a_batch_recorded_long_after_its_events_is_reversed_whole(
    database: Database, database_url: str, ledger: Ledger
) -> None:
    long_ago = (HOUR - timedelta(days=60)).isoformat()
    ledger.record({"id": "now"}, {"id": "then", "created_at": long_ago})
    mirror(ledger, usage_transfer(database_url))
    assert ledger.costs() == {"now": 0, "then": 0}
    assert not check_books(database)


def test_a_batch_with_a_corrected_event_is_reversed_event_by_event(
    database: Database, database_url: str, ledger: Ledger
) -> None:
    ledger.record({"id": "a"}, {"id": "b"})
    reverse(ledger, "a")
    with pytest.raises(AlreadyCorrected, match="one by one"):
        mirror(ledger, usage_transfer(database_url))
    assert ledger.posted() == 99
    reverse(ledger, "b")
    assert ledger.posted() == 100
    assert not check_books(database)


def test_what_cannot_be_reversed_says_what_to_do(
    database: Database, database_url: str, ledger: Ledger
) -> None:
    ledger.record({"id": "a"})
    of_grant = mirror(ledger, ledger.grant("10", "another"))[0].transfer_id
    of_event = reverse(ledger, "a")[0].transfer_id
    assert of_grant is not None
    assert of_event is not None
    for transfer_id, advice in ((of_grant, "grant"), (of_event, "a new event")):
        with pytest.raises(InvalidParameter, match=advice):
            mirror(ledger, transfer_id)
    assert ledger.posted() == 100


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("rating", "reverse those events instead"),
        ("rerating", "rate the period again by the former one"),
        ("amendment", "send one more that supersedes it"),
    ],
)
def test_what_changed_costs_is_put_right_as_it_came(
    database: Database, database_url: str, ledger: Ledger, kind: str, advice: str
) -> None:
    ledger.record({"id": "a", "model": "late"}, {"id": "b", "model": "cheaper"})
    ledger.record({"id": "c", "model": "dearer", "supersedes": "b"})
    rate_unpriced(database, Rater(NEW), actor="x")
    window = Window(HOUR - timedelta(days=1), HOUR + timedelta(days=1))
    post_rerating(database, Rater(NEW), window, **WHY)
    (transfer_id,) = transfers_of(database_url, kind)
    before = ledger.posted()
    with pytest.raises(InvalidParameter, match=advice):
        mirror(ledger, transfer_id)
    assert ledger.posted() == before


def test_what_is_not_there_cannot_be_reversed(database: Database, ledger: Ledger) -> None:
    ledger.record({"id": "a"})
    other = Ledger(database)
    nothing = ids.new_id()
    for account_id, error in ((other.account_id, NotFound), (nothing, AccountNotFound)):
        with pytest.raises(error):
            reverse_event(database, account_id, "a", **WHY)
        with pytest.raises(error):
            reverse_transfer(database, account_id, nothing, **WHY)
    with pytest.raises(NotFound):
        reverse(ledger, "a\0")
    with pytest.raises(InvalidParameter):
        reverse_event(database, ledger.account_id, "a", reason=" ", actor="x")


def test_a_superseded_event_has_left_the_history(database: Database, ledger: Ledger) -> None:
    ledger.record({"id": "a", "model": "dearer"}, {"id": "other"})
    ledger.record({"id": "b", "model": "cheaper", "supersedes": "a"})
    assert ledger.posted() == 96
    assert ledger.costs() == {"b": 300, "other": 100}
    assert ledger.history()["b"].supersedes == "a"
    assert not ledger.history(Filters(model="dearer"))
    assert set(ledger.history(Filters(model="cheaper"))) == {"b"}
    assert ledger.spend() == ledger.spend(HOUR + MINUTE, HOUR + MINUTE) == 4
    with pytest.raises(AlreadyCorrected, match="'b'"):
        reverse(ledger, "a")
    (story,) = find_events(database, "a")
    assert story.event.superseded_by == "b"
    assert not check_books(database)
    reverse(ledger, "b")
    assert ledger.posted() == 99
    assert ledger.costs() == {"b": 0, "other": 100}
    assert not check_books(database)


def test_pages_are_complete_where_events_were_superseded(database: Database, ledger: Ledger) -> None:
    ledger.record(*({"id": f"e{n}"} for n in range(30)))
    ledger.record(*({"id": f"f{n}", "supersedes": f"e{n}"} for n in range(0, 30, 2)))
    seen: list[str] = []
    before = None
    while True:
        page = get_account_usage(database, ledger.account_id, Filters(), before=before, limit=7)
        seen += [event.id for event in page.events]
        if page.next_cursor is None:
            break
        assert len(page.events) == 7
        before = page.next_cursor
    expected = {f"e{n}" for n in range(1, 30, 2)} | {f"f{n}" for n in range(0, 30, 2)}
    assert len(seen) == len(set(seen))
    assert set(seen) == expected
