"""Rating again: what had no price is charged once it has one; a new book's differences are posted once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import psycopg
import pytest

from metering import ids
from metering.errors import AccountNotFound, InvalidParameter
from metering.money import to_pico
from metering.pricing.compiler import compile_book
from metering.rating.engine import Rater
from metering.services.audit import check_books
from metering.services.corrections import reverse_event
from metering.services.history import find_events, list_unpriced
from metering.services.rerating import (
    Change,
    RatedLater,
    Window,
    post_rerating,
    preview_rerating,
    rate_unpriced,
)
from metering.storage.database import Database
from tests.services.correcting import HOUR, NEW, OLD, Ledger

LATER: Final = Rater(NEW)
DAY: Final = timedelta(days=1)
ALWAYS: Final = Window(HOUR - DAY, HOUR + DAY)
WHY: Final[dict[str, Any]] = {"reason": "the wrong book", "actor": "finance"}


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """A new account with $100."""
    ledger = Ledger(database)
    ledger.grant("100")
    return ledger


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_what_had_no_price_is_charged_once_it_has_one(database: Database, ledger: Ledger) -> None:
    ledger.record({"id": "late", "model": "late"}, {"id": "never", "model": "never"}, {"id": "a"})
    assert ledger.costs() == {"a": 100, "never": None, "late": None}
    assert rate_unpriced(database, Rater(OLD), actor="x") == RatedLater(2, 0, 0)
    assert rate_unpriced(database, LATER, actor="x") == RatedLater(2, 1, to_pico("0.25"))
    assert ledger.costs() == {"a": 100, "never": None, "late": 25}
    assert ledger.posted() == Decimal("98.75")
    assert ledger.spend() == ledger.spend(HOUR, HOUR + timedelta(minutes=2)) == Decimal("1.25")
    event = ledger.history()["late"]
    assert event.unpriced is None
    assert event.line_items is not None
    assert [item["amount"] for item in event.line_items] == [Decimal("0.25")]
    assert [model for model, *_ in list_unpriced(database)] == ["never"]
    assert not check_books(database)
    # Not again.
    assert rate_unpriced(database, LATER, actor="x") == RatedLater(1, 0, 0)
    assert ledger.posted() == Decimal("98.75")


def test_the_edition_in_force_when_it_was_created_prices_an_event(database: Database, ledger: Ledger) -> None:
    documents = dict(NEW.documents)
    charge = {"charge": "Request", "model": "flat", "per": "request"}
    editions = [{"effective": HOUR.isoformat(), "charges": [{**charge, "rate": "2"}]}]
    card = {"name": "L", "category": "Text", "charges": [{**charge, "rate": "1"}], "editions": editions}
    documents["providers/p.yml"] = {"provider": "P", "models": {"late": card}}
    before = {"id": "before", "model": "late", "created_at": (HOUR - timedelta(minutes=1)).isoformat()}
    ledger.record(before, {"id": "after", "model": "late"})
    rate_unpriced(database, Rater(compile_book(documents)), actor="x")
    assert ledger.costs() == {"before": 100, "after": 200}
    assert not check_books(database)


def test_several_processes_rate_each_event_once(
    database: Database, database_url: str, ledger: Ledger
) -> None:
    others = [Ledger(database) for _ in range(3)]
    for one in (ledger, *others):
        one.record(*({"id": f"e{n}", "model": "late"} for n in range(20)))
    with ThreadPoolExecutor(max_workers=4) as threads:
        done = list(
            threads.map(lambda _: rate_unpriced(database, LATER, actor="x", chunk_events=7), range(4))
        )
    assert sum(rated.rated for rated in done) == 80
    assert sum(rated.cost_pico for rated in done) == to_pico(20)
    assert rows(database_url, "SELECT count(*), max(number) FROM corrections") == [(80, 1)]
    assert ledger.posted() == 95
    assert not check_books(database)


def test_one_that_was_stopped_goes_on_where_it_was(database: Database, ledger: Ledger) -> None:
    ledger.record(*({"id": f"e{n}", "model": "late"} for n in range(20)))
    answers = iter([False, True])
    first = rate_unpriced(database, LATER, actor="x", stopped=lambda: next(answers), chunk_events=7)
    assert (first.events, first.rated) == (7, 7)
    assert not check_books(database)
    assert rate_unpriced(database, LATER, actor="x").rated == 13
    assert ledger.posted() == 95
    assert not check_books(database)


def test_only_the_account_that_was_named(database: Database, ledger: Ledger) -> None:
    other = Ledger(database)
    for one in (ledger, other):
        one.record({"id": "late", "model": "late"})
    told: list[int] = []
    rate_unpriced(database, LATER, actor="x", account_id=other.account_id, told=told.append)
    assert (ledger.posted(), other.posted()) == (Decimal(100), Decimal("-0.25"))
    assert told == [1]
    with pytest.raises(AccountNotFound):
        rate_unpriced(database, LATER, actor="x", account_id=ids.new_id())


def test_an_event_without_a_price_that_was_reversed_stays_free(database: Database, ledger: Ledger) -> None:
    ledger.record({"id": "late", "model": "late"})
    reverse_event(database, ledger.account_id, "late", **WHY)
    assert rate_unpriced(database, LATER, actor="x") == RatedLater()
    assert post_rerating(database, LATER, ALWAYS, **WHY) == []
    assert ledger.posted() == 100


def record_all(ledger: Ledger) -> None:
    ledger.record(
        *(
            {"id": f"{model}-{n}", "model": model}
            for model in ("steady", "dearer", "cheaper")
            for n in (1, 2)
        ),
        {"id": "gone", "model": "gone"},
        {"id": "late", "model": "late"},
        {"id": "gpu", "model": "dearer", "source": "gpu_cloud"},
    )


def changes_of(ledger: Ledger) -> list[Change]:
    def change(model: str, events: int, changed: int, unpriced: int, *dollars: str) -> Change:
        before, after = map(to_pico, dollars)
        return Change(ledger.account_id, model, events, changed, unpriced, before, after)

    return [
        change("cheaper", 2, 2, 0, "6", "2"),
        change("dearer", 3, 3, 0, "6", "7.5"),
        change("gone", 1, 0, 1, "4", "4"),
        change("late", 1, 1, 0, "0", "0.25"),
        change("steady", 2, 0, 0, "2", "2"),
    ]


def test_a_preview_posts_nothing(database: Database, database_url: str, ledger: Ledger) -> None:
    record_all(ledger)
    posted = ledger.posted()
    assert preview_rerating(database, LATER, ALWAYS) == changes_of(ledger)
    assert ledger.posted() == posted
    assert rows(database_url, "SELECT count(*) FROM corrections") == [(0,)]


def test_what_was_previewed_is_posted_once(database: Database, database_url: str, ledger: Ledger) -> None:
    record_all(ledger)
    assert ledger.posted() == 82
    assert post_rerating(database, LATER, ALWAYS, **WHY) == changes_of(ledger)
    assert ledger.posted() == Decimal("84.25")
    assert ledger.spend() == Decimal("15.75")
    assert ledger.costs() == {
        "steady-1": 100, "steady-2": 100, "dearer-1": 250, "dearer-2": 250, "cheaper-1": 100,
        "cheaper-2": 100, "gone": 400, "late": 25, "gpu": 250,
    }  # fmt: skip
    assert not check_books(database)
    # What is charged and what is given back stay apart, and so do the kinds of revenue.
    moved = rows(
        database_url,
        "SELECT kind, from_account, to_account, amount_usd::float FROM transfers"
        " WHERE kind IN ('rating', 'rerating') ORDER BY amount_usd",
    )
    assert moved == [
        ("rating", "customer_credit", "revenue:usage", 0.25),
        ("rerating", "customer_credit", "revenue:gpu_cloud", 0.5),
        ("rerating", "customer_credit", "revenue:usage", 1.0),
        ("rerating", "revenue:usage", "customer_credit", 4.0),
    ]
    (story,) = find_events(database, "dearer-1")
    assert [(one.kind, one.reason) for one in story.corrections] == [("rerating", "the wrong book")]
    assert not any(change.changed for change in post_rerating(database, LATER, ALWAYS, **WHY))
    assert ledger.posted() == Decimal("84.25")


def test_there_and_back_is_where_it_began(database: Database, ledger: Ledger) -> None:
    record_all(ledger)
    ledger.record(*({"id": f"more-{n}", "model": "dearer"} for n in range(20)))
    before = ledger.costs(), ledger.posted()
    post_rerating(database, LATER, ALWAYS, **WHY, chunk_events=7)
    assert not check_books(database)
    assert ledger.posted() != before[1]
    post_rerating(database, Rater(OLD), ALWAYS, **WHY, chunk_events=7)
    # What has a price by now keeps it where the old book has none.
    assert ledger.costs() == {**before[0], "late": 25}
    assert ledger.posted() == before[1] - Decimal("0.25")
    assert not check_books(database)


def test_only_what_is_in_the_window_is_rated(database: Database, ledger: Ledger) -> None:
    times = {"early": -1, "first": 0, "last": 59, "late": 60}
    ledger.record(
        *(
            {"id": name, "model": "dearer", "created_at": (HOUR + timedelta(minutes=minutes)).isoformat()}
            for name, minutes in times.items()
        ),
        {"id": "other", "model": "cheaper"},
    )
    other = Ledger(database)
    other.record({"id": "theirs", "model": "dearer"})
    window = Window(HOUR, HOUR + timedelta(hours=1), ledger.account_id, ("dearer", "steady"))
    (change,) = post_rerating(database, LATER, window, **WHY)
    assert (change.events, change.changed) == (2, 2)
    assert ledger.costs() == {"early": 200, "first": 250, "last": 250, "late": 200, "other": 300}
    assert other.costs() == {"theirs": 200}
    with pytest.raises(AccountNotFound):
        preview_rerating(database, LATER, window._replace(account_id=ids.new_id()))


def test_what_was_reversed_or_superseded_is_left_alone(database: Database, ledger: Ledger) -> None:
    ledger.record(*({"id": name, "model": "dearer"} for name in "abc"))
    ledger.record({"id": "d", "model": "dearer", "supersedes": "a"})
    reverse_event(database, ledger.account_id, "b", **WHY)
    (change,) = post_rerating(database, LATER, ALWAYS, **WHY)
    assert (change.events, change.before_pico, change.after_pico) == (2, to_pico(4), to_pico(5))
    assert ledger.costs() == {"d": 250, "c": 250, "b": 0}
    assert ledger.posted() == 95
    assert not check_books(database)
    # What was rated again can be reversed: all of what it costs now.
    assert reverse_event(database, ledger.account_id, "c", **WHY)[0].amount_pico == to_pico("2.5")
    assert not check_books(database)


def test_usage_that_another_book_cannot_read_is_left_alone(database: Database, ledger: Ledger) -> None:
    ledger.record({"id": "a", "usage": {"requests": 1, "new_meter": "text"}})
    documents = dict(NEW.documents)
    meters: Any = documents["meters.yml"]
    new_meter = {"new_meter": {"type": "integer", "unit": "thing"}}
    documents["meters.yml"] = {**meters, "meters": {**meters["meters"], **new_meter}}
    (change,) = post_rerating(database, Rater(compile_book(documents)), ALWAYS, **WHY)
    assert (change.changed, change.unpriced) == (0, 1)
    assert ledger.costs() == {"a": 100}


def test_to_post_a_reason_is_needed(database: Database, ledger: Ledger) -> None:
    with pytest.raises(InvalidParameter):
        post_rerating(database, LATER, ALWAYS, reason=" ", actor="x")
